"""Ctrl-C while Jittor computes or compiles: the first is heard when the call returns, the second ends the process at once.

Python's handlers run between Python's own instructions, and a call into Jittor may take minutes: it compiles, or waits for
another process that does. By itself a second Ctrl-C then does no more than the first, and the first makes Jittor fail with a
line about fcntl where it waits for its lock.
"""
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
    process. signal.signal(SIGINT, ...) undoes it; a signal that is ignored stays so. Linux only: elsewhere nothing changes.

    For scripts. Who imports this code and catches KeyboardInterrupt, as a notebook does, would lose the process at the second.
    """
    if sys.platform == "linux" and callable(signal.getsignal(signal.SIGINT)):
        action = present()
        action.flags |= RESTART | ONCE
        ctypes.CDLL(None).sigaction(int(signal.SIGINT), ctypes.byref(action), None)


def second_would_end():
    """Whether second_ends() is in force."""
    return sys.platform == "linux" and bool(present().flags & ONCE)


def present():
    """The Action of SIGINT."""
    action = Action()
    ctypes.CDLL(None).sigaction(int(signal.SIGINT), None, ctypes.byref(action))
    return action
