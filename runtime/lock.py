"""One process at a time in a folder: a lock that a killed process gives up at once, and that says who holds it.

The lock is the system's, on the bytes of FOLDER/.lock (POSIX record locks): it ends with the process however that ends,
holds between machines where the file system does, and is not inherited by the compilers that Jittor forks, which outlive
a killed parent. The file itself stays; it says who came last.
"""
import contextlib
import errno
import os
import platform
from pathlib import Path

from runtime.errors import UserError

try:
    import fcntl
except ImportError:                                          # no POSIX system: nothing to lock with
    fcntl = None

NAME = ".lock"
held = {}                                                    # {(device, inode): open file} of this process


def hold(folder, doing):
    """Makes a folder this process's until the process ends; made where it is missing, and so shown to be writable.

    doing: what this process does there, for the line that another one gets. Raises UserError where another process holds it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Never opened twice here: closing any of two handles would end the lock.
    path = folder / NAME
    known = held.get(identity(path))
    if known is not None:
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    if fcntl is not None:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                who = owner(handle)
                os.close(handle)
                raise UserError(f"{folder}: {who} is at work there; expected one process at a time, wait for it "
                                "or name another folder") from None
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                os.close(handle)
                raise
            # Some network file systems know no locks: there the folder is not guarded.
    with contextlib.suppress(OSError):                       # a full disk: the lock holds all the same
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {platform.node()} ({doing})\n".encode(), 0)
    held[identity(path)] = handle


def identity(path):
    """What tells one file from another whatever its name; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def owner(handle):
    """Who holds a lock, as its file says it."""
    text = os.pread(handle, 200, 0).decode(errors="replace").strip()
    return text or "another process"
