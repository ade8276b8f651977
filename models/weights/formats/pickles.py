"""Pickles read as data: an interpreter of protocols 0 to 5 that has no way to import or to call what a file names.

Python's own `pickle` imports whatever a file names and calls it. Here a name stays a Name, and only the meanings that a caller
lists exist: what is called by any other name is refused as soon as it is named. Long strings stay in the file (Span). Opcodes
as described in Python's pickletools.py.
"""
import codecs
import struct
from dataclasses import dataclass

import numpy as np

from models.weights.formats.source import ByteSource, Cursor, Refused, shown

LONG = 4096            # longer strings are not read before somebody asks for them
OPCODES = 2_000_000    # of one pickle; 10,000 tensors take 350,000. It bounds memory: an opcode makes one object, a small one
DECODERS = {"utf-8": lambda data: data.decode(), "raw-unicode-escape": lambda data: data.decode("raw-unicode-escape"),
            "escape": lambda data: codecs.escape_decode(data)[0].decode("latin-1")}


@dataclass(frozen=True)
class Name:
    """A class or a function that a pickle names; it is nothing but the name."""
    name: str


class Inert:
    """Stands for an object that is not wanted; whatever is put into it is dropped."""


@dataclass(frozen=True)
class Span:
    """A long string, or bytes, in the file. encoding: of text, a key of DECODERS; of bytes, ""."""
    source: ByteSource
    start: int
    length: int
    encoding: str = ""

    def read(self):
        """(N,) uint8; text gives its Latin-1 bytes, which is how protocols 0 to 2 hold bytes."""
        raw = self.source.read(self.start, self.length)
        if not self.encoding:
            return raw
        return np.frombuffer(bytearray(latin1(decoded(raw.tobytes(), self.encoding))), dtype=np.uint8)


def decoded(data, encoding):
    """Text of a pickle."""
    try:
        return DECODERS[encoding](data)
    except ValueError:
        raise Refused(f"holds text that is not {encoding}") from None


def latin1(text):
    """The bytes that a text stands for in protocols 0 to 2."""
    try:
        return text.encode("latin-1")
    except ValueError:
        raise Refused("holds bytes written as text, with characters that are no bytes") from None


def read_pickle(source, stream, start, end, meaning, persistent=None):
    """The object of a pickle in bytes start to end of a file, and the byte after it.

    meaning: name -> a function of the tuple of arguments, or None where the name is refused. persistent: the same for what
    the file calls a persistent id. Both may raise Refused.
    """
    machine = Machine(Cursor(source, stream, start, end), meaning, persistent)
    for _ in range(OPCODES):
        place, code = machine.file.place, machine.file.take(1)
        if code == b".":
            return machine.pop(), machine.file.place
        action = ACTIONS.get(code)
        if action is None:
            raise Refused(f"has opcode {code!r} at byte {place:,}, which no pickle of weights has")
        action(machine)
    raise Refused(f"has more than {OPCODES:,} opcodes, which no pickle of weights has")


