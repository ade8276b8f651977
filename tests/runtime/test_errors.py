import pytest

from runtime.errors import RunError, UserError, run_script
from tests.helpers import run_python


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
