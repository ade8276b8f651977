"""Opens a file of weights of any format, which is recognised by its content, not by its name."""
import hashlib
from dataclasses import dataclass, field, replace

from models.weights.formats import arrays, torch_files, zips
from models.weights.formats.npz import read_npz
from models.weights.formats.pickles import read_pickle
from models.weights.formats.safetensors_file import read_safetensors
from models.weights.formats.source import ByteSource, Refused, shown
from models.weights.formats.unwrap import leave_out, weights
from runtime.errors import UserError

TRAILER = b"HCAJSLHD"                # Jittor ends its pickles with their SHA-1 (20 bytes) and this
FOREIGN = {b"\x89HDF": "an HDF5 file", b"\x1f\x8b": "packed by gzip; unpack it first", b"<": "a web page",
           b"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch it with git lfs pull",
           b"ustar": "a tar archive (PyTorch before 0.2 wrote such); save it again with a newer PyTorch"}


@dataclass
class WeightFile:
    """The weights of a foreign file."""
    path: str
    format: str                      # jittor pickle | pickle | torch zip | torch legacy | safetensors | npz
    tensors: dict                    # {name: StoredTensor}, in the file's order
    metadata: dict = field(default_factory=dict)    # {key: text}, of safetensors
    notes: list = field(default_factory=list)       # for people: what was chosen, what was left out


def open_weight_file(path, ema=True):
    """The WeightFile of a Jittor pickle, a PyTorch file, a safetensors file or an .npz; tensors stay in the file until read.

    ema: take the moving average where the file has one. Nothing of the file is run. UserError with one line for whatever is
    not a whole file of numbers, or names anything that tensors do not need.
    """
    source = ByteSource(path)
    try:
        form, value, metadata, notes = read(source)
        tensors = weights(value, ema, notes)
        total = sum(tensor.nbytes for tensor in tensors.values())
        if total > 16 * source.size + (64 << 20):
            raise Refused(f"has {source.size:,} bytes that stand for {total:,} bytes of tensors; refused as a bomb")
    except Refused as error:
        raise UserError(f"{path}: {error}") from None
    tensors = {name: replace(tensor, where=f"{path}: {shown(name)}") for name, tensor in tensors.items()}
    return WeightFile(source.path, form, tensors, metadata, notes)


def read(source):
    """(format, value, metadata, notes) of a file: a dict of tensors, or dicts in dicts."""
    head = source.read(0, min(source.size, 512)).tobytes()
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return read_zip(source)
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and (8 + length <= source.size or head[0] != 0x80):     # 0x80 starts a pickle
        tensors, metadata = read_safetensors(source)
        return "safetensors", tensors, metadata, []
    for start, name in FOREIGN.items():
        if head.startswith(start) or (start == b"ustar" and head[257:262] == start):
            raise Refused(f"is {name}")
    if head[0] not in b"\x80(]}ci":                  # how pickles begin: protocol 2 and later, and before
        raise Refused("is of no format that is read here: a Jittor pickle, a PyTorch file, safetensors or .npz")
    return read_a_pickle(source)


def read_zip(source):
    """The same of a zip file."""
    found = zips.members(source)
    if torch_files.is_torch_zip(found):
        value, notes = torch_files.read_zip(source, found)
        return "torch zip", value, {}, notes
    if not any(name.endswith(".npy") for name in found):
        raise Refused("is a zip file that neither PyTorch nor NumPy wrote")
    tensors, left = read_npz(source, found)
    notes = []
    leave_out(notes, [], left)
    return "npz", tensors, {}, notes


def read_a_pickle(source):
    """The same of a pickle, or of a row of them as old PyTorch wrote it."""
    end, jittor = source.size, False
    if end > 28 and source.read(end - 8, 8).tobytes() == TRAILER:
        end, jittor = end - 28, True
        digest = hashlib.sha1()
        for block in source.blocks(0, end):
            digest.update(block)
        if digest.digest() != source.read(end, 20).tobytes():
            raise Refused("is damaged: its content does not have the SHA-1 that Jittor wrote with it")
    with source.open() as stream:
        value, place = read_pickle(source, stream, 0, end, arrays.meaning(torch_files.FUNCTIONS))
    if isinstance(value, int) and value == torch_files.MAGIC:
        return "torch legacy", torch_files.read_legacy(source, place), {}, []
    if place != end:
        raise Refused(f"has {end - place:,} bytes after the end of its pickle, expected none")
    return "jittor pickle" if jittor else "pickle", value, {}, []
