import os
import subprocess
import sys

import pytest

from runtime.errors import RunError, UserError, run_script
from tests.helpers import ROOT, run_python


def raising(error):
    def main(argv):
        raise error
    return main


@pytest.mark.parametrize("error, status, shown", [
    (UserError("masks/a.png: 3 channels, expected 1"), 2, "error: masks/a.png: 3 channels, expected 1\n"),
    (UserError(["one", "two"]), 2, "error: one\nerror: two\n"),
    (RunError("the disk is full"), 1, "failed: the disk is full\n"),
    (KeyboardInterrupt(), 130, "interrupted; what was saved is intact\n"),
])
def test_a_script_ends_with_one_line_per_problem_and_a_status(error, status, shown, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_script(raising(error), [])
    assert exit_.value.code == status and capsys.readouterr().err == shown


def test_a_script_that_returns_goes_on_and_other_errors_keep_their_traceback():
    seen = []
    run_script(seen.extend, ["--a", "b"])
    assert seen == ["--a", "b"]
    with pytest.raises(ZeroDivisionError):
        run_script(lambda argv: 1 / 0, [])


def test_ten_thousand_problems_are_twenty_lines_and_the_count():
    error = UserError([f"file {i}" for i in range(10000)])
    assert len(error.problems) == 10000 and len(error.report()) == 21
    assert error.report()[0] == "file 0" and "10000 problems in all" in error.report()[-1]
    assert len(UserError([str(i) for i in range(20)]).report()) == 20


@pytest.mark.parametrize("raised, status, shown", [
    ("UserError(['a', 'b'])", 2, "error: a\nerror: b\n"), ("RunError('c')", 1, "failed: c\n")])
def test_the_hook_gives_errors_outside_a_script_the_same_end(raised, status, shown):
    done = run_python(f"import sys; from runtime.errors import *; sys.excepthook = excepthook\nraise {raised}")
    assert (done.returncode, done.stderr) == (status, shown)


def test_the_hook_leaves_other_errors_their_traceback():
    done = run_python("import sys; from runtime.errors import *; sys.excepthook = excepthook\n1 / 0")
    assert done.returncode == 1 and "Traceback" in done.stderr


@pytest.mark.parametrize("error, status, shown", [
    (OSError(28, "No space left on device", "runs/a"), 1, "failed: runs/a: No space left on device; what was saved before is"),
    (PermissionError(13, "Permission denied", b"a\xff"), 1, "failed: a\\xff: Permission denied"),
    (FileNotFoundError(2, "No such file or directory", "a", None, "b"), 1, "failed: a -> b: No such file"),
    (NotADirectoryError(20, "Not a directory", "a\n\x1b[2Jb"), 1, "failed: a\\n\\x1b[2Jb: Not a directory"),
    (OSError("unknown"), 1, "failed: unknown"), (MemoryError(), 1, "failed: not enough memory\n"),
    (MemoryError("4 GB"), 1, "failed: not enough memory: 4 GB\n"),
    (UserError("a\nb\r\u202e\x1b]0;x\x07: bad"), 2, "error: a\\nb\\r\\u202e\\x1b]0;x\\x07: bad\n"),
    (UserError(f"{'x' * 5000}: no such file"), 2, "error: xxx"), (RunError("a\nb"), 1, "failed: a\\nb\n")])
def test_whatever_fails_is_one_line_of_bounded_length(error, status, shown, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_script(raising(error), [])
    line = capsys.readouterr().err
    assert exit_.value.code == status and line.startswith(shown) and line.count("\n") == 1 and len(line) < 1100


SCRIPT = "import sys\nfrom runtime.errors import *\n"


@pytest.mark.parametrize("code, environ, status, shown", [
    ("raise UserError('ä: ö')", {"PYTHONIOENCODING": "ascii"}, 2, "error: \\xe4: \\xf6\n"),
    ("print('ä→')", {"PYTHONIOENCODING": "ascii"}, 0, ""),
    ("raise UserError(b'a\\xff'.decode(errors='surrogateescape'))", {}, 2, "error: a\\xff\n"),
    ("import signal, os, atexit, time\n  atexit.register(lambda: (os.kill(os.getpid(), 2), time.sleep(60)))\n"
     "  raise KeyboardInterrupt", {}, 130, "interrupted; what was saved is intact\n"),
    ("import os; os.close(2)\n  raise UserError('a')", {}, 2, ""), ("import os; os.close(1)\n  print('a')", {}, 1, "failed: ")])
def test_any_terminal_will_do(code, environ, status, shown):
    done = run_python(f"{SCRIPT}def main(argv):\n  {code}\nrun_script(main)", **environ)
    assert done.returncode == status and done.stderr.startswith(shown) and done.stderr.count("\n") <= 1, done.stderr


def test_output_that_nobody_reads_ends_quietly(tmp_path):
    (tmp_path / "a.py").write_text(f"{SCRIPT}def main(argv):\n  for i in range(100000): print(i)\nrun_script(main)")
    command = f"{{ PYTHONPATH={ROOT} {sys.executable} {tmp_path}/a.py; echo $? >&2; }} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "141\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_under_stdout_is_a_line():
    done = subprocess.run([sys.executable, "-c", f"{SCRIPT}run_script(lambda argv: print('a' * 10))"], cwd=ROOT, text=True,
                          stdout=open("/dev/full", "w"), stderr=subprocess.PIPE, timeout=60)  # noqa: SIM115
    assert done.returncode == 1 and done.stderr.startswith("failed: No space left on device") and done.stderr.count("\n") == 1
