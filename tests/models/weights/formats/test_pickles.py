import pickle
import random
import tracemalloc
from collections import OrderedDict, defaultdict

import numpy as np
import pytest

from models.weights.formats import arrays, open_weight_file
from models.weights.formats.pickles import Span, read_pickle
from models.weights.formats.source import ByteSource, Refused
from runtime.errors import UserError
from tests.fixtures.handmade import Called, Named, jittor, pickled

TYPES = ["f2", "<f4", ">f4", "f8", ">f8", "i1", "i2", ">i4", "i8", "u1", "u2", "u4", ">u8", "b1", "c8", "c16"]


def written(tmp_path, data):
    path = tmp_path / "weights.pkl"
    path.write_bytes(data)
    return path


def drawn(rng):
    """{name: array} of every type and layout."""
    found = {code: rng.integers(0, 2 if code == "b1" else 100, (5, 3)).astype(code) for code in TYPES}
    found.update(scalar=np.array(2.5, "f4"), empty=np.zeros((0, 3), "f4"), fortran=np.asfortranarray(found["<f4"]),
                 strided=np.arange(24, dtype="f4").reshape(4, 6)[::2, ::3], large=rng.random((70, 33)).astype("f4"),
                 one=np.float32(1.5))
    found["again"] = found["large"]
    return found


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_type_and_layout_are_those_that_were_written(tmp_path, rng, protocol):
    wanted = drawn(rng)
    found = open_weight_file(written(tmp_path, pickle.dumps(wanted, protocol))).tensors
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        read = found[name].read()
        assert (read.shape, read.dtype.name, found[name].dtype) == (array.shape, array.dtype.name, array.dtype.name), name
        assert read.dtype.isnative and read.flags.writeable
        np.testing.assert_array_equal(read, array, err_msg=name)


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_arrays_of_either_numpy_are_read(tmp_path, core):
    data = pickle.dumps({"a": np.arange(4, dtype="f4")}, 2).replace(b"numpy.core", core.encode())
    assert open_weight_file(written(tmp_path, data)).tensors["a"].read().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [3, 5000])
@pytest.mark.parametrize("quoted", [False, True])
def test_strings_of_python_2_are_bytes(tmp_path, rng, size, quoted):
    array = rng.random(size).astype("f4")
    dtype = Called("numpy.dtype", ("f4", 0, 1), (3, "<", None, None, None, -1, -1, 0))
    data = pickled({"w": Called("numpy.core.multiarray._reconstruct", (Named("numpy.ndarray"), (0,), b"b"),
                                (1, (size,), dtype, False, b"SWAP"))})
    swapped = b"T\4\0\0\0SWAP"
    line = b"S'" + array.tobytes().decode("latin-1").encode("unicode-escape").replace(b"'", b"\\'") + b"'\n"
    assert swapped in data and line.count(b"\n") == 1
    data = data.replace(swapped, line if quoted else b"T" + np.uint32(4 * size).tobytes() + array.tobytes())
    np.testing.assert_array_equal(open_weight_file(written(tmp_path, data)).tensors["w"].read(), array)


@pytest.mark.parametrize("protocol", range(6))
def test_dicts_of_every_kind_are_read(tmp_path, protocol):
    array = np.arange(3, dtype="f4")
    state = OrderedDict(a=array, b=defaultdict(dict, c=array), d=defaultdict(OrderedDict))
    found = open_weight_file(written(tmp_path, pickle.dumps(state, protocol)))
    assert list(found.tensors) == ["a", "b.c"] and found.notes == ["left out: d"]


def test_a_dict_made_of_pairs_is_a_dict(tmp_path):
    # Python 2 pickled an OrderedDict so; the only files of the time hold tensors, here an array stands for one.
    item = Called("numpy.core.multiarray.scalar", (Called("numpy.dtype", ("f4",)), b"\0\0\x80\x3f"))
    pairs = [["b", item], ("a", item)]
    found = open_weight_file(written(tmp_path, pickled(Called("collections.OrderedDict", (pairs,))))).tensors
    assert list(found) == ["b", "a"] and found["a"].read() == 1


