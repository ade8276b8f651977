"""NumPy arrays and Jittor Vars inside a pickle; the names that may stand beside them."""
import numpy as np

from models.weights.formats.pickles import Inert, Name, Span, latin1
from models.weights.formats.source import Refused, shown
from models.weights.formats.tensors import NAMES, StoredTensor, shape_of, typed

# What checkpoints hold beside their weights: settings, paths, dates. None of it is made; each becomes an Inert.
INERT = {"argparse.Namespace", "copy_reg._reconstructor", "copyreg._reconstructor", "typing.Any", "uuid.UUID",
         *(f"pathlib.{part}{kind}" for part in ("", "_local.") for kind in
           ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
         *(f"datetime.{kind}" for kind in ("date", "datetime", "time", "timedelta", "timezone")),
         *(f"collections.{kind}" for kind in ("Counter", "deque")),
         *(f"{module}.{kind}" for module in ("builtins", "__builtin__") for kind in
           ("bool", "bytearray", "complex", "float", "frozenset", "int", "list", "long", "object", "range", "set", "slice",
            "str", "tuple", "unicode", "xrange"))}
INERT_PACKAGES = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.")
ORDERS = ("<", ">", "=", "|")     # of bytes, as NumPy writes it; what does not say is little-endian


def meaning(functions):
    """name -> what calling it gives: one of {name: function of the arguments}, an Inert, or None where it is refused."""
    inert = lambda arguments: Inert()
    return lambda name: functions.get(name) or (inert if name in INERT or name.startswith(INERT_PACKAGES) else None)


def fields(arguments, *kinds):
    """The first arguments, which must be of these kinds; there may be more of them."""
    if len(arguments) < len(kinds) or not all(isinstance(value, kind) for value, kind in zip(arguments, kinds)):
        raise Refused("makes a tensor of arguments that are not those of a tensor")
    return arguments[:len(kinds)]


class DType:
    """numpy.dtype: `code` such as "f4", `order` one of ORDERS. Big-endian arrays are legal, and are read right."""

    def __init__(self, arguments):
        code, = fields(arguments, str)
        self.order, self.code = (code[0], code[1:]) if code[:1] in ORDERS else ("=", code)
        if self.code[:1] == "O":
            raise Refused("holds an array of Python objects, expected numbers")

    def build(self, state):
        """state: (version, byte order, ...); what follows describes types that are no numbers, which `code` tells."""
        self.order = fields(state, int, str)[1] if isinstance(state, tuple) else ""
        if self.order not in ORDERS:
            raise Refused("holds an array of a broken type")


class Array:
    """numpy.ndarray, made without content and filled afterwards, as NumPy pickles it."""

    def __init__(self, content=None):
        self.content = content               # (shape, DType, is it in Fortran order, data), as they stand in the file

    def build(self, state):
        """state: (version, shape, dtype, is it in Fortran order, data)."""
        self.content = state[1:5] if isinstance(state, tuple) else None

    def tensor(self):
        """A StoredTensor; None for an array of text or of records."""
        shape, dtype, fortran, data = fields(self.content or (), (tuple, list), DType, int, object)
        if isinstance(data, list):
            raise Refused("holds an array of Python objects, expected numbers")
        if not isinstance(data, (str, Span)):
            raise Refused("holds an array without content")
        if dtype.code not in NAMES:
            return None
        data = Text(data) if isinstance(data, str) else data
        return array_tensor(shape_of(shape), NAMES[dtype.code], dtype.order, "F" if fortran else "C", data)


class Text:
    """A short string that stands for bytes, one for each character, with the face of a Span."""
    encoding = ""

    def __init__(self, text):
        self.text, self.length = text, len(text)

    def read(self):
        """(N,) uint8."""
        return np.frombuffer(bytearray(latin1(self.text)), dtype=np.uint8)


def array_tensor(shape, dtype, order, layout, data):
    """The StoredTensor of an array whose bytes are `data`. order: of bytes, one of ORDERS. layout: C or F."""
    def load():
        raw = data.read()
        if len(raw) != tensor.nbytes:
            raise Refused(f"takes {len(raw):,} bytes, expected {tensor.nbytes:,} for {dtype} {shape}")
        return typed(raw, dtype, ">" if order == ">" else "<").reshape(shape, order=layout)

    tensor = StoredTensor(shape, dtype, load)
    if data.length < tensor.nbytes or (data.length > tensor.nbytes and not data.encoding):   # a byte as text takes 1 to 6
        raise Refused(f"holds {data.length:,} bytes for an array {dtype} {shape}, expected {tensor.nbytes:,}")
    return tensor


def reconstruct(arguments):
    """numpy _reconstruct(ndarray, (0,), b"b"): an empty array, filled by what follows."""
    kind, = fields(arguments, Name)
    if kind.name != "numpy.ndarray":
        raise Refused(f"holds an array of the kind {shown(kind.name)}, expected numpy.ndarray")
    return Array()


def scalar(arguments):
    """numpy scalar(dtype, bytes)."""
    dtype, data = fields(arguments, DType, object)
    return Array(((), dtype, False, data))


def from_buffer(arguments):
    """numpy _frombuffer(bytes, dtype, shape, order), as in protocol 5."""
    data, dtype, shape, layout = fields(arguments, Span, DType, tuple, str)
    return Array((shape, dtype, layout == "F", data))


def encode(arguments):
    """_codecs.encode(text, "latin1"): how protocols 0 to 2 hold bytes. The text stands for them."""
    text, encoding = fields(arguments, (str, Span), str)
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"holds bytes as {shown(encoding)}, expected latin1")
    return text


def mapping(arguments):
    """dict, OrderedDict, defaultdict: a dict, of the pairs when there are any."""
    if not arguments or not isinstance(arguments[0], (dict, list)):
        return {}
    items = arguments[0]
    if isinstance(items, list):
        if not all(isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], str) for item in items):
            raise Refused("holds a dict that is not made of names and values")
        made = dict(items)
        items.clear()                        # nobody else needs them, and a file must not have them copied a million times
        return made
    return items


FUNCTIONS = {
    **{f"numpy.{core}.multiarray._reconstruct": reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": from_buffer for core in ("core", "_core")},
    "numpy.dtype": DType, "numpy.ndarray": lambda arguments: Inert(), "_codecs.encode": encode,
    "collections.OrderedDict": mapping, "collections.defaultdict": mapping,
    "builtins.dict": mapping, "__builtin__.dict": mapping,
    "builtins.bytes": lambda arguments: "", "__builtin__.bytes": lambda arguments: "",        # protocol 2 writes b"" so
    **{f"jittor{middle}.Var": lambda arguments: fields(arguments, Array)[0] for middle in ("", ".jittor_core", "_core")},
}
