import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.weights.checkpoint import Header, read_tensors, write_checkpoint
from models.weights.formats import StoredTensor, open_weight_file
from models.weights.formats.tensors import typed
from runtime.errors import UserError
from tests.fixtures.handmade import jittor, npy, safetensors, tensor, torch_legacy, torch_zip, zipped

GOLDEN = Path(__file__).parents[3] / "data" / "golden"
A = np.array([[1.5, -2, 3]], "f4")


def files():
    """{format: the bytes of a file with one tensor w = A}."""
    data = pickle.dumps({"w": A}, 4)
    header = {"w": {"dtype": "F32", "shape": [1, 3], "data_offsets": [0, 12]}}
    return {"pickle": data, "jittor pickle": jittor(data), "safetensors": safetensors(header, A.tobytes()),
            "npz": zipped([("w.npy", npy(A))]),
            "torch zip": torch_zip({"w": tensor("0", (1, 3), (3, 1), 3)}, {"0": A.tobytes()}),
            "torch legacy": torch_legacy({"w": tensor("0", (1, 3), (3, 1), 3, prefix=(None,))}, {"0": A})}


@pytest.mark.parametrize("form", files())
def test_the_format_is_recognised_by_what_is_in_the_file(tmp_path, form):
    for name in ("weights", "weights.npz", "weights.safetensors", "weights.pkl", "w\u00e4hrung.ckpt"):
        path = tmp_path / name
        path.write_bytes(files()[form])
        found = open_weight_file(path)
        assert (found.format, found.path, list(found.tensors)) == (form, str(path), ["w"])
        stored = found.tensors["w"]
        assert (stored.shape, stored.dtype, stored.nbytes) == ((1, 3), "float32", 12)
        np.testing.assert_array_equal(stored.numpy(), A)


@pytest.mark.parametrize("file, form, dtype", [("format_ndarray.pkl", "jittor pickle", "float32"),
                                               ("format_var.pkl", "jittor pickle", "float32"),
                                               ("format_merged_float64.pkl", "pickle", "float64")])
def test_the_three_forms_of_the_published_weights_are_read(file, form, dtype):
    found = open_weight_file(GOLDEN / file)
    assert found.format == form and found.notes == [] and len(found.tensors) == 6
    same = open_weight_file(GOLDEN / "format_ndarray.pkl").tensors
    for name, stored in found.tensors.items():
        assert stored.dtype == dtype == stored.read().dtype and stored.numpy().dtype == np.float32
        np.testing.assert_array_equal(stored.numpy(), same[name].numpy())


def test_the_checksum_of_jittor_is_verified(tmp_path):
    data = bytearray(files()["jittor pickle"])
    data[-40] ^= 1
    (tmp_path / "w.pkl").write_bytes(data)
    with pytest.raises(UserError, match="does not have the SHA-1 that Jittor wrote"):
        open_weight_file(tmp_path / "w.pkl")


@pytest.mark.parametrize("data, message", [
    (b"", "is empty"), (b"weights\n", "is of no format that is read here"), (b"<!DOCTYPE html>", "is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"), (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x1f\x8b\x08", "packed by gzip"), (b"PK\3\4", "without its end"), (b"\x93NUMPY", "is of no format"),
    (b"\0", "no format"), (b"HCAJSLHD", "no format"), (b"\x80", "ends in the middle"),
    (b"a" * 40 + b"HCAJSLHD", "no format|SHA-1")])
def test_a_file_of_something_else_is_one_line(tmp_path, data, message):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        open_weight_file(path)
    (line,) = error.value.problems
    assert line.startswith(f"{path}: ") and "\n" not in line


def test_what_is_no_file_is_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in [(tmp_path / "none", "no such file"), (tmp_path, "is a folder"), (tmp_path / "pipe", "is a device"),
                          ("a\0b", "no such file"), (tmp_path / "none" / "none", "no such file")]:
        with pytest.raises(UserError, match=message):
            open_weight_file(path)


@pytest.mark.parametrize("form", files())
def test_a_file_that_changes_after_it_was_opened_is_not_read(tmp_path, form):
    path = tmp_path / "w"
    path.write_bytes(files()[form])
    found = open_weight_file(path)
    for change in (lambda: path.write_bytes(files()[form] + b"\0"), lambda: shutil.copy(path, tmp_path / "x")
                   and os.replace(tmp_path / "x", path)):
        change()
        with pytest.raises(UserError, match="w: changed while it was read"):
            found.tensors["w"].read()
    path.unlink()
    with pytest.raises(UserError, match="w: could not be read"):
        found.tensors["w"].read()


@pytest.mark.parametrize("array, message", [
    (np.array([1, np.nan, np.inf, -np.inf], "f4"), "w: 3 of 4 values are not finite"),
    (np.array([[np.nan]], "f2"), "w: 1 of 1 values are not finite"), (np.array([1, -1e39]), r"w: 1e\+39 does not fit float32"),
    (np.array([1, 2]), "w: holds int64, expected floating numbers"), (np.array([1j]), "w: holds complex128"),
    (np.array([True]), "w: holds bool")])
def test_values_that_are_no_weights_are_an_error_that_names_the_tensor(tmp_path, array, message):
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"good": A, "w": array}))
    found = open_weight_file(path).tensors
    assert found["w"].read().shape == array.shape
    with pytest.raises(UserError, match=message) as error:
        found["w"].numpy()
    assert len(error.value.problems) == 1 and str(path) in str(error.value)


def test_values_are_widened_or_narrowed_to_float32(tmp_path):
    arrays = {"half": np.array([6e-8, 65504], "f2"), "double": np.array([0.1, 3.4e38, 1e-60]),
              "swapped": np.array([0.1], ">f8"), "scalar": np.array(0.5),
              "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(arrays))
    for name, stored in open_weight_file(tmp_path / "w.pkl").tensors.items():
        array = stored.numpy()
        assert (array.dtype, array.shape) == (np.dtype("f4"), arrays[name].shape) and array.flags.c_contiguous
        np.testing.assert_array_equal(array, arrays[name].astype("f4"))


def test_bools_other_than_0_and_1_are_true():
    assert typed(np.array([0, 1, 2, 255], "u1"), "bool").tolist() == [False, True, True, True]


def test_a_file_whose_tensors_are_one_storage_over_and_over_is_refused_as_a_bomb(tmp_path):
    row = np.zeros(1 << 18, "f4")
    for count in (60, 600):                                # 60 MB may be, 600 MB of 1 MB may not
        objects = {f"w{i}": tensor("0", row.shape, (1,), row.size) for i in range(count)}
        (tmp_path / "w.pth").write_bytes(torch_zip(objects, {"0": row.tobytes()}))
        if count == 60:
            assert len(open_weight_file(tmp_path / "w.pth").tensors) == 60
        else:
            with pytest.raises(UserError, match="refused as a bomb"):
                open_weight_file(tmp_path / "w.pth")


def test_stored_tensors_go_into_a_checkpoint_of_ours_one_by_one(tmp_path):
    found = open_weight_file(GOLDEN / "format_merged_float64.pkl").tensors
    assert all(isinstance(stored, StoredTensor) for stored in found.values())
    write_checkpoint(tmp_path / "ours.safetensors", found, Header("unet", {}))
    read = read_tensors(tmp_path / "ours.safetensors")
    assert set(read) == set(found)
    for name, stored in found.items():
        np.testing.assert_array_equal(read[name], stored.numpy())
