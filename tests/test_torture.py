"""A slice of `make torture`: some attempts of every family that needs no process of its own."""
import pytest

from tests.torture.attempts import Attempt, campaign
from tests.torture.families import FAMILIES, Bench

EVERY = {"options": 25, "checkpoints": 25, "controls": 1}      # else every eighth


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Data and networks that the attempts share."""
    return Bench(tmp_path_factory.mktemp("torture"))


@pytest.mark.parametrize("family", FAMILIES)
def test_attempts_of_a_family_bring_no_surprise(family, bench):
    quick = (attempt for attempt in FAMILIES[family](bench) if not attempt.paints)
    attempts = [attempt for i, attempt in enumerate(quick) if i % EVERY.get(family, 8) == 0]
    _, surprises = campaign(attempts)
    assert attempts and not surprises


@pytest.mark.parametrize("answer, expected, surprise", [
    ((0, ""), (2,), "silent acceptance"),
    ((1, "Traceback (most recent call last):\nKeyError: 3"), (1,), "traceback: KeyError: 3"),
    ((1, "failed: x"), (2,), "status 1, expected 2"), ((2, ""), (2,), "status 2 without a line"),
    ((2, f"error: {'x' * 3000}"), (2,), "a line of 3007"), ((2, "error: \x1b[2J"), (2,), "a terminal would act on"),
    ((2, "error: x"), (2,), None), ((0, ""), (0,), None)])
def test_the_campaign_sees_what_it_looks_for(answer, expected, surprise):
    table, found = campaign([Attempt("a", "b", lambda: answer, expected)], say=lambda line: None)
    assert table["a"][:2] == [1, int(bool(surprise))]
    assert not found if surprise is None else surprise in found[0]


def test_the_campaign_sees_a_hang_and_a_file_that_is_lost(tmp_path):
    import time
    (tmp_path / "mine").write_text("mine")
    lost = Attempt("a", "lost", lambda: ((tmp_path / "mine").unlink(), (2, "error: x"))[1], kept=(tmp_path,))
    hangs = Attempt("a", "hangs", lambda: time.sleep(60), seconds=1)
    table, found = campaign([lost, hangs], say=lambda line: None)
    assert table["a"][:2] == [2, 2] and "lost or changed" in found[0] and "hang: no answer in 1 s" in found[1]
