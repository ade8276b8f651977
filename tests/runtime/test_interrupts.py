"""Ctrl-C of a script that is within a call of C, where Python's handlers do not run: as when Jittor waits for its lock."""
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="struct sigaction is that of Linux")

# PyDLL keeps Python's own lock while it calls, as Jittor does.
WAITING = """
import ctypes, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)     # a shell's background jobs are started with it ignored
from runtime.errors import run_script
def main(argv):
    with open(argv[0], "r+") as file:
        print("waits", flush=True)
        print("got" if ctypes.PyDLL(None).lockf(file.fileno(), 1, 0) == 0 else "failed", flush=True)
run_script(main)
"""


@contextlib.contextmanager
def waiting(path):
    """(process, file): a script that waits, in C, for a lock on a file which is held here."""
    with open(path, "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        process = subprocess.Popen([sys.executable, "-c", WAITING, str(path)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        try:
            assert process.stdout.readline() == "waits\n"
            time.sleep(0.3)
            yield process, file
        finally:
            process.kill()
            process.communicate()


def test_the_first_leaves_the_call_whole_and_is_heard_after_it(tmp_path):
    with waiting(tmp_path / "lock") as (process, file):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        fcntl.lockf(file, fcntl.LOCK_UN)
        out, err = process.communicate(timeout=30)
    assert "failed" not in out and err == "interrupted; what was saved is intact\n" and process.returncode == 130


def test_the_second_ends_the_process_within_the_call(tmp_path):
    with waiting(tmp_path / "lock") as (process, _):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == -signal.SIGINT


AS_LIBRARY = """
import signal
from runtime.interrupts import second_ends, second_would_end
from training.signals import Stop
def said(): print(second_would_end(), flush=True)
signal.signal(signal.SIGINT, signal.default_int_handler)
with Stop().listening(): said()
said()
second_ends()
with Stop().listening(): said()
said()
signal.signal(signal.SIGINT, signal.SIG_IGN)
second_ends()
said()
for _ in range(2): signal.raise_signal(signal.SIGINT)
print("lives")
"""


def test_what_a_script_did_not_ask_for_stays_as_it_was():
    """A notebook's second Ctrl-C is not its end after a training; a script's is, during one and after it."""
    done = subprocess.run([sys.executable, "-c", AS_LIBRARY], cwd=ROOT, text=True, capture_output=True, timeout=60)
    assert done.stdout.split() == ["True", "False", "True", "True", "False", "lives"], done.stderr
