import sys

import numpy as np
import pytest

from models.weights.hdf5 import read_hdf5, save_npz
from runtime.errors import UserError


@pytest.fixture
def path(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        file["conv1/conv1/kernel:0"] = np.arange(6, dtype=np.float64).reshape(2, 3)
        file["conv1/steps"] = np.arange(3)
        file["optimizer_weights/Adam/conv1/kernel:0"] = np.ones(2)
    return path


def test_weights_are_read_as_float32_without_those_of_the_optimizer(path):
    arrays = read_hdf5(path)
    assert list(arrays) == ["conv1/conv1/kernel:0"]
    assert arrays["conv1/conv1/kernel:0"].dtype == np.float32
    assert arrays["conv1/conv1/kernel:0"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_npz_has_the_same_tensors(path, tmp_path):
    save_npz(path, tmp_path / "weights.npz")
    with np.load(tmp_path / "weights.npz") as arrays:
        assert arrays.files == ["conv1/conv1/kernel:0"]
        np.testing.assert_array_equal(arrays["conv1/conv1/kernel:0"], np.arange(6).reshape(2, 3))


def test_a_damaged_or_missing_file_is_an_error_of_one_line(path):
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not a whole HDF5 file"):
        read_hdf5(path)
    with pytest.raises(UserError, match="no such file"):
        read_hdf5(path.with_name("none.hdf5"))


def test_without_h5py_the_way_to_an_npz_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="needs h5py.*pip install h5py.*save_npz"):
        read_hdf5(tmp_path / "weights.hdf5")


@pytest.mark.parametrize("make, words", [
    (lambda file: file.create_dataset("w", (3,), "f4", external=[("/etc/passwd", 0, 12)]), "w lies in other files"),
    (lambda file: file.create_dataset("w", dtype="f4"), "w is empty"),
    (lambda file: file.create_dataset("w", (10 ** 6, 10 ** 6), "f4", chunks=(1000, 1000)), "more than 2,147,483,648 bytes"),
    (lambda file: [file.create_dataset(f"w{i}", (10 ** 4, 10 ** 4), "f4", chunks=(100, 100)) for i in range(9)], "more than")])
def test_weights_that_lie_elsewhere_or_claim_more_than_there_is_are_refused(make, words, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(UserError, match=words):
        read_hdf5(tmp_path / "a.h5")
