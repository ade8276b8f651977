"""Files that are whole or absent: written under a temporary name, flushed to the disk, renamed."""
import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import time
from pathlib import Path

from runtime.errors import RunError, UserError, os_line

LONGEST = 255     # bytes of a file's name, on nearly every file system
ABANDONED = 7 * 24 * 3600  # seconds after which what another machine left half-written is nobody's
HOST = "".join(c for c in platform.node() if c.isalnum()) or "host"  # folders may be shared between machines


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path beside `path`; a block that ends well gives it the name, one that fails removes it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as Pillow choose the format by it.
    temporary = path.with_name(f".{stem_of(path)}.{HOST}-{os.getpid()}.tmp{path.suffix}")
    remove_orphans(path)
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # some network file systems cannot flush a folder
            flush(path.parent)
    finally:
        with contextlib.suppress(OSError):               # its folder may be gone, which the block's error says
            temporary.unlink(missing_ok=True)


def stem_of(path):
    """The stem of a file as its temporary's name has it: a long one is cut and told by its hash, so that both names fit."""
    if len(os.fsencode(path.name)) + len(HOST) + 20 <= LONGEST:
        return path.stem
    return f"{path.stem[:40]}-{hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:16]}"


@contextlib.contextmanager
def room_for(path, size):
    """RunError that says what is needed where the disk has no room for `size` bytes at `path`, before they are written or while
    they are."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_orphans(path)
    free = shutil.disk_usage(path.parent).free
    full = RunError(f"{path}: needs {size / 1e9:.3g} GB, found {free / 1e9:.3g} GB free on its disk; what was saved before is "
                    "whole. Make room there and go on with --resume")
    if free < size:
        raise full
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise full from None


def remove_orphans(path):
    """Removes what killed processes left half-written for `path`; gigabytes, where it is a checkpoint.

    Of this machine what no living process writes; of another one, which may have had this one's work before it, what has not
    changed for a week.
    """
    start, end = f".{stem_of(path)}.", f".tmp{path.suffix}"
    for left in path.parent.glob(f"{glob.escape(start)}*-*{glob.escape(end)}"):
        host, _, writer = left.name[len(start):-len(end)].rpartition("-")
        if not (writer.isdigit() and host.isalnum()):
            continue
        with contextlib.suppress(OSError):               # another process may have removed it
            if host == HOST:
                alone = not os.path.exists(f"/proc/{writer}") and os.path.isdir("/proc/self")
            else:
                alone = time.time() - left.stat().st_mtime > ABANDONED
            if alone:
                left.unlink()


def check_writable(*folders):
    """Raises UserError, a line each, unless files can be written into folders, made where they are missing: before hours of
    work whose result goes there."""
    problems = []
    for folder in folders:
        probe = Path(folder) / f".{HOST}-{os.getpid()}.tmp"
        try:
            probe.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0" * 4096)
        except OSError as error:
            problems.append(f"{folder}: cannot be written to ({os_line(error)})")
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
    if problems:
        raise UserError(problems)


def not_an_input(output, inputs):
    """UserError where the file to write is one of those that are read: what was there would be lost."""
    for path in inputs:
        if os.path.exists(output) and os.path.exists(path) and os.path.samefile(output, path):
            raise UserError(f"{output}: is the file that is read ({path}), expected another name")


def flush(path):
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path, data):
    """Writes bytes so that `path` is either as before or complete."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path, value):
    """Writes a value as indented JSON so that `path` is either as before or complete."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def sha256(path):
    """The hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
