"""Files made to do harm, and files that are damaged: each is refused with one line, nothing is run, nothing is written."""
import contextlib
import json
import os
import pickle
import pickletools
import random
import re
import struct
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.weights.formats import open_weight_file, pickles
from runtime.errors import UserError
from tests.fixtures.handmade import (
    MAGIC,
    Called,
    Named,
    Persistent,
    jittor,
    npy,
    opcodes,
    pickled,
    safetensors,
    tensor,
    torch_legacy,
    torch_zip,
    zipped,
)

DATA = Path(__file__).parents[2] / "data"
A = np.array([[1.5, -2, 3]], "f4")

# ------------------------------------------------------------------------------------------------ what a reader may do

SEEN, WATCHING = [], [False]


def listen(event, args):
    """Notes whatever Python reports while a file is read, except reading files and id()."""
    if not WATCHING[0]:
        return
    reads = event == "open" and args[1] in ("r", "rb", None) and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if not reads and event != "builtins.id":
        SEEN.append((event, str(args)[:200]))


sys.addaudithook(listen)      # imports, exec, eval, compile, os.*, subprocess.*, pickle.find_class, writing, sockets ...


@contextlib.contextmanager
def watched():
    """Fails where anything but reading a file happens inside."""
    SEEN.clear()
    WATCHING[0] = True
    try:
        yield
    finally:
        WATCHING[0] = False
    assert not SEEN, SEEN


def read_all(path):
    """Opens a file and reads every tensor: {name: array}."""
    with watched():
        return {name: stored.read() for name, stored in open_weight_file(path).tensors.items()}


