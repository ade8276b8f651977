"""One attempt: a script's main() with a command line, and what a user may expect of the answer."""
import contextlib
import io
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from runtime.errors import run_script

SECONDS = 120                     # after which an attempt hangs
LONGEST = 1100                    # characters of a line on stderr


@dataclass
class Attempt:
    """family, name: for the table; run(): the status and stderr of the answer; expected: the statuses that are right."""
    family: str
    name: str
    run: Callable
    expected: tuple = (2,)
    before: Optional[Callable] = None        # prepares what is attempted
    kept: tuple = ()                         # folders that must be as they were, whatever happens
    after: Optional[Callable] = None         # -> a line when what is left behind is wrong, else None
    words: str = ""                          # that the line has
    paints: bool = False                     # whether the networks compute, which Jittor compiles first
    seconds: int = SECONDS                   # after which it hangs


class Hang(BaseException):
    """An attempt that did not end."""


def script(main, *argv):
    """A function that calls main(argv) as a script does, in this process: (status, stderr)."""
    def run():
        out, err, status = io.StringIO(), io.StringIO(), 0
        handler = signal.getsignal(signal.SIGINT)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    run_script(main, [str(word) for word in argv])
                except SystemExit as end:
                    status = end.code or 0
        except Hang:
            raise
        except BaseException:
            return 1, err.getvalue() + traceback.format_exc()
        finally:
            signal.signal(signal.SIGINT, handler)
        return status, err.getvalue()
    return run


def snapshot(folder):
    """{path: (size, time of change, target of a link)} of all that lies in a folder."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(root, name)
            if os.path.isdir(path) and not os.path.islink(path):
                continue
            about = os.lstat(path)
            found[path] = about.st_size, about.st_mtime_ns, os.readlink(path) if os.path.islink(path) else None
    return found


def judge(attempt):
    """The surprises of an attempt, a line each; [] when it went as a user may expect."""
    def too_long(*_):
        raise Hang
    if attempt.before:
        attempt.before()
    kept = {folder: snapshot(folder) for folder in attempt.kept}
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(attempt.seconds)
    try:
        status, text = attempt.run()
    except Hang:
        return [f"hang: no answer in {attempt.seconds} s"]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    found = []
    lines = [line for line in text.splitlines()
             if line.startswith(("error: ", "failed: ", "interrupted")) or ".py: error: " in line]
    if "Traceback" in text:
        found.append(f"traceback: {text.strip().splitlines()[-1][:200]}")
    elif status not in attempt.expected:
        what = "silent acceptance" if status == 0 else f"status {status}"
        found.append(f"{what}, expected {' or '.join(map(str, attempt.expected))}: {' / '.join(lines)[:200]}")
    if status not in (0, 141) and not lines and "Traceback" not in text:
        found.append(f"status {status} without a line")
    if attempt.words and attempt.words not in text:
        found.append(f"a line without {attempt.words!r}: {' / '.join(lines)[:200]}")
    for line in lines:
        if len(line) > LONGEST or not line.isprintable():
            found.append(f"a line of {len(line)} characters, or one that a terminal would act on: {line[:80]!r}")
    for folder, files in kept.items():
        now = snapshot(folder)
        lost = [path for path in files if now.get(path) != files[path]]
        if lost:
            found.append(f"lost or changed: {lost[0]} ({len(lost)} files)")
    if attempt.after:
        problem = attempt.after()
        found += [problem] if problem else []
    return found


def campaign(attempts, say=print):
    """Makes all attempts: ({family: [attempts, surprises]}, [surprise])."""
    table, surprises = {}, []
    for attempt in attempts:
        counts = table.setdefault(attempt.family, [0, 0, 0.0])
        begun = time.monotonic()
        try:
            found = judge(attempt)
        except Exception as error:           # the torturer's own mistake is not hidden either
            found = [f"the attempt itself failed: {type(error).__name__} {error}"]
        counts[0] += 1
        counts[1] += bool(found)
        counts[2] += time.monotonic() - begun
        for line in found:
            surprises.append(f"{attempt.family}: {attempt.name}: {line}")
            say(surprises[-1])
        sys.stdout.flush()
    return table, surprises


def folder_of(root, *parts):
    """A new folder."""
    path = Path(root, *parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
