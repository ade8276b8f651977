"""The safetensors format: the length of a header, the header in JSON, the tensors' bytes without gaps.

The format's rules (https://github.com/huggingface/safetensors) are checked here, before a byte of a tensor is read.
"""
import json

from models.weights.formats.source import Refused, shown
from models.weights.formats.tensors import StoredTensor, shape_of, typed

HEADER = 16 << 20                            # bytes; 10,000 tensors take 1 MB, and JSON takes 20 times its size in memory
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool", "C64": "complex64",
          "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
          "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"}


def read_safetensors(source):
    """({name: StoredTensor}, {key: text} of the metadata)."""
    length = int.from_bytes(source.read(0, min(8, source.size)).tobytes(), "little")
    if length > HEADER or 8 + length > source.size:
        raise Refused(f"has a safetensors header of {length:,} bytes, expected at most {min(HEADER, source.size - 8):,}")
    try:
        header = json.loads(source.read(8, length).tobytes().decode(), object_pairs_hook=unique, parse_int=integer,
                            parse_float=no_number, parse_constant=no_number)
    except (ValueError, RecursionError):
        raise Refused("has a safetensors header that is not JSON") from None
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise Refused("has a safetensors header that is no table of tensors and metadata")
    tensors, ranges = {}, []
    for name, values in header.items():
        try:
            tensors[name], place = tensor(source, 8 + length, values)
        except Refused as error:
            raise Refused(f"{shown(name)} {error}") from None
        ranges.append((*place, name))
    end = 0
    for start, stop, name in sorted(ranges):
        if start != end:
            raise Refused(f"{shown(name)} overlaps another tensor or leaves a gap: it starts at byte {start:,}, "
                          f"expected {end:,}")
        end = stop
    if 8 + length + end != source.size:
        raise Refused(f"has {source.size - 8 - length:,} bytes of data, expected {end:,}")
    return tensors, metadata


def tensor(source, data, values):
    """The StoredTensor of an entry of the header, and where it starts and ends in the data."""
    if not isinstance(values, dict) or set(values) != {"dtype", "shape", "data_offsets"}:
        raise Refused("is not described by dtype, shape and data_offsets")
    if not isinstance(values["dtype"], str) or values["dtype"] not in DTYPES:
        raise Refused(f"is of the type {shown(values['dtype'])}, expected one of {', '.join(DTYPES)}")
    dtype, shape, place = DTYPES[values["dtype"]], shape_of(values["shape"]), values["data_offsets"]
    if not isinstance(place, list) or len(place) != 2 or any(type(n) is not int for n in place):
        raise Refused("has data_offsets that are not a start and an end")
    start, stop = place
    found = StoredTensor(shape, dtype, lambda: typed(source.read(data + start, stop - start), dtype).reshape(shape))
    if start < 0 or stop - start != found.nbytes:
        raise Refused(f"takes {stop - start:,} bytes from byte {start:,} on, expected {found.nbytes:,} for {dtype} {shape}")
    return found, (start, stop)


def unique(items):
    """A JSON object, whose names must differ: readers disagree which of two equal ones counts."""
    made = dict(items)
    if len(made) != len(items):
        raise ValueError("two entries have the same name")
    return made


def integer(text):
    """A whole number of at most 20 digits; longer ones take their time."""
    if len(text) > 20:
        raise ValueError("a number is too long")
    return int(text)


def no_number(text):
    """Offsets and sizes are whole numbers."""
    raise ValueError(f"{text[:20]} is not a whole number")
