"""Keras weights in HDF5 files (.h5, .hdf5). Needs h5py, which nothing else here does."""
from pathlib import Path

import numpy as np

from runtime.errors import UserError

CONVERT = ("where h5py is: python -c \"from models.weights.hdf5 import save_npz; save_npz('WEIGHTS.hdf5', 'WEIGHTS.npz')\", "
           "and give the npz")


LARGEST = 2 << 30                 # bytes of all weights; NIMA's MobileNet has 13 million


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
    arrays, taken = {}, 0

    def keep(name, item):
        nonlocal taken
        if not isinstance(item, h5py.Dataset) or item.dtype.kind != "f" or name.startswith("optimizer_weights"):
            return
        if item.external or item.is_virtual:
            raise UserError(f"{path}: {name} lies in other files, expected the weights in this one")
        if item.shape is None:
            raise UserError(f"{path}: {name} is empty, expected weights")
        taken += item.size * 4
        if taken > LARGEST:                              # a few bytes may claim any size: what is not stored reads as 0
            raise UserError(f"{path}: its weights take more than {LARGEST:,} bytes, expected fewer")
        arrays[name] = item[()].astype(np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except UserError:
        raise
    except Exception as error:                           # the library raises anything on broken bytes
        raise UserError(f"{path}: not a whole HDF5 file ({error})") from None
    return arrays


def save_npz(path, output):
    """Writes the weights in an HDF5 file as an npz, under the same names."""
    np.savez(output, **read_hdf5(path))
