"""Ctrl-C while Jittor computes or compiles: the first is heard when the call returns, the second ends the process at once.

Python's handlers run between Python's own instructions, and a call into Jittor may take minutes: it compiles, or waits for
another process that does. Without more a second Ctrl-C is no better than the first; and one that meets Jittor waiting for its
lock makes it fail with a line about fcntl.
"""
import contextlib
import ctypes
import signal
import sys

RESTART, ONCE = 0x10000000, 0x80000000        # SA_RESTART, SA_RESETHAND of Linux


class Action(ctypes.Structure):
    """struct sigaction, as Linux's C libraries have it."""
    _fields_ = [("handler", ctypes.c_void_p), ("mask", ctypes.c_byte * 128), ("flags", ctypes.c_uint),
                ("restorer", ctypes.c_void_p)]


def second_ends():
    """From now on a system call goes on after the first Ctrl-C, whose handler is called as before, and the second ends the
    process. To be called again after each signal.signal(SIGINT, ...); a signal that is ignored stays so. Linux only."""
    if sys.platform != "linux" or not callable(signal.getsignal(signal.SIGINT)):
        return
    with contextlib.suppress(OSError, AttributeError):
        libc, action = ctypes.CDLL(None), Action()
        if libc.sigaction(int(signal.SIGINT), None, ctypes.byref(action)) == 0:
            action.flags |= RESTART | ONCE
            libc.sigaction(int(signal.SIGINT), ctypes.byref(action), None)
