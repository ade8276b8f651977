"""Keras weights in HDF5 files (.h5, .hdf5). Needs h5py, which nothing else here does."""
from pathlib import Path

import numpy as np

from runtime.errors import UserError

CONVERT = ("where h5py is: python -c \"from models.weights.hdf5 import save_npz; save_npz('WEIGHTS.hdf5', 'WEIGHTS.npz')\", "
           "and give the npz")


def read_hdf5(path):
    """{path in the file: float32 array} of the weights; those of an optimizer are left out.

    Raises UserError where there is no such file or no h5py, or the file is none or damaged.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path}: an HDF5 file needs h5py, which is not installed (pip install h5py); or convert it {CONVERT}"
                        ) from None
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file, expected Keras weights")
    arrays = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and not name.startswith("optimizer_weights"):
            arrays[name] = item[()].astype(np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{path}: not a whole HDF5 file ({error})") from None
    return arrays


def save_npz(path, output):
    """Writes the weights in an HDF5 file as an npz, under the same names."""
    np.savez(output, **read_hdf5(path))