class Machine:
    """The stack and the memo of a pickle that is being read."""

    def __init__(self, file, meaning, persistent):
        self.file, self.meaning, self.persistent = file, meaning, persistent
        self.stack, self.below, self.memo = [], [], {}        # below: the stacks under each mark

    # the stack

    def push(self, value):
        self.stack.append(value)

    def pop(self, kind=object):
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise self.broken()
        return self.stack.pop()

    def top(self):
        if not self.stack:
            raise self.broken()
        return self.stack[-1]

    def broken(self):
        return Refused(f"is no whole pickle (broken before byte {self.file.place:,})")

    def mark(self):
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self):
        if not self.below:
            raise self.broken()
        items, self.stack = self.stack, self.below.pop()
        return items

    def drop(self):
        """POP takes a mark where there is nothing above it."""
        self.stack.pop() if self.stack else self.pop_mark()

    def last(self, count):
        """The last values as a tuple."""
        return tuple([self.pop() for _ in range(count)][::-1])

    # what stands in the file

    def number(self, form):
        return struct.unpack(form, self.file.take(struct.calcsize(form)))[0]

    def long(self, length):
        if not 0 <= length <= 64:
            raise Refused(f"holds an integer of {length:,} bytes")
        return int.from_bytes(self.file.take(length), "little", signed=True)

    def line(self, limit=255):
        data = self.file.line(limit)
        if data is None:
            raise Refused(f"has a line of more than {limit} bytes where a short one is expected")
        return decoded(data, "utf-8")

    def typed_line(self, kind):
        text = self.line()
        if kind is int and text in ("00", "01"):              # protocol 0 writes bools so
            return text == "01"
        try:
            return kind(text[:-1] if text.endswith("L") and kind is int else text)
        except ValueError:
            raise self.broken() from None

    def text(self, form, encoding="utf-8"):
        """Text after its length; form "" is a line."""
        if form:
            length = self.number(form)
            if length > LONG:
                return Span(self.file.source, self.file.skip(length), length, encoding)
            return decoded(self.file.take(length), encoding)
        data = self.file.line(LONG)
        return Span(self.file.source, *self.file.skip_line(), encoding) if data is None else decoded(data, encoding)

    def string(self, form):
        """A string of Python 2, whose bytes may be text or numbers."""
        length = self.number(form)
        if length > LONG:
            return Span(self.file.source, self.file.skip(length), length)
        return self.file.take(length).decode("latin-1")

    def quoted(self):
        """A string of Python 2 in protocol 0: a quoted line with escapes."""
        data = self.file.line(LONG)
        if data is None:
            start, length = self.file.skip_line()
            return Span(self.file.source, start + 1, length - 2, "escape")
        if len(data) < 2 or data[:1] != data[-1:] or data[:1] not in (b"'", b'"'):
            raise self.broken()
        return decoded(data[1:-1], "escape")

    def data(self, form):
        length = self.number(form)
        return Span(self.file.source, self.file.skip(length), length)

    # the memo

    def put(self, index):
        self.memo[index] = self.top()

    def get(self, index):
        if index not in self.memo:
            raise self.broken()
        self.push(self.memo[index])

    # containers

    def extend(self, items):
        if isinstance(self.top(), list):
            self.top().extend(items)
        elif not isinstance(self.top(), Inert):
            raise self.broken()

    def update(self, items):
        """Puts key, value, key, value ... into the dict on top; keys that are no plain names or numbers become nameless."""
        if isinstance(self.top(), dict):
            self.top().update(pairs(items, self))
        elif not isinstance(self.top(), Inert):
            raise self.broken()

    # names and calls

    def name(self, module, name):
        """Refuses at once what has no meaning here, called or not. A name with a dot is a way into what a module imports."""
        full = f"{module}.{name}"
        if self.meaning(full) is None or not (name.isidentifier() or full == "jittor.jittor_core.Var"):
            hint = "; of a whole model, save the state_dict()" if full.startswith("torch.nn.") else ""
            raise Refused(f"names {shown(full)}, which is not part of any tensor; refused, and nothing was run{hint}")
        self.push(Name(full))

    def call(self, function, arguments):
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise self.broken()
        self.push(self.meaning(function.name)(arguments))

    def instance(self, items):
        if not items:
            raise self.broken()
        self.call(items[0], tuple(items[1:]))

    def build(self):
        state, made = self.pop(), self.top()
        if hasattr(made, "build"):
            made.build(state)                                 # the rest has no state that matters

    def persistent_id(self):
        if self.persistent is None:
            raise Refused("refers to objects outside the file")
        self.push(self.persistent(self.pop(tuple)))


def pairs(items, machine):
    """{key: value} of a flat list."""
    if len(items) % 2:
        raise machine.broken()
    # Long integers and tuples are left aside as keys: a file could choose them so that each lookup takes forever.
    plain = lambda key: isinstance(key, (str, bool, Name)) or isinstance(key, int) and abs(key) < 1 << 60
    return {key if plain(key) else Inert(): value for key, value in zip(items[::2], items[1::2])}


