"""The directory of a zip file, and what lies in it; nothing is ever unpacked to the disk.

Python's zipfile makes objects for as many entries as a directory holds and trusts its sizes. This one reads a directory of at
most 16 MB, and refuses names that lead elsewhere, entries that overlap and sizes that are not true (PKWARE's APPNOTE 6.3).
"""
import re
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np

from models.weights.formats.source import BLOCK, ByteSource, Refused, shown

DIRECTORY = 16 << 20                        # bytes; room for 100,000 entries
STORED, DEFLATED = 0, 8


@dataclass
class Member:
    """An entry of a zip file."""
    source: ByteSource
    name: str
    method: int
    crc: int
    packed: int                              # bytes in the file
    size: int                                # bytes after unpacking
    header: int                              # where its local header starts
    limit: int = 0                           # where the next entry starts
    verified: bool = field(default=False, repr=False)

    def start(self):
        """Where its data start."""
        head = self.source.read(self.header, 30).tobytes()
        signature, length, extra = struct.unpack("<I22xHH", head)
        start = self.header + 30 + length + extra
        if signature != 0x04034b50 or start + self.packed > self.limit:
            raise Refused(f"is a damaged zip file: {shown(self.name)} does not lie where its directory says")
        if self.source.read(self.header + 30, length).tobytes() != self.name.encode():
            raise Refused(f"is a damaged zip file: {shown(self.name)} has another name in its own header")
        return start

    def blocks(self, size=BLOCK):
        """Its bytes, unpacked, at most `size` at a time."""
        pieces = self.source.blocks(self.start(), self.packed, size)
        if self.method == STORED:
            yield from pieces
            return
        unpacker = zlib.decompressobj(-15)   # no header of zlib
        try:
            for piece in pieces:
                while piece and not unpacker.eof:
                    yield unpacker.decompress(piece, size)
                    piece = unpacker.unconsumed_tail
                if unpacker.eof:
                    break
            while rest := unpacker.decompress(b"", size):
                yield rest
        except zlib.error:
            raise Refused(f"is a damaged zip file: {shown(self.name)} cannot be unpacked") from None

    def head(self, count):
        """Its first bytes."""
        data = b""
        for block in self.blocks(count):
            data += block
            if len(data) >= count:
                break
        return data[:count]

    def read(self):
        """(N,) uint8. Refused where the checksum or the size is another one."""
        array, filled, crc = np.empty(self.size, dtype=np.uint8), 0, 0
        for block in self.blocks():
            if filled + len(block) > self.size:
                raise self.damaged()
            array[filled:filled + len(block)] = np.frombuffer(block, dtype=np.uint8)
            filled, crc = filled + len(block), zlib.crc32(block, crc)
        if filled != self.size or crc != self.crc:
            raise self.damaged()
        return array

    def verify(self):
        """Refuses a stored entry whose checksum is another one; reads it once, however often it is asked."""
        if not self.verified:
            crc = 0
            for block in self.blocks():
                crc = zlib.crc32(block, crc)
            if crc != self.crc:
                raise self.damaged()
            self.verified = True

    def damaged(self):
        return Refused(f"is damaged: {shown(self.name)} is not what its checksum says")


def members(source):
    """{name: Member} in the order of the directory."""
    start, length, count = directory(source)
    data, place, found = source.read(start, length).tobytes(), 0, {}
    while place < length:
        member, place = entry(source, data, place)
        if member.name in found:
            raise Refused(f"is a zip file that holds {shown(member.name)} twice")
        found[member.name] = member
    if len(found) != count:
        raise Refused(f"is a damaged zip file: its directory has {len(found):,} entries and says {count:,}")
    ordered = sorted(found.values(), key=lambda member: member.header)
    for member, following in zip(ordered, [*(other.header for other in ordered[1:]), start]):
        member.limit = following
        if member.header + 30 + len(member.name.encode()) + member.packed > following:
            raise Refused(f"is a zip file in which {shown(member.name)} overlaps what follows it")
    return found


def directory(source):
    """Where a zip file's directory starts, its length and the number of entries."""
    tail_start = max(source.size - 22 - 0xffff, 0)
    tail = source.read(tail_start, source.size - tail_start).tobytes()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or len(tail) < place + 22:
        raise Refused("is a zip file without its end: was it downloaded whole?")
    count, length, start, comment = struct.unpack("<10xHIIH", tail[place:place + 22])
    end = tail_start + place
    if place + 22 + comment != len(tail):
        raise Refused("is a damaged zip file: its end is not at its end")
    if place >= 20 and tail[place - 20:place - 16] == b"PK\6\7":
        return big_directory(source, end - 20)
    if start + length != end or length > DIRECTORY:
        raise Refused(f"is a damaged zip file: its directory has {length:,} bytes from byte {start:,} on")
    return start, length, count


def big_directory(source, end):
    """The same from the records of large files (zip64); `end`: where the one starts that says where the other one is."""
    end, = struct.unpack("<8xQ4x", source.read(end, 20).tobytes())
    record = source.read(end, 56).tobytes()
    if record[:4] != b"PK\6\6":
        raise Refused("is a damaged zip file: its end is broken")
    count, length, start = struct.unpack("<32xQQQ", record)
    if start + length != end or length > DIRECTORY:
        raise Refused(f"is a damaged zip file: its directory has {length:,} bytes from byte {start:,} on")
    return start, length, count


def entry(source, data, place):
    """The Member that the directory describes at `place`, and the place of the next one."""
    if data[place:place + 4] != b"PK\1\2" or len(data) < place + 46:
        raise Refused("is a damaged zip file: its directory is broken")
    flags, method, crc, packed, size, *lengths, header = struct.unpack("<4x4xHH4xIIIHHH8xI", data[place:place + 46])
    name_end = place + 46 + lengths[0]
    extra_end = name_end + lengths[1]
    end = extra_end + lengths[2]
    if end > len(data):
        raise Refused("is a damaged zip file: its directory is broken")
    try:
        name = data[place + 46:name_end].decode()
    except UnicodeDecodeError:
        raise Refused("is a zip file with names that are not UTF-8") from None
    if name.startswith("/") or ".." in name.split("/") or re.search(r"\\|\0|^\w:", name):
        raise Refused(f"is a zip file with the name {shown(name)!r}, which leads out of it")
    if flags & 1 or method not in (STORED, DEFLATED):
        raise Refused(f"is a zip file whose {shown(name)} is {'encrypted' if flags & 1 else f'packed by method {method}'}")
    size, packed, header = large(data[name_end:extra_end], size, packed, header)
    if method == STORED and size != packed:
        raise Refused(f"is a damaged zip file: {shown(name)} has {size:,} bytes, {packed:,} of them in the file")
    return Member(source, name, method, crc, packed, size, header), end


def large(extra, *values):
    """The values, each 0xffffffff replaced by the next 64-bit number of the extra field 1 (zip64)."""
    numbers, place = [], 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack("<HH", extra[place:place + 4])
        if kind == 1:
            content = extra[place + 4:place + 4 + length]
            numbers = [int.from_bytes(content[i:i + 8], "little") for i in range(0, len(content) - 7, 8)]
        place += 4 + length
    if values.count(0xffff_ffff) > len(numbers):
        raise Refused("is a damaged zip file: a large entry lacks its size")
    return [numbers.pop(0) if value == 0xffff_ffff else value for value in values]
