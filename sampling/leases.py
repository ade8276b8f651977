"""Leases: which process works on which unit, as files that any machine of a shared folder can read.

A lease is RESULTS/leases/NAME, made by one process alone (O_EXCL) and touched while it lives. Who finds one that has not been
touched for EXPIRES seconds, or whose process on this machine is gone, takes it over. Two that take over at one moment may both
go to work: a picture is the same whoever paints it, so that costs time and nothing else.
"""
import contextlib
import os
import threading
import time
from pathlib import Path

from runtime.files import HOST

FOLDER = "leases"
EXPIRES, TOUCH = 120, 15              # seconds


@contextlib.contextmanager
def lease(output, name, expires=EXPIRES):
    """Yields True and holds the lease NAME of a results folder during the block; False where another process has it."""
    path = Path(output) / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not taken(path, expires):
        yield False
        return
    ended = threading.Event()
    thread = threading.Thread(target=keep, args=(path, ended, min(TOUCH, expires / 4)), daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            path.unlink()


def keep(path, ended, seconds):
    """Touches a lease until `ended`."""
    while not ended.wait(seconds):
        with contextlib.suppress(OSError):
            os.utime(path)


def taken(path, expires):
    """Whether the lease is now this process's."""
    for _ in range(2):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            if not abandoned(path, expires):
                return False
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        with os.fdopen(handle, "w") as stream:
            stream.write(f"{HOST} {os.getpid()}\n")
        return True
    return False


def abandoned(path, expires):
    """Whether nobody works on a lease any more."""
    try:
        host, _, process = path.read_text().strip().partition(" ")
        age = now(path.parent) - path.stat().st_mtime
    except FileNotFoundError:
        return True
    if host == HOST and process.isdigit() and os.path.isdir("/proc/self"):
        return not os.path.exists(f"/proc/{process}")
    return age > expires


def now(folder):
    """The time by the clock of the folder's file system, which leases are touched by; that of this machine may differ."""
    probe = folder / f".{HOST}-{os.getpid()}.clock"
    probe.touch()
    try:
        return probe.stat().st_mtime
    except FileNotFoundError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