ACTIONS = {
    b"\x80": lambda m: check_protocol(m.number("<B")),                                                  # PROTO
    b"\x95": lambda m: m.file.source.check(m.file.place + 8, m.number("<Q")),                           # FRAME
    # numbers and constants
    b"N": lambda m: m.push(None), b"\x88": lambda m: m.push(True), b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number("<i")), b"K": lambda m: m.push(m.number("<B")), b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(m.long(m.number("<B"))), b"\x8b": lambda m: m.push(m.long(m.number("<i"))),  # LONG1 LONG4
    b"I": lambda m: m.push(m.typed_line(int)), b"L": lambda m: m.push(m.typed_line(int)),
    b"F": lambda m: m.push(m.typed_line(float)), b"G": lambda m: m.push(m.number(">d")),
    # text and bytes
    b"V": lambda m: m.push(m.text("", "raw-unicode-escape")), b"X": lambda m: m.push(m.text("<I")),
    b"\x8c": lambda m: m.push(m.text("<B")), b"\x8d": lambda m: m.push(m.text("<Q")),                      # BINUNICODE8
    b"S": lambda m: m.push(m.quoted()), b"T": lambda m: m.push(m.string("<I")), b"U": lambda m: m.push(m.string("<B")),
    b"C": lambda m: m.push(m.data("<B")), b"B": lambda m: m.push(m.data("<I")),
    b"\x8e": lambda m: m.push(m.data("<Q")), b"\x96": lambda m: m.push(m.data("<Q")),                # BINBYTES8 BYTEARRAY8
    # the stack and the memo
    b"(": lambda m: m.mark(), b"0": lambda m: m.drop(), b"1": lambda m: m.pop_mark(), b"2": lambda m: m.push(m.top()),
    b"p": lambda m: m.put(m.typed_line(int)), b"q": lambda m: m.put(m.number("<B")), b"r": lambda m: m.put(m.number("<I")),
    b"g": lambda m: m.get(m.typed_line(int)), b"h": lambda m: m.get(m.number("<B")), b"j": lambda m: m.get(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),                                                              # MEMOIZE
    # containers; a set is a list here
    b"]": lambda m: m.push([]), b"a": lambda m: m.extend([m.pop()]), b"e": lambda m: m.extend(m.pop_mark()),
    b"l": lambda m: m.push(m.pop_mark()),
    b")": lambda m: m.push(()), b"t": lambda m: m.push(tuple(m.pop_mark())), b"\x85": lambda m: m.push(m.last(1)),
    b"\x86": lambda m: m.push(m.last(2)), b"\x87": lambda m: m.push(m.last(3)),
    b"}": lambda m: m.push({}), b"s": lambda m: m.update(m.last(2)), b"u": lambda m: m.update(m.pop_mark()),
    b"d": lambda m: m.push(pairs(m.pop_mark(), m)),
    b"\x8f": lambda m: m.push([]), b"\x90": lambda m: m.extend(m.pop_mark()), b"\x91": lambda m: m.push(m.pop_mark()),
    # names and calls
    b"c": lambda m: m.name(m.line(), m.line()), b"\x93": lambda m: m.name(*text_pair(m)),               # GLOBAL STACK_GLOBAL
    b"R": lambda m: m.call(*m.last(2)), b"\x81": lambda m: m.call(*m.last(2)),                          # REDUCE NEWOBJ
    b"i": lambda m: (m.name(m.line(), m.line()), m.instance([m.pop(), *m.pop_mark()])),              # INST
    b"o": lambda m: m.instance(m.pop_mark()),                                                        # OBJ
    b"b": lambda m: m.build(), b"Q": lambda m: m.persistent_id(),
}


def check_protocol(number):
    """Refuses a protocol that did not exist when this was written."""
    if number > 5:
        raise Refused(f"is a pickle of protocol {number}, expected at most 5")


def text_pair(machine):
    """The module and the name on top of the stack."""
    name, module = machine.pop(str), machine.pop(str)
    return module, name