def plain(rng, depth=4):
    """A random value without classes."""
    kind = rng.randrange(10 if depth else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, 255, 256, 65536, -1, 2 ** 31, -2 ** 31 - 1, 2 ** 63, -2 ** 200, rng.randrange(2 ** 100)])
    if kind == 2:
        return rng.choice([0.0, -1.5, 1e300, 1e-300, float("inf"), rng.random()])
    if kind in (3, 4):
        return "".join(rng.choice("aé\n\\'\0\u2014\U0001f600 ") for _ in range(rng.randrange(300)))
    if kind == 5:
        return ""
    items = [plain(rng, depth - 1) for _ in range(rng.randrange(6))]
    return [tuple(items), items, {f"k{i}": item for i, item in enumerate(items)}, dict(enumerate(items))][kind - 6]


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_read_as_python_reads_them(tmp_path, protocol):
    rng = random.Random(protocol)
    for _ in range(60):
        value = plain(rng)
        data = pickle.dumps(value, protocol)
        source = ByteSource(written(tmp_path, data + b"more"))
        with source.open() as stream:
            assert read_pickle(source, stream, 0, source.size, arrays.meaning({})) == (value, len(data))


def test_long_text_and_all_bytes_stay_in_the_file(tmp_path):
    for value, encoding in (("é" * 5000, "utf-8"), (b"\xe9" * 5000, "")):
        source = ByteSource(written(tmp_path, pickle.dumps([value], 4)))
        with source.open() as stream:
            (found,), _ = read_pickle(source, stream, 0, source.size, arrays.meaning({}))
        assert isinstance(found, Span) and found.encoding == encoding and found.read().tolist() == [0xe9] * 5000


def test_opening_a_large_pickle_takes_no_memory_for_its_arrays(tmp_path):
    path = written(tmp_path, jittor(pickle.dumps({f"w{i}": np.full(500_000, i, "f8") for i in range(4)}, 4)))
    tracemalloc.start()
    found = open_weight_file(path).tensors
    opening = tracemalloc.get_traced_memory()[1]
    assert found["w3"].read()[-1] == 3
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 16e6 and opening < 3e6 and reading < 8e6


def test_settings_beside_the_weights_are_left_out_and_named(tmp_path):
    array = np.arange(3, dtype="f4")
    value = pickle.dumps({"w": array, "step": 7, "names": np.array(["a", "b"]), 5: array, "none": None, "kinds": {1, 2},
                          "set": frozenset([1]), "bytes": b"abc", "complex": 1j}, 2)
    found = open_weight_file(written(tmp_path, value))
    assert list(found.tensors) == ["w"] and found.notes == ["left out: step, names, 5, none, kinds, set, bytes, complex"]


@pytest.mark.parametrize("state, message", [
    ((1, (2,), "f4", False, b"\0" * 8), "arguments that are not those of a tensor"),
    ((1, (3,), Called("numpy.dtype", ("f4",)), False, b"\0" * 8), "holds 8 bytes for an array float32 (3,), expected 12"),
    ((1, (1,), Called("numpy.dtype", ("f4",)), False, b"\0" * 8), "holds 8 bytes for an array float32 (1,), expected 4"),
    ((1, (-2,), Called("numpy.dtype", ("f4",)), False, b""), "a shape is not a list"),
    ((1, (2.0,), Called("numpy.dtype", ("f4",)), False, b""), "a shape is not a list"),
    ((1, (0, 1 << 49), Called("numpy.dtype", ("f4",)), False, b""), "a shape has more than"),
    ((1, (1,) * 33, Called("numpy.dtype", ("f4",)), False, b"\0" * 4), "a shape is not a list"),
    ((1, (2,), Called("numpy.dtype", ("O8",)), False, [1, 2]), "an array of Python objects, expected numbers"),
    ((1, (2,), Called("numpy.dtype", ("f4",)), False, [1, 2]), "an array of Python objects, expected numbers"),
    ((1, (2,), Called("numpy.dtype", ("f4",)), False, None), "an array without content"),
    ((1, (2,), Called("numpy.dtype", ("f4",), (3, "!")), False, b""), "an array of a broken type"),
    ((1, (1,), Called("numpy.dtype", ("f4",)), False, "\u2014aaa"), "characters that are no bytes"),
    (7, "arguments that are not those of a tensor")])
