"""benchmarks/turns.py: processes that are asked, and what becomes of it when they fail."""
import sys

import pytest

from benchmarks.turns import Side
from runtime.errors import RunError
from tests.helpers import ROOT

WORKER = """
import os
from benchmarks.turns import serve, timed
def fail():
    raise ValueError("the first line\\nthe second")
def work(seconds):
    import time
    took, cpu, value = timed(lambda: time.sleep(seconds) or "done", lambda: None)
    return took, cpu, value
serve({"double": lambda n: 2 * n, "noise": lambda: print("noise", end="") or "heard", "fail": fail, "work": work,
       "environ": lambda: os.environ["GIVEN"], "die": lambda: os._exit(7)})
"""


@pytest.fixture
def side():
    with Side("the worker", [sys.executable, "-c", WORKER], ROOT, {"GIVEN": "yes"}) as side:
        yield side


def test_a_side_answers_and_goes_on_after_a_failure(side, capfd):
    assert side.ask("double", n=21) == 42
    assert side.ask("noise") == "heard", "what a side prints beside its answers is no answer"
    with pytest.raises(RunError, match="^the worker: fail: ValueError: the first line$"):
        side.ask("fail")
    assert side.ask("environ") == "yes"
    assert "noise" in capfd.readouterr().err


def test_a_side_that_ends_is_an_error_and_not_a_wait_for_ever(side):
    for _ in range(2):
        with pytest.raises(RunError, match="the worker: die: its process ended with status 7"):
            side.ask("die")


def test_a_turn_is_timed_by_the_clock_and_by_the_work_done(side):
    seconds, cpu, value = side.ask("work", seconds=0.2)
    assert 0.2 <= seconds < 2 and cpu < 0.1 and value == "done"


def test_a_side_is_ended_at_the_end_of_the_block():
    with Side("the worker", [sys.executable, "-c", WORKER], ROOT) as side:
        assert side.process.poll() is None
    assert side.process.returncode == 0
    with pytest.raises(KeyboardInterrupt), Side("the worker", [sys.executable, "-c", WORKER], ROOT) as side:
        raise KeyboardInterrupt
    assert side.process.returncode == -9, "it may have been in the middle of something long"