def refused(path):
    """The one line with which a file is refused."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(UserError) as error:
        read_all(path)
    (line,) = error.value.problems
    assert line.startswith(f"{path}: ") and line.isprintable() and len(line) < len(str(path)) + 400, line
    assert sorted(path.parent.rglob("*")) == before
    return line[len(str(path)) + 2:]


def test_the_watch_sees_what_a_hostile_pickle_does(tmp_path):
    class Touches:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'touched')!r}, 'w')",)

    with pytest.raises(AssertionError, match="find_class.*open"), watched():
        pickle.loads(pickle.dumps(Touches()))
    assert (tmp_path / "touched").exists()


# ------------------------------------------------------------------------------------------------ pickles that call

WRAPPERS = {
    "pickle": lambda data: data, "jittor": jittor, "zip": lambda data: torch_zip(data, {"0": A.tobytes()}),
    "legacy": lambda data: torch_legacy(data, {}), "preface": lambda data: pickled(MAGIC) + pickled(1001) + data}
SYSTEM = b"cos\nsystem\n"
COMMAND = "touch touched; exit 1"
CALLS = {
    "os.system": [
        pickled(Called("os.system", (COMMAND,))),                               # REDUCE
        pickled({"w": Called("os.system", (COMMAND,)), "x": 1}),
        b"cos\nsystem\n(S'touch touched'\ntR.",                                   # protocol 0
        b"(S'touch touched'\nios\nsystem\n.",                                     # INST
        b"(" + SYSTEM + b"S'touch touched'\no.",                                  # OBJ
        b"\x80\x02" + SYSTEM + opcodes((COMMAND,)) + b"\x81.",                      # NEWOBJ
        b"\x80\x04" + SYSTEM + opcodes((COMMAND,)) + b"}\x92.",                     # NEWOBJ_EX
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x8c\x04true\x85R.",                # STACK_GLOBAL
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x04true\x85R.",      # its parts from the memo
        b"\x80\x02}" + SYSTEM + b"K\1s.",                                         # named, never called
        b"\x80\x02" + SYSTEM + b"0}.",                                            # and dropped again
        b"\x80\x02" + SYSTEM + b"q\0" + opcodes((COMMAND,)) + b"Rh\0" + opcodes((COMMAND,)) + b"R.",
        pickled(Called("collections.OrderedDict", ([["w", Called("os.system", (COMMAND,))]],))),
        pickled(Called("numpy.dtype", (Called("os.system", (COMMAND,)),)))],
    "builtins.eval": [pickled(Called("builtins.eval", ("open('touched', 'w')",)))],
    "builtins.exec": [pickled(Called("builtins.exec", ("import os",)))],
    "__builtin__.eval": [pickled(Called("__builtin__.eval", ("1",)))],
    "builtins.getattr": [pickled(Called("builtins.getattr", (Named("numpy.ndarray"), "tofile")))],
    "builtins.__import__": [pickled(Called("builtins.__import__", ("os",)))],
    "builtins.open": [pickled(Called("builtins.open", ("touched", "w")))],
    "builtins.map": [pickled(Called("builtins.map", (Named("builtins.int"), ["1"])))],
    "posix.system": [pickled(Called("posix.system", (COMMAND,)))],
    "subprocess.Popen": [pickled(Called("subprocess.Popen", (["touch", "touched"],)))],
    "importlib.import_module": [pickled(Called("importlib.import_module", ("this",)))],
    "pickle.loads": [pickled(Called("pickle.loads", (pickled(Called("os.system", (COMMAND,))),)))],
    "numpy.load": [pickled(Called("numpy.load", ("objects.npy", "r", True)))],
    "numpy.core.multiarray.fromfile": [pickled(Called("numpy.core.multiarray.fromfile", ("x",)))],
    "numpy.testing._private.utils.runstring": [pickled(Called("numpy.testing._private.utils.runstring", ("1", {})))],
    "torch.load": [pickled(Called("torch.load", ("other.pth",)))],
    "torch.hub.load": [pickled(Called("torch.hub.load", ("a/b", "c")))],
    "torch.storage._load_from_bytes": [pickled(Called("torch.storage._load_from_bytes", (b"",)))],
    "torch.jit.load": [pickled(Called("torch.jit.load", ("a",)))],
    "jittor.load": [pickled(Called("jittor.load", ("a",)))],
    "jittor_utils.os.system": [b"\x80\x04\x8c\x0cjittor_utils\x8c\x09os.system\x93."],
    "pytorch_lightning.os.system": [b"\x80\x04\x8c\x11pytorch_lightning\x8c\x09os.system\x93\x8c\x04true\x85R."],
    "numpy.core.multiarray._reconstruct": [b"\x80\x04\x8c\x05numpy\x8c\x1ccore.multiarray._reconstruct\x93."],
    "collections.OrderedDict.__init__.__globals__": [b"\x80\x04\x8c\x0bcollections\x8c OrderedDict.__init__.__globals__\x93."],
    "omegaconf.base.": [b"\x80\x04\x8c\x0eomegaconf.base\x8c\x00\x93."],
    "os.system\u2028??[31m": [b"\x80\x04\x8c\x02os\x8c\x0fsystem\xe2\x80\xa8\x1b\n[31m\x93."],
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", CALLS)
def test_a_pickle_that_names_what_no_tensor_needs_is_refused_by_that_name(tmp_path, monkeypatch, wrapper, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file" / "weights.pkl"
    path.parent.mkdir()
    shown = "".join(c if c.isprintable() else "?" for c in name)
    for data in CALLS[name]:
        path.write_bytes(WRAPPERS[wrapper](data))
        line = refused(path)
        # The preface of an older file may not even hold the names of arrays, of which some of these begin with one.
        assert f"names {'' if wrapper == 'preface' else shown}" in line and "refused, and nothing was run" in line
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_real_exploits_are_refused_in_every_protocol(tmp_path, monkeypatch, wrapper):
    monkeypatch.chdir(tmp_path)

    class Hostile:
        def __init__(self, *made):
            self.made = made

        def __reduce__(self):
            return self.made

    for protocol in range(6):
        for value in (Hostile(os.system, (COMMAND,)), Hostile(eval, ("1",)), Hostile(dict, (), {}, None, iter([("k", Hostile(
                exec, ("raise SystemExit",)))])), {"w": np.array([Hostile(os.system, (COMMAND,))], dtype=object)}):
            (tmp_path / "weights.pkl").write_bytes(WRAPPERS[wrapper](pickle.dumps({"w": A, "x": value}, protocol)))
            allowed = "names " if wrapper == "preface" else "names (posix|builtins|__builtin__)|.*Python objects"
            assert re.match(allowed, refused(tmp_path / "weights.pkl"))
    assert os.listdir(tmp_path) == ["weights.pkl"]


def test_arrays_of_objects_are_refused_with_and_without_a_call_inside(tmp_path):
    path = tmp_path / "weights"
    for objects in (np.array([1, None], dtype=object), np.zeros(2, [("a", "O")]), np.array([[{}]], dtype="O")):
        path.write_bytes(pickle.dumps({"w": A, "x": objects}, 4))
        assert "holds an array of Python objects" in refused(path)
        np.savez(tmp_path / "objects.npz", w=A, x=objects)
        assert "x.npy holds Python objects" in refused(tmp_path / "objects.npz")


def test_calls_with_arguments_that_fit_nothing_are_refused(tmp_path):
    path = tmp_path / "weights"
    names = ["numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy.core.numeric._frombuffer",
             "numpy.dtype", "_codecs.encode", "collections.OrderedDict", "torch._utils._rebuild_tensor_v2",
             "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter", "torch._tensor._rebuild_from_type_v2",
             "torch.Size", "jittor.Var", "torch.FloatStorage"]
    odd = [(), (None,), (1, 2, 3), ([1],), ("os", "system"), ({}, {}, {}, {}, {}, {}, {}), (Named("numpy.ndarray"),) * 7,
           (1 << 300, -1), (Called("numpy.dtype", ("f4",)),) * 4]
    for name in names:
        for arguments in odd:
            for state in (None, 1, (), (1, 2, 3, 4, 5), {}, [("a", 1)]):
                path.write_bytes(pickled({"w": Called(name, arguments, state)}))
                refused(path)


# ------------------------------------------------------------------------------------------------ bombs

def bombs():
    """{what it is: (a small file that asks for much memory or time, why it is refused)}."""
    deep, again = 100_000, b"0ccollections\nOrderedDict\nh\0\x85R" * 5000
    equal_hashes = b"".join(b"\x8a\x0a" + (i * (2 ** 61 - 1)).to_bytes(10, "little") + b"N" for i in range(1, 30_000))
    laughs = b"".join(b"q%c" % i + b"0}(" + b"".join(opcodes(f"k{j}") + b"h%c" % i for j in range(9)) + b"u"
                      for i in range(1, 100))
    array = opcodes(Called("numpy.core.multiarray.scalar", (Called("numpy.dtype", ("f4",)), b"abcd")))
    keys = b"".join(opcodes(f"k{i}") + b"h\1" for i in range(1000))              # and what is in the memo
    tensors = array + b"q\1" + b"0}(" + keys + b"uq\1"
    one = opcodes(dict.fromkeys(map(str, range(20_000)))) + b"q\0"
    header = npy(np.zeros(4, "f4"))[:128]
    much = header.replace(b"(4,), }" + b" " * 7, b"(25000000,), }") + bytes(100_000_000)
    more = header.replace(b"(4,), }" + b" " * 9, b"(4000000000,), }") + bytes(16)
    none, long, key = "holds no tensors", "ends at byte", b"X\5\0\0\0%05d"
    return {
        "memo": (b"\x80\x02}r\xff\xff\xff\xff.", none), "memo of protocol 0": (b"}p999999999999999999\n.", none),
        "text": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a", long),
        "byte array": (b"\x80\x05\x96" + b"\xff" * 8, long),
        "bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62), long),
        "frame": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 50) + b"}.", long),
        "integer": (b"\x80\x02\x8b" + struct.pack("<i", 1 << 30), "an integer of 1,073,741,824 bytes"),
        "marks": (b"\x80\x02" + b"(" * deep + b".", "no whole pickle"),
        "deep tuple": (b"\x80\x02)" + b"\x85" * deep + b".", "but tuple"),
        "deep list": (b"\x80\x02" + b"]" * deep + b"a" * (deep - 1) + b".", "but list"),
        "deep dict": (b"\x80\x02" + b"}N" * 50_000 + b"}" + b"s" * 50_000 + b".", none),
        "deep key": (b"\x80\x02})" + b"\x85" * deep + b"Ns.", none),
        "keys of equal hashes": (b"\x80\x02}(" + equal_hashes + b"u.", none), "laughs": (b"\x80\x02}" + laughs + b".", none),
        "copies of a dict": (b"\x80\x02" + opcodes(dict.fromkeys(map(str, range(1000)))) + b"q\0" + again + b".", none),
        "copies of pairs": (b"\x80\x02](" + b"(U\1aNt" * 30_000 + b"eq\0" + again + b".", none),
        "copies of a text": (b"\x80\x02" + opcodes("a" * 4096) + b"q\0" + b"c_codecs\nencode\n(h\0U\6latin1tR" * 9999 + b".",
                             "but str"),
        "a dict of tensors in many places": (b"\x80\x02}(" + opcodes("x") + tensors + keys + b"u.", "more than 50,000 tensors"),
        "a dict in many dicts": (b"\x80\x02}(" + opcodes("x") + one + b"".join(key % i + b"}N" + b"h\0s" for i in range(20_000))
                                 + b"u.", none),
        "npz": (zipped([("w.npy", much)], zipfile.ZIP_DEFLATED), "refused as a bomb"),
        "npz that lies": (zipped([("w.npy", more)], zipfile.ZIP_DEFLATED), "takes 16 bytes, expected 16,000,000,000"),
        "safetensors": (safetensors({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, b""),
                        "has 0 bytes"),
        "lists in a header": (safetensors(b'{"a":[' + b"[]," * 300_000 + b"[]]}", b""), "a is not described by")}


BOMBS = bombs()


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_takes_little_memory_and_time(tmp_path, bomb):
    data, message = BOMBS[bomb]
    (tmp_path / "bomb").write_bytes(data)
    start = time.process_time()
    tracemalloc.start()
    line = refused(tmp_path / "bomb")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in line
    assert peak < 100e6 and time.process_time() - start < 20


def test_a_pickle_of_too_many_opcodes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "OPCODES", 1000)
    for count in (997, 998):
        (tmp_path / "w").write_bytes(b"\x80\x02}" + b"N0" * (count // 2) + b"N" * (count % 2) + b".")
        assert ("more than 1,000 opcodes" in refused(tmp_path / "w")) == (count > 997)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    data = bytearray(zipped([("a.npy", npy(A)), ("b.npy", npy(A))]))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    data[second + 42:second + 46] = bytes(4)                # where the first one starts
    (tmp_path / "w.npz").write_bytes(data)
    assert "overlaps what follows it" in refused(tmp_path / "w.npz")


@pytest.mark.parametrize("name", ["../../escaped.npy", "/escaped.npy", "..\\escaped.npy", "C:\\escaped.npy", "a/../../b.npy"])
def test_names_that_lead_out_of_a_zip_file_are_refused(tmp_path, name):
    (tmp_path / "w.npz").write_bytes(zipped([("x" * len(name), npy(A))]).replace(b"x" * len(name), name.encode()))
    assert "leads out of it" in refused(tmp_path / "w.npz")
    (tmp_path / "w.pth").write_bytes(torch_zip({"w": tensor("0", (3,), (1,), 3)}, {"0": A.tobytes()}, more=[(name, b"")]))
    if "\\" not in name:
        assert "leads out of it" in refused(tmp_path / "w.pth")
    (tmp_path / "k.pth").write_bytes(torch_zip({"w": tensor("../../" + name, (3,), (1,), 3)}, {"0": A.tobytes()}))
    assert "has no storage" in refused(tmp_path / "k.pth")


# ------------------------------------------------------------------------------------------------ damage

def parts():
    """{format: (the bytes of its innermost part, a function that wraps them into a whole file)}."""
    rng = np.random.default_rng(0)
    arrays = {"a.weight": rng.random((3, 5)).astype("f4"), "a.bias": rng.random(5), "b": np.arange(7, dtype=">i2"),
              "half": rng.random((2, 2)).astype("f2")}
    storages = {str(i): np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for i, array in enumerate(arrays.values())}
    data = {key: array.tobytes() for key, array in storages.items()}
    codes, ends = ["F32", "F64", "I16", "F16"], np.cumsum([0] + [array.nbytes for array in arrays.values()]).tolist()
    header = {name: {"dtype": codes[i], "shape": list(array.shape), "data_offsets": ends[i:i + 2]}
              for i, (name, array) in enumerate(arrays.items())}
    rest = [(f"{name}.npy", npy(array)) for name, array in arrays.items()][1:]
    return {
        **{f"pickle {protocol}": (pickle.dumps(arrays, protocol), bytes) for protocol in (0, 2, 5)},
        "jittor": (pickle.dumps(arrays, 4), jittor),
        "zip": (pickled(objects(arrays)), lambda inner: torch_zip(inner, data)),
        "legacy": (pickled(objects(arrays, (None,))), lambda inner: torch_legacy(inner, storages)),
        "npz": (npy(arrays["a.weight"]), lambda inner: zipped([("a.weight.npy", inner), *rest])),
        "packed npz": (npy(arrays["a.weight"]), lambda inner: zipped([("a.weight.npy", inner), *rest], zipfile.ZIP_DEFLATED)),
        "safetensors": (json.dumps({**header, "__metadata__": {"made": "here"}}).encode(),
                        lambda inner: safetensors(inner, b"".join(data.values()))),
        **{f"real {name}": ((DATA / "formats" / file).read_bytes(), bytes) for name, file in
           [("zip", "torch_zip.pth"), ("legacy", "torch_legacy.pth"), ("lightning", "lightning.ckpt")]},
    }


def objects(arrays, prefix=()):
    """What a PyTorch file of these arrays would hold, storages "0" to "3"."""
    kinds = ["FloatStorage", "DoubleStorage", "ShortStorage", "HalfStorage"]
    made = {name: tensor(str(i), array.shape, tuple(step // array.itemsize for step in array.strides), array.size, kinds[i],
                         prefix=prefix) for i, (name, array) in enumerate(arrays.items())}
    return {"epoch": 3, "state_dict": made, "path": Called("pathlib.PosixPath", ("a", "b"))}


PARTS = parts()
SEEDS = {form: wrap(inner) for form, (inner, wrap) in PARTS.items()}
CHECKED = ["jittor", "zip", "npz", "packed npz", "real zip", "real lightning"]     # formats with checksums


@pytest.mark.parametrize("form", SEEDS)
def test_the_seeds_are_whole(tmp_path, form):
    (tmp_path / "w").write_bytes(SEEDS[form])
    assert len(read_all(tmp_path / "w")) >= 4


@pytest.mark.parametrize("form", SEEDS)
def test_every_truncated_file_is_refused(tmp_path, form):
    data = SEEDS[form]
    lengths = {*range(1, 40), *range(40, len(data), 41), *range(len(data) - 40, len(data))}
    for length in sorted(lengths - ({len(data) - 28} if form == "jittor" else set())):     # then it is one without a trailer
        (tmp_path / "w").write_bytes(data[:length])
        refused(tmp_path / "w")


def outcome(path):
    """The values of a file's tensors, as bytes, or the line with which it is refused."""
    try:
        return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in read_all(path).items()}
    except UserError as error:
        (line,) = error.problems
        assert line.startswith(f"{path}: ") and line.isprintable() and len(line) < 600, line
        return line


