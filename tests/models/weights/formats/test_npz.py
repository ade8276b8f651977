import zipfile

import numpy as np
import pytest

from models.weights.formats import open_weight_file
from runtime.errors import UserError
from tests.fixtures.handmade import npy, zipped

A = np.arange(6, dtype="<f4").reshape(2, 3)


def written(tmp_path, data):
    path = tmp_path / "weights.npz"
    path.write_bytes(data)
    return path


def with_header(text, version=1):
    """The bytes of a .npy file with this header."""
    text = text.encode("latin-1")
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + A.tobytes()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(tmp_path, rng, save):
    wanted = {code: rng.integers(0, 2 if code == "b1" else 100, (5, 3)).astype(code) for code in
              ["f2", "<f4", ">f4", "f8", "i1", ">i2", "i8", "u1", "u4", "b1", "c8", "c16"]}
    wanted.update({"fortran": np.asfortranarray(A), "scalar": np.array(2.5), "empty": np.zeros((3, 0), "f4"), "row": A[0],
                   "a/b:0": A, "zeros": np.zeros((300, 400), "f4"), "names": np.array(["x", "y"]),
                   "pairs": np.zeros(2, [("a", "f4"), ("b", "i4")])})
    path = tmp_path / "weights.npz"
    save(path, **wanted)
    found = open_weight_file(path)
    assert found.format == "npz" and found.notes == ["left out: names.npy, pairs.npy"]
    assert list(found.tensors) == [name for name in wanted if name not in ("names", "pairs")]
    for name, stored in found.tensors.items():
        array = stored.read()
        assert (array.shape, stored.shape, array.dtype) == (wanted[name].shape, wanted[name].shape,
                                                            wanted[name].dtype.newbyteorder("="))
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy_is_read(tmp_path, version):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as file, file.open("a.npy", "w") as stream:
        np.lib.format.write_array(stream, A, version=version)
    np.testing.assert_array_equal(open_weight_file(tmp_path / "weights.npz").tensors["a"].read(), A)


def test_arrays_of_objects_are_refused(tmp_path):
    for array in (np.array([{}, 1], dtype=object), np.zeros(2, [("a", "O"), ("b", "f4")])):
        np.savez(tmp_path / "weights.npz", a=A, b=array)
        with pytest.raises(UserError, match="b.npy holds Python objects, expected numbers"):
            open_weight_file(tmp_path / "weights.npz")


@pytest.mark.parametrize("content, message", [
    (b"no array", "is not a NumPy array"), (b"", "is not a NumPy array"), (npy(A)[:-1], "takes 23 bytes, expected 24"),
    (npy(A) + b"\0", "takes 25 bytes, expected 24"), (npy(A).replace(b"(2, 3)", b"(4, 3)"), "takes 24 bytes, expected 48"),
    (npy(A)[:6] + b"\4" + npy(A)[7:], "is not a NumPy array"), (npy(A)[:40], "a header that NumPy does not write"),
    (npy(A).replace(b"(2, 3)", b"(-2,3)"), "a header that NumPy does not write"),
    (npy(A).replace(b"(2, 3)", b"(2 ,3)"), "a header that NumPy does not write"),
    (with_header("{'descr': exit(), 'fortran_order': False, 'shape': (2, 3), }"), "a header that NumPy does not write"),
    (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 3000 + ",), }"), "a shape has more than"),
    (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "0, " * 40 + "), }"), "a shape is not a list"),
    (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, " + "9" * 30 + "), }"), "a shape has more than"),
    (with_header("-" * 5000), "a header that NumPy does not write"),
    (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" + " " * 5000), "a header that NumPy"),
    (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", version=2)[:10], "is not a NumPy array")])
def test_a_broken_array_is_one_line(tmp_path, content, message):
    with pytest.raises(UserError) as error:
        open_weight_file(written(tmp_path, zipped([("a.npy", content)])))
    (line,) = error.value.problems
    assert message in line and "a.npy" in line and "\n" not in line


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_is_found_when_the_array_is_read(tmp_path, rng, method):
    array = rng.random(1000).astype("f4")
    data = bytearray(zipped([("a.npy", npy(array)), ("b.npy", npy(A))], method))
    data[2000] ^= 16
    path = written(tmp_path, data)
    found = open_weight_file(path).tensors
    np.testing.assert_array_equal(found["b"].read(), A)
    with pytest.raises(UserError, match="a: is damaged: a.npy is not what|a: is a damaged zip file"):
        found["a"].read()


def test_a_zip_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match="a zip file that neither PyTorch nor NumPy wrote"):
        open_weight_file(written(tmp_path, zipped([("word/document.xml", b"<")])))
    with pytest.raises(UserError, match="a zip file that neither"):
        open_weight_file(written(tmp_path, zipped([])))
