"""Errors a user can do something about: one line per problem, exit status 2, no traceback.

Everything a script prints about a failure goes through here, so that no file name can break a line or a terminal, a full
disk is a line and not a traceback, and a second Ctrl-C ends a program that is still tidying up.
"""
import contextlib
import errno
import os
import signal
import sys

from runtime.interrupts import second_ends

AT_FAILURE = []  # functions of the exit status, called before a script ends with one that is not 0
SHOWN = 20  # a folder with 10,000 bad files is one mistake, not 10,000 lines
LONGEST = 1000  # characters of a line: a name of 5,000 characters hides what is wrong with it


class UserError(ValueError):
    """What a user got wrong. `problems`: one line each, "where: what was found, what was expected"."""

    def __init__(self, problems):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.report()))

    def report(self):
        """The first 20 problems, one line each, and how many there are in all when there are more."""
        lines = [printable(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines = lines + [f"... {len(self.problems)} problems in all, the first {SHOWN} shown"]
        return lines


class RunError(RuntimeError):
    """What failed while running although the user did nothing wrong (a loss that is not finite, a full disk)."""


class Stopped(Exception):
    """A signal asked the run to end, and it has: what it did is saved. status: 128 and the signal's number."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


EXPECTED = (UserError, RunError, Stopped, OSError, MemoryError, KeyboardInterrupt)   # those that end in a line


def printable(text):
    """A text on one line that any terminal may show: line ends, escape codes, what reorders a line and undecodable bytes of
    a file's name are written as \\x1b; of more than 1,000 characters the middle is left out."""
    shown = "".join(c if c.isprintable() or c == " " else escaped(c) for c in str(text))
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST // 2]} ... {shown[-LONGEST // 2:]}"


def escaped(character):
    """A character as \\n, \\x1b, \\u202e; a byte of a name that is not UTF-8 (kept by Python as a lone surrogate) as \\xff."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def os_line(error):
    """What the system said, in a line: which file, and why."""
    name = error.filename if error.filename is not None else ""
    other = f" -> {error.filename2}" if error.filename2 is not None else ""
    name = os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else str(name)
    reason = error.strerror or str(error) or type(error).__name__
    return f"{name}{other}: {reason}" if name else reason


def run_script(main, argv=None):
    """Calls main(argv) and exits: 0 when it returns, 2 after a UserError, 1 after what failed, 130 after Ctrl-C.

    What failed is a RunError, or what the system refused: a full disk, a folder that is gone, no memory. Output that
    nobody reads any more (`| head`) ends the program quietly with status 141, as it does others'.
    """
    any_terminal()
    second_ends()
    try:
        working_directory()
        main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except EXPECTED as error:
        status = say(error)
        for call in AT_FAILURE:
            call(status)
        sys.exit(status)


def working_directory():
    """UserError where the working directory was removed: nothing relative to it can be found or written."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(f"the working directory is gone ({error.strerror}); cd to one that is there") from None


def any_terminal():
    """Lets stdout and stderr take every character: what the terminal's encoding lacks is written as \\xe9. A stream that the
    caller closed becomes one that goes nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))      # noqa: SIM115 (for the process's life)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(error):
    """Prints one of EXPECTED for people and returns the exit status that goes with it."""
    if isinstance(error, UserError):
        return put([f"error: {line}" for line in error.report()], 2)
    if isinstance(error, RunError):
        return put([f"failed: {printable(error)}"], 1)
    if isinstance(error, Stopped):
        return put([printable(error)], error.status)
    if isinstance(error, BrokenPipeError) and error.filename is None:
        nowhere("stdout")
        return 141
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return put([f"error: {printable(os_line(error))}, expected a shorter one"], 2)
    if isinstance(error, OSError):
        return put([f"failed: {printable(os_line(error))}; what was saved before is intact"], 1)
    if isinstance(error, MemoryError):
        return put([f"failed: not enough memory{': ' if str(error) else ''}{printable(error)}"], 1)
    with contextlib.suppress(ValueError):                     # not the main thread
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))    # a second one does not wait for what is tidied up
        second_ends()
    return put(["interrupted; what was saved is intact"], 130)


def put(lines, status):
    """Prints lines on stderr, where there still is one; returns the status."""
    try:
        for line in lines:
            print(line, file=sys.stderr)
        sys.stderr.flush()
    except (OSError, ValueError):
        nowhere("stderr")
    return status


def nowhere(name):
    """Points a stream that broke at nothing, so that Python's own flush at exit has nothing to complain of."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), getattr(sys, name).fileno())


def excepthook(kind, error, trace):
    """A sys.excepthook that treats errors outside run_script (while importing) as run_script does."""
    if not issubclass(kind, EXPECTED):
        sys.__excepthook__(kind, error, trace)
        return
    status = say(error)
    sys.stderr.flush()
    sys.exit(status)
