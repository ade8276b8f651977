"""Files that are whole or absent: written under a temporary name, flushed to the disk, renamed."""
import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import shutil
from pathlib import Path

from runtime.errors import RunError

HOST = "".join(c for c in platform.node() if c.isalnum()) or "host"  # folders may be shared between machines


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path beside `path`; a block that ends well gives it the name, one that fails removes it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as Pillow choose the format by it.
    temporary = path.with_name(f".{path.stem}.{HOST}-{os.getpid()}.tmp{path.suffix}")
    remove_orphans(path)
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # some network file systems cannot flush a folder
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    """Removes what killed processes of this machine left half-written for `path`; gigabytes, where it is a checkpoint."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}.{HOST}-*.tmp{glob.escape(path.suffix)}"):
        writer = left.name[len(f".{path.stem}.{HOST}-"):-len(f".tmp{path.suffix}")]
        if writer.isdigit() and not os.path.exists(f"/proc/{writer}") and os.path.isdir("/proc/self"):
            left.unlink(missing_ok=True)


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
