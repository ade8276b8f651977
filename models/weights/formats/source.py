"""A foreign file that is read in pieces: each one is whole or refused, and none is allocated before it is known to exist."""
import contextlib
import os
import stat

import numpy as np

from runtime.errors import UserError

BLOCK = 1 << 20


class Refused(Exception):
    """What is wrong with a file, without its name: open_weight_file and StoredTensor.read put that in front."""


class ByteSource:
    """A file that must stay as it was when it was first seen. No handle is kept between reads."""

    def __init__(self, path):
        self.path = os.fspath(path)
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            raise UserError(f"{path}: no such file, expected a file of weights") from None
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "device"
            raise UserError(f"{path}: is a {kind}, expected a file of weights")
        self.size, self.stamp = status.st_size, (status.st_size, status.st_mtime_ns, status.st_ino)
        if not self.size:
            raise UserError(f"{path}: is empty, expected a file of weights")

    @contextlib.contextmanager
    def open(self):
        """The file, for reading bytes; Refused where it is gone, locked or no longer the same."""
        try:
            with open(self.path, "rb") as stream:
                status = os.fstat(stream.fileno())
                if (status.st_size, status.st_mtime_ns, status.st_ino) != self.stamp:
                    raise Refused("changed while it was read")
                yield stream
        except OSError as error:
            raise Refused(f"could not be read ({error.strerror or error})") from None

    def read(self, start, length):
        """(length,) uint8 from byte `start` on."""
        self.check(start, length)
        array = np.empty(length, dtype=np.uint8)
        with self.open() as stream:
            stream.seek(start)
            if stream.readinto(array) != length:
                raise Refused("changed while it was read")
        return array

    def blocks(self, start, length, size=BLOCK):
        """The bytes from `start` on, at most `size` at a time."""
        self.check(start, length)
        with self.open() as stream:
            stream.seek(start)
            while length:
                block = stream.read(min(length, size))
                if not block:
                    raise Refused("changed while it was read")
                length -= len(block)
                yield block

    def check(self, start, length):
        """Refuses what does not lie inside the file."""
        if start < 0 or length < 0 or start + length > self.size:
            raise Refused(f"ends at byte {self.size:,}, expected {length:,} bytes from byte {start:,} on")


class Cursor:
    """A place in a part of a file, which moves on as it is read."""

    def __init__(self, source, stream, start, end):
        self.source, self.stream, self.place, self.end = source, stream, start, end
        source.check(start, end - start)
        stream.seek(start)

    def take(self, count):
        """The next bytes."""
        data = self.stream.read(min(count, self.end - self.place))
        self.place += len(data)
        if len(data) != count:
            raise Refused(f"ends in the middle, at byte {self.place:,}")
        return data

    def skip(self, count):
        """Passes over bytes without reading them; returns where they start."""
        start = self.place
        if count > self.end - start:
            raise Refused(f"ends at byte {self.end:,}, expected {count:,} bytes from byte {start:,} on")
        self.place += count
        self.stream.seek(self.place)
        return start

    def line(self, limit):
        """The next bytes up to a newline, without it; None, and nothing is read, where that is further than `limit`."""
        start = self.place
        data = self.stream.read(min(limit + 1, self.end - start))
        length = data.find(b"\n")
        self.place += length + 1
        self.stream.seek(self.place)
        if length < 0 and len(data) <= limit:
            raise Refused("ends in the middle of a line")
        return data[:length] if length >= 0 else None

    def skip_line(self):
        """Passes over bytes up to a newline, and over that; returns where they start and how many they are."""
        start = self.place
        while True:
            block = self.stream.read(min(BLOCK, self.end - self.place))
            if not block:
                raise Refused("ends in the middle of a line")
            newline = block.find(b"\n")
            self.place += len(block) if newline < 0 else newline + 1
            if newline >= 0:
                self.stream.seek(self.place)
                return start, self.place - 1 - start


def shown(text):
    """Text of a file as it may stand in a message: one line, printable, not long."""
    text = "".join(c if c.isprintable() else "?" for c in str(text)[:200])
    return text if len(text) <= 100 else text[:97] + "..."
