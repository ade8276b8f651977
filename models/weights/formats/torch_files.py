"""PyTorch's files: zip archives (1.6 and later) and the older row of pickles. Only tensors are read (torch/serialization.py).

Zip: NAME/data.pkl holds the objects, NAME/data/KEY the bytes of a storage. Older: pickles of a magic number, a protocol number,
a description of the machine, the objects and the list of keys; then per key the number of elements and the bytes.
"""
from dataclasses import dataclass
from typing import Callable

from models.weights.formats import arrays
from models.weights.formats.arrays import fields
from models.weights.formats.pickles import Inert, Name, read_pickle
from models.weights.formats.source import Refused, shown
from models.weights.formats.tensors import LARGEST, StoredTensor, extent, itemsize, shape_of, strided, strides_of, typed

MAGIC = 0x1950a86a20f9469cfc6c
STORAGES = {"HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32", "DoubleStorage": "float64",
            "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64",
            "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
            "ComplexDoubleStorage": "complex128", "UntypedStorage": ""}
DTYPES = {"float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "bool", "complex64", "complex128"}


@dataclass
class Storage:
    """A row of elements in the file."""
    source: object
    dtype: str                               # "" where only the tensor says it; `count` are bytes then
    count: int
    find: Callable[[], int]                  # its first byte; Refused where it is damaged
    skipped: int = 0                         # elements before those of a view of it


def tensor_v2(arguments):
    """_rebuild_tensor_v2(storage, offset, size, strides, requires_grad, hooks, metadata); _rebuild_tensor has four of them."""
    storage, offset, shape, strides = fields(arguments, Storage, int, tuple, tuple)
    refuse_pending(arguments[6:])
    if not storage.dtype:
        raise Refused("has a tensor whose storage has no type")
    return view(storage, storage.dtype, storage.count, offset, shape, strides)


def tensor_v3(arguments):
    """_rebuild_tensor_v3(untyped storage, offset, size, strides, requires_grad, hooks, dtype, ...)."""
    storage, offset, shape, strides, _, _, dtype = fields(arguments, Storage, int, tuple, tuple, object, object, Name)
    refuse_pending(arguments[7:])
    dtype = dtype.name[len("torch."):]
    if storage.dtype or dtype not in DTYPES:
        raise Refused(f"has a tensor of the type {shown(dtype)} in a storage of {storage.dtype or 'bytes'}")
    return view(storage, dtype, storage.count // itemsize(dtype), offset, shape, strides)


def refuse_pending(metadata):
    """Refuses a tensor whose stored values are not its values: PyTorch notes `neg` and `conj` instead of computing them."""
    if metadata and isinstance(metadata[0], dict) and (metadata[0].get("neg") or metadata[0].get("conj")):
        raise Refused("has a tensor that is yet to be negated or conjugated; save it after .resolve_neg().resolve_conj()")


def view(storage, dtype, count, offset, shape, strides):
    """The StoredTensor of elements of a storage that has `count` of them. Refused where it reaches out of the storage."""
    shape = shape_of(shape)
    strides = strides_of(strides) if shape else ()              # a scalar has none; Jittor writes one
    if len(strides) != len(shape) or offset < 0 or offset > LARGEST:
        raise Refused(f"has a tensor {shape} with strides {strides} from element {offset:,} on")
    length = extent(shape, strides)
    tensor = StoredTensor(shape, dtype, lambda: strided(elements(), shape, strides))
    if offset + length > count or tensor.nbytes > count * itemsize(dtype):
        raise Refused(f"has a tensor {shape} with strides {strides} from element {offset:,} on, in a storage of {count:,}")

    def elements():
        size = itemsize(dtype)
        return typed(storage.source.read(storage.find() + (storage.skipped + offset) * size, length * size), dtype)

    return tensor


def parameter(arguments):
    """_rebuild_parameter(tensor, ...): the tensor."""
    return fields(arguments, StoredTensor)[0]


def subclass(arguments):
    """_rebuild_from_type_v2(function, class, arguments, state): the plain tensor."""
    function, _, inner = fields(arguments, Name, Name, tuple)
    if function.name not in TENSORS:
        raise Refused(f"makes a tensor by {shown(function.name)}")
    return TENSORS[function.name](inner)


def untouched(arguments):
    """A class of PyTorch that no tensor needs."""
    return Inert()


TENSORS = {"torch._utils._rebuild_tensor": tensor_v2, "torch._utils._rebuild_tensor_v2": tensor_v2,
           "torch._utils._rebuild_tensor_v3": tensor_v3,
           "torch._utils._rebuild_parameter": parameter, "torch._utils._rebuild_parameter_with_state": parameter}
FUNCTIONS = {**arrays.FUNCTIONS, **TENSORS, "torch._tensor._rebuild_from_type_v2": subclass,
             "torch.Size": lambda arguments: fields(arguments, (tuple, list))[0],
             **{f"torch.{name}": untouched for name in (*STORAGES, *DTYPES, "device", "strided", "Tensor", "Generator")},
             **{f"torch.storage.{name}": untouched for name in ("UntypedStorage", "TypedStorage")},
             **{f"torch.nn.parameter.{name}": untouched for name in ("Parameter", "Buffer")},
             "torch.serialization._get_layout": untouched}


def storage_type(kind):
    """The dtype of a storage class, "" where it has none."""
    name = kind.name.split(".")[-1]
    if not kind.name.startswith("torch.") or name not in STORAGES:
        raise Refused(f"has a storage of the kind {shown(kind.name)}")
    return STORAGES[name]


def is_torch_zip(found):
    """Whether a zip file's members are those of a PyTorch file."""
    return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in found)


def read_zip(source, found):
    """(object, notes) of a PyTorch zip file. found: zips.members(source)."""
    root = next(name for name in found if name.count("/") == 1 and name.endswith("/data.pkl"))[:-len("data.pkl")]
    if f"{root}constants.pkl" in found or any(name.startswith(f"{root}code/") for name in found):
        raise Refused("is a TorchScript program, expected tensors; save the model's state_dict() with torch.save")
    if any(member.method for member in found.values()):
        raise Refused("is a PyTorch file with packed parts, which PyTorch does not write")
    notes = []
    if not any(member.crc for member in found.values()):
        notes.append("was saved without checksums (torch.serialization.set_crc32_options): damage would go unnoticed")
        for member in found.values():
            member.verified = True
    objects, order = found[f"{root}data.pkl"], found.get(f"{root}byteorder")
    objects.verify()
    if order:
        order.verify()
        if order.head(16) != b"little":
            raise Refused(f"has the byte order {shown(order.head(16).decode('latin-1'))!r}, expected 'little'")

    def storage(arguments):
        word, kind, key, _, count = fields(arguments, str, Name, (str, int), object, int)
        dtype, member = storage_type(kind), found.get(f"{root}data/{key}")
        if word != "storage" or member is None:
            raise Refused(f"has no storage {shown(key)}")
        if count < 0 or count * (itemsize(dtype) if dtype else 1) != member.size:
            raise Refused(f"has {member.size:,} bytes in {shown(member.name)}, expected {shown(count)} elements {dtype}")

        def find():
            member.verify()
            return member.start()

        return Storage(source, dtype, count, find)

    with source.open() as stream:
        start = objects.start()
        value, _ = read_pickle(source, stream, start, start + objects.size, arrays.meaning(FUNCTIONS), storage)
    return value, notes


def read_legacy(source, place):
    """The object of a PyTorch file from before 1.6. place: the byte after its magic number."""
    starts, types = {}, {}

    def storage(arguments):
        word, kind, key, _, count, part = fields((*arguments, None) if len(arguments) == 5 else arguments,
                                                 str, Name, str, object, int, (tuple, type(None)))
        if word != "storage":
            raise Refused(f"holds a whole pickled {shown(word)}, expected tensors; save the model's state_dict()")
        dtype = storage_type(kind)
        if types.setdefault(key, (dtype, count)) != (dtype, count) or not 0 <= count <= LARGEST:
            raise Refused(f"has a storage {shown(key)} that is {count:,} {dtype} here and something else there")
        skipped, inside = 0, count
        if part is not None:
            _, skipped, inside = fields(part, object, int, int)
            if not (0 <= skipped and 0 <= inside and skipped + inside <= count):
                raise Refused(f"has a view that reaches out of its storage {shown(key)}")
        return Storage(source, dtype, inside, lambda: starts[key], skipped)

    plain = arrays.meaning({})
    with source.open() as stream:
        protocol, place = read_pickle(source, stream, place, source.size, plain)
        if protocol != 1001:
            raise Refused(f"is a PyTorch file of protocol {shown(protocol)}, expected 1001")
        machine, place = read_pickle(source, stream, place, source.size, plain)
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise Refused("was not written by a little-endian machine")
        value, place = read_pickle(source, stream, place, source.size, arrays.meaning(FUNCTIONS), storage)
        keys, place = read_pickle(source, stream, place, source.size, plain)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(types):
        raise Refused("has a list of storages that are not those of its tensors")
    for key in keys:
        dtype, count = types[key]
        found = int.from_bytes(source.read(place, 8).tobytes(), "little", signed=True)
        if found != count:
            raise Refused(f"has {found:,} elements in storage {shown(key)}, expected {count:,}")
        starts[key], length = place + 8, count * (itemsize(dtype) if dtype else 1)
        source.check(place + 8, length)
        place += 8 + length
    return value