def test_a_broken_array_is_one_line(tmp_path, state, message):
    array = Called("numpy.core.multiarray._reconstruct", (Named("numpy.ndarray"), (0,), b"b"), state)
    with pytest.raises(UserError) as error:
        open_weight_file(written(tmp_path, pickled({"w": array}))).tensors["w"].read()
    (line,) = error.value.problems
    assert message in line and str(tmp_path) in line


def test_an_array_of_a_subclass_is_refused_by_name(tmp_path):
    array = Called("numpy.core.multiarray._reconstruct", (Named("numpy.dtype"), (0,), b"b"), (1,))
    with pytest.raises(UserError, match="an array of the kind numpy.dtype, expected numpy.ndarray"):
        open_weight_file(written(tmp_path, pickled({"w": array})))


def test_what_follows_a_pickle_is_refused(tmp_path):
    data = jittor(pickle.dumps({"a": np.arange(3.0)}))
    with pytest.raises(UserError, match="25 bytes after the end of its pickle"):
        open_weight_file(written(tmp_path, data[:-3]))


@pytest.mark.parametrize("data, message", [
    (b"\x80\x06.", "protocol 6"), (b"\x80\x02}", "ends in the middle"), (b"\x80\x02.", "no whole pickle"),
    (b"\x80\x02N0.", "no whole pickle"), (b"\x80\x02h\5.", "no whole pickle"), (b"\x80\x02}K\1a.", "no whole pickle"),
    (b"\x80\x02](K\1u.", "no whole pickle"), (b"\x80\x02}(K\1u.", "no whole pickle"), (b"\x80\x021.", "no whole pickle"),
    (b"\x80\x02K\1K\2R.", "no whole pickle"), (b"\x80\x02Q.", "objects outside the file"),
    (b"\x80\x02\x82\1.", r"opcode b'\x82'"), (b"\x80\x04\x97.", r"opcode b'\x97'"), (b"\x80\x02Pabc\n.", "opcode b'P'"),
    (b"\x80\x02X\2\0\0\0\xff\xff.", "text that is not utf-8"), (b"\x80\x02\x8b\0\0\0\x7f", "an integer of"),
    (b"\x80\x02\x8b\xff\xff\xff\xff", "an integer of"), (b"\x80\x04\x95" + b"\xff" * 8, "ends at byte"),
    (b"(I" + b"9" * 300 + b"\n.", "a line of more than 255 bytes"), (b"(Iabc\n.", "no whole pickle"),
    (b"(S'abc\n.", "no whole pickle"), (b"(S'" + b"a" * 9999, "ends in the middle of a line"),
    (b"\x80\x04\x8c\2osK\1\x93.", "no whole pickle"), (b"\x80\x02K\1.", "but int")])
def test_a_broken_pickle_is_one_line(tmp_path, data, message):
    with pytest.raises(UserError) as error:
        open_weight_file(written(tmp_path, data))
    (line,) = error.value.problems
    assert message in line and "\n" not in line


def test_an_error_in_the_middle_of_reading_says_what_is_wrong(tmp_path):
    path = written(tmp_path, pickle.dumps({"w": np.arange(5.0)}, 4))
    source = ByteSource(path)
    path.write_bytes(b"other")
    with pytest.raises(Refused, match="changed while it was read"):
        source.read(0, 10)
