"""NumPy's .npz: a zip file of .npy arrays (format versions 1 to 3 in numpy/lib/format.py). Never a pickle inside one."""
import re
import struct

from models.weights.formats.source import Refused, shown
from models.weights.formats.tensors import NAMES, StoredTensor, shape_of, typed

HEADER = 4096                                # bytes; NumPy's own take 128
# The header is a Python dict as NumPy prints it. A pattern cannot be talked into more than that.
PATTERN = re.compile(r"\{\s*'descr':\s*('[^']{1,32}'|\[.*\]),\s*'fortran_order':\s*(True|False),"
                     r"\s*'shape':\s*\(((?:\d+, ?)*\d*)\),?\s*\}\s*", re.DOTALL | re.ASCII)


def read_npz(source, found):
    """({name: StoredTensor}, what was left out). found: zips.members(source)."""
    tensors, left = {}, []
    for name, member in found.items():
        if not name.endswith(".npy"):
            left.append(name)
            continue
        try:
            tensor = array(member)
        except Refused as error:
            raise Refused(f"{shown(name)} {error}") from None
        if tensor is None:
            left.append(name)
        else:
            tensors[name[:-len(".npy")]] = tensor
    return tensors, left


def array(member):
    """The StoredTensor of one .npy; None for an array of text or of records."""
    head = member.head(HEADER)
    if head[:6] != b"\x93NUMPY" or len(head) < 12 or head[6] not in (1, 2, 3):
        raise Refused("is not a NumPy array")
    start, length = (10, struct.unpack("<H", head[8:10])[0]) if head[6] == 1 else (12, struct.unpack("<I", head[8:12])[0])
    match = PATTERN.fullmatch(head[start:start + length].decode("latin-1")) if start + length <= HEADER else None
    if not match:
        raise Refused("has a header that NumPy does not write")
    code, fortran, sizes = match[1].strip("'"), match[2] == "True", match[3]
    if "O" in code:
        raise Refused("holds Python objects, expected numbers; such arrays are pickles")
    order, code = (code[0], code[1:]) if code[0] in "<>=|" else ("<", code)
    if code not in NAMES:
        return None
    shape = shape_of([int(size) for size in re.findall(r"\d+", sizes)])

    def load():
        elements = typed(member.read()[start + length:], tensor.dtype, ">" if order == ">" else "<")
        return elements.reshape(shape, order="F" if fortran else "C")

    tensor = StoredTensor(shape, NAMES[code], load)
    if member.size != start + length + tensor.nbytes:
        raise Refused(f"takes {member.size - start - length:,} bytes, expected {tensor.nbytes:,} for {tensor.dtype} {shape}")
    return tensor
