"""runtime/lock.py: one process at a time, whatever ended the one before."""
import os
import signal
import subprocess
import sys

import pytest

from runtime.errors import UserError
from runtime.lock import hold
from tests.helpers import ROOT

# A child that outlives it stands for the compilers that Jittor forks.
HOLDER = """
import os, sys, time
from runtime.lock import hold
hold(sys.argv[1], "testing")
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
time.sleep(60)
"""


def test_a_killed_process_gives_its_lock_up_though_its_children_live(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    try:
        with pytest.raises(UserError, match=rf"process {process.pid} on .* \(testing\) is at work there"):
            hold(tmp_path, "waiting")
        process.kill()
        process.wait()
        hold(tmp_path, "waiting")
    finally:
        process.kill()
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_of_two_processes_at_once_exactly_one_gets_the_folder(tmp_path):
    code = ("import sys, time\nfrom runtime.lock import hold\nfrom runtime.errors import UserError\n"
            "try:\n    hold(sys.argv[1], 'racing')\n    print('got')\nexcept UserError:\n    print('refused')\n"
            "sys.stdout.flush()\nsys.stdin.read()")
    for attempt in range(3):
        both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / str(attempt))], cwd=ROOT, text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
        answers = sorted(process.stdout.readline().strip() for process in both)
        for process in both:
            process.communicate()
        assert answers == ["got", "refused", "refused", "refused"]


def test_the_process_that_has_a_folder_may_ask_again_under_any_of_its_names(tmp_path):
    hold(tmp_path / "a", "testing")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    hold(tmp_path / "a", "testing")
    hold(tmp_path / "link", "testing")


def test_a_folder_that_cannot_be_made_is_what_the_system_says(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        hold(tmp_path / "file" / "folder", "testing")
