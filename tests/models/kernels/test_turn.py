import numpy as np
import pytest

from models.kernels.casting import to, to_float32
from models.kernels.turn import to_first, to_last, turn
from runtime.backend import jt
from tests.helpers import on_cpu
from tests.play import on_played_gpu

# Tiles that are whole and not; an axis as short as the taps of a weight; one number.
SHAPES = [(2, 33, 70), (3, 5, 9), (1, 100, 9), (2, 9, 130), (1, 1, 1), (2, 1, 40), (1, 64, 32)]


def check(array, dtype):
    """That an array and the gradient of its product with another are turned, as numbers of a type."""
    given, weight = (to(jt.array(one), dtype) for one in (array, array.transpose(0, 2, 1)[:, ::-1].copy()))
    y = turn(given)
    assert str(y.dtype) == dtype
    gradient = jt.grad((to_float32(y) * to_float32(weight)).sum(), given)
    for found, before in ((y, given), (gradient, weight)):
        np.testing.assert_array_equal(to_float32(found).numpy(), to_float32(before).numpy().transpose(0, 2, 1))


@pytest.mark.parametrize("played", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@on_cpu
def test_numbers_and_gradients_are_moved_as_they_are_on_a_cpu_and_by_the_cuda_source(rng, monkeypatch, dtype, played):
    recorder = on_played_gpu(monkeypatch) if played else None
    for shape in SHAPES:
        for backwards in (False, True) if played else (False,):
            if played:
                recorder.backwards = backwards
            check(rng.standard_normal(shape, dtype=np.float32), dtype)


@on_cpu
def test_images_get_their_channels_last_and_first_again(rng):
    x = rng.standard_normal((2, 3, 5, 7), dtype=np.float32)
    last = to_last(jt.array(x))
    np.testing.assert_array_equal(last.numpy(), x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(to_first(last).numpy(), x)
    with pytest.raises(ValueError, match="turn: expected x"):
        turn(last)
