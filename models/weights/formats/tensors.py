"""A tensor that stays in its file until it is read."""
import math
from dataclasses import dataclass
from typing import Callable

import numpy as np

from models.weights.formats.source import Refused
from runtime.errors import UserError

CODES = {"float16": "f2", "float32": "f4", "float64": "f8", "bool": "b1", "complex64": "c8", "complex128": "c16",
         "bfloat16": "u2",                                                   # NumPy has none: kept as bits until it is widened
         "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1", "uint16": "u2", "uint32": "u4",
         "uint64": "u8"}
NAMES = {code: name for name, code in CODES.items() if name != "bfloat16"}   # of NumPy's codes
FLOATING = ("float16", "bfloat16", "float32", "float64")
LARGEST = 1 << 48                                                            # elements; also keeps sums within 64 bits


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its shape and type, and how to get its values."""
    shape: tuple
    dtype: str                       # a key of CODES
    load: Callable                   # () -> array in native byte order; Refused where the file is damaged
    where: str = ""                  # the file and the name, for messages

    @property
    def nbytes(self):
        """How many bytes the values take in their own type."""
        return math.prod(self.shape) * itemsize(self.dtype)

    def read(self):
        """The values in their own type (bfloat16 widened to float32), in native byte order; UserError if damaged."""
        try:
            array = self.load()
        except Refused as error:
            raise UserError(f"{self.where}: {error}") from None
        assert array.shape == self.shape, (array.shape, self.shape)
        return array

    def numpy(self):
        """The values as float32. UserError where they are not floating, not finite or do not fit."""
        if self.dtype not in FLOATING:
            raise UserError(f"{self.where}: holds {self.dtype}, expected floating numbers")
        array = self.read()
        odd = array.size - np.count_nonzero(np.isfinite(array))
        if odd:
            raise UserError(f"{self.where}: {odd:,} of {array.size:,} values are not finite")
        with np.errstate(over="ignore"):
            narrow = np.ascontiguousarray(array, dtype=np.float32).reshape(self.shape)   # 0-d would become (1,)
        if not np.isfinite(narrow).all():
            raise UserError(f"{self.where}: {np.abs(array).max():.3g} does not fit float32")
        return narrow


def itemsize(dtype):
    """Bytes per element in a file."""
    return np.dtype(CODES[dtype]).itemsize


def typed(raw, dtype, order="<"):
    """Bytes (N,) uint8 -> elements in native byte order, bfloat16 widened to float32. order: < | >, of the file."""
    if dtype == "bool":
        return raw != 0                                                      # any byte but 0 and 1 would be no bool
    array = raw.view(order + CODES[dtype])
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)              # the upper half of a float32
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def strides_of(value):
    """Strides in elements as a tuple of ints; Refused where a file holds something else."""
    whole = isinstance(value, (tuple, list)) and all(type(n) is int and n >= 0 for n in value)
    if not whole or len(value) > 32:
        raise Refused("a shape is not a list of at most 32 sizes")
    return tuple(value)


def shape_of(value):
    """A shape as a tuple of ints; Refused where a file holds something else, or what no memory holds."""
    value = strides_of(value)
    if math.prod(max(n, 1) for n in value) > LARGEST:
        raise Refused(f"a shape has more than {LARGEST:,} elements")
    return value


def extent(shape, strides):
    """How many elements lie from the first to the last one of a strided tensor, both included; 0 if it has none."""
    return 1 + sum((n - 1) * step for n, step in zip(shape, strides)) if 0 not in shape else 0


def strided(elements, shape, strides):
    """A contiguous array (*shape) of elements (N,), N = extent(shape, strides), that lie `strides` elements apart."""
    if 0 in shape:
        return np.empty(shape, elements.dtype)
    steps = [step * elements.itemsize if n > 1 else 0 for n, step in zip(shape, strides)]
    return np.array(np.lib.stride_tricks.as_strided(elements, shape, steps), order="C")