@pytest.mark.parametrize("form", CHECKED)
def test_a_flipped_bit_never_changes_a_value_where_there_are_checksums(tmp_path, form):
    rng, data = random.Random(form), SEEDS[form]
    (tmp_path / "w").write_bytes(data)
    wanted = set(outcome(tmp_path / "w").values())
    for _ in range(300):
        bit = rng.randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "w").write_bytes(flipped)
        found = outcome(tmp_path / "w")
        assert isinstance(found, str) or set(found.values()) <= wanted, (bit, found)


def mutated(rng, data, others):
    """A damaged copy of a file: flipped bits, bytes changed, taken away, put in or doubled, lengths replaced, a splice."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        if not data:
            break
        place, count = rng.randrange(len(data)), rng.choice([1, 2, 4, 8, 50])
        kind = rng.randrange(9)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.randrange(256)
        elif kind == 2:
            del data[place:]
        elif kind == 3:
            del data[place:place + count]
        elif kind == 4:
            data[place:place] = rng.randbytes(count)
        elif kind == 5:
            data[place:place] = data[place:place + count * 8]
        elif kind == 6:
            number = rng.choice([0, 1, 0xff, 0x7fff, 0x7fffffff, 0xffffffff, 1 << 62, (1 << 64) - 1, rng.randrange(1 << 32)])
            width = rng.choice([1, 2, 4, 8])
            data[place:place + width] = (number % (1 << 8 * width)).to_bytes(width, "little")
        elif kind == 7:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            data[place:place + rng.choice([0, count])] = other[start:start + count]
        else:
            data[place:place] = rng.choice(OPCODES) + rng.randbytes(rng.randrange(3))
    return bytes(data)


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


def changed(rng, value):
    """A copy of what a pickle is made of, in which one value is another one."""
    if rng.random() < 0.15 or not isinstance(value, (dict, tuple, list, Called, Persistent)):
        return rng.choice([None, True, -1, 0, 1, 2, 7, 1 << 40, 1 << 64, 1.5, "0", "f4", "O", "storage", b"", (), [], {},
                           (1, 2), [[]], Named("numpy.ndarray"), Named("torch.FloatStorage"), Named("torch.float64"),
                           Called("numpy.dtype", (">f4",)), Called("collections.OrderedDict", ())])
    if isinstance(value, dict):
        key = rng.choice(list(value) or [0])
        return {**value, key: changed(rng, value.get(key))}
    if isinstance(value, (tuple, list)):
        items = list(value) or [0]
        place = rng.randrange(len(items))
        items[place:place + 1] = rng.choice([[changed(rng, items[place])], [], [items[place]] * 2]) if rng.random() < 0.3 else [
            changed(rng, items[place])]
        return type(value)(items)
    if isinstance(value, Persistent):
        return Persistent(changed(rng, value.key))
    return Called(value.name, changed(rng, value.arguments), value.state)


def test_2400_damaged_files_are_refused_or_read_and_do_nothing_else(tmp_path):
    rng, forms, all_seeds = random.Random(20), list(SEEDS), list(SEEDS.values())
    path, results = tmp_path / "w", {form: [0, 0] for form in forms}
    tracemalloc.start()
    for turn in range(2400):
        form = forms[turn % len(forms)]
        inner, wrap = PARTS[form]
        if turn // len(forms) % 2:
            data = wrap(mutated(rng, inner, all_seeds))           # checksums are right: the damage gets further in
        else:
            data = mutated(rng, SEEDS[form], all_seeds)
        path.write_bytes(data)
        try:
            results[form][isinstance(outcome(path), dict)] += 1
        except Exception as error:
            raise AssertionError(f"turn {turn}, {form}: {error!r}\n{data!r}") from error
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6 and os.listdir(tmp_path) == ["w"]
    assert all(bad > 50 and good > 0 for bad, good in results.values()), results     # the damage reaches every place


def test_600_files_with_values_of_other_kinds_are_refused_or_read_and_do_nothing_else(tmp_path):
    rng, path, results = random.Random(21), tmp_path / "w", [0, 0]
    arrays = {"w": np.arange(6, dtype="f4").reshape(2, 3), "b": np.arange(2.0)}
    data = {"0": arrays["w"].tobytes(), "1": arrays["b"].tobytes()}
    dtype = Called("numpy.dtype", ("f4", False, True), (3, "<", None, None, None, -1, -1, 0))
    array = Called("numpy.core.multiarray._reconstruct", (Named("numpy.ndarray"), (0,), b"b"),
                   (1, (2, 3), dtype, False, data["0"]))
    for turn in range(600):
        if turn % 3 == 0:
            file = torch_zip(changed(rng, objects(arrays)), data)
        elif turn % 3 == 1:
            file = torch_legacy(changed(rng, objects(arrays, (None,))), {"0": arrays["w"], "1": arrays["b"]})
        else:
            file = pickled({"w": Called(array.name, array.arguments, changed(rng, array.state)), "v": array})
        path.write_bytes(file)
        results[isinstance(outcome(path), dict)] += 1
    assert min(results) > 50, results
