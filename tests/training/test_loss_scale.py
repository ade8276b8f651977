import pytest

from runtime.errors import RunError
from training.loss_scale import GROW_AFTER, START, LossScale


def test_the_scale_doubles_after_so_many_good_steps_and_halves_at_each_bad_one():
    scale = LossScale(active=True)
    for _ in range(GROW_AFTER - 1):
        scale.passed()
    assert scale.value == START
    scale.passed()
    assert scale.value == 2 * START
    scale.overflowed(7)
    scale.overflowed(8)
    assert scale.value == START / 2 and scale.skipped == 2
    for _ in range(GROW_AFTER):
        scale.passed()
    assert scale.value == START                              # the count began anew


def test_gradients_that_overflow_at_any_scale_end_the_run():
    scale = LossScale(active=True)
    with pytest.raises(RunError, match="gradients of step 40 are not finite"):
        for _ in range(40):
            scale.overflowed(40)


def test_it_goes_on_from_its_state():
    scale, again = LossScale(active=True), LossScale(active=True)
    scale.overflowed(1)
    scale.passed()
    again.load(scale.state())
    assert (again.value, again.steps, again.skipped) == (START / 2, 1, 1)


def test_an_inactive_one_is_1():
    scale = LossScale(active=False)
    for _ in range(GROW_AFTER + 1):
        scale.passed()
    assert scale.value == 1
