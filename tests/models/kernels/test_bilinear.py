"""models/kernels/bilinear.py against interpolation by its definition."""
import numpy as np
import pytest

from models.kernels.bilinear import label_map, resize, taps
from runtime.backend import jt
from tests.helpers import on_cpu

SIZES = [((4, 7), (9, 5)), ((1, 3), (4, 1)), ((9, 13), (5, 29))]       # one axis larger, the other smaller


def along(values, after, align_corners):
    """np.interp of `after` values along the last axis, whose values lie at 0, 1, ... or, not aligned, at 1/2, 3/2, ..."""
    before = values.shape[-1]
    if align_corners:
        points = np.linspace(0, before - 1, after) if after > 1 else np.zeros(1)
    else:
        points = (np.arange(after) + 0.5) * before / after - 0.5
    flat = [np.interp(points, np.arange(before), row) for row in values.reshape(-1, before)]
    return np.reshape(flat, (*values.shape[:-1], after))


def oracle(x, size, align_corners):
    x = along(x.astype(np.float64), size[1], align_corners)
    return along(x.swapaxes(2, 3), size[0], align_corners).swapaxes(2, 3)


@pytest.mark.parametrize("before, after", SIZES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("impl", ["kernel", "reference"])
@on_cpu
def test_a_resized_image_is_interpolated_between_its_pixels(before, after, align_corners, impl, rng):
    x = rng.standard_normal((2, 3, *before), dtype=np.float32)
    found = resize(jt.array(x), after, align_corners, impl=impl).numpy()
    np.testing.assert_allclose(found, oracle(x, after, align_corners), atol=1e-5)


@pytest.mark.parametrize("impl", ["kernel", "reference"])
@on_cpu
def test_the_label_is_the_largest_of_the_resized_logits(impl, rng):
    logits = rng.standard_normal((2, 6, 4, 7), dtype=np.float32)
    found = label_map(jt.array(logits), (11, 5), impl=impl)
    assert found.dtype == "int32"
    np.testing.assert_array_equal(found.numpy(), oracle(logits, (11, 5), False).argmax(1))


@pytest.mark.parametrize("impl", ["kernel", "reference"])
@on_cpu
def test_of_equal_logits_the_first_class_is_the_label(impl):
    logits = np.zeros((1, 4, 2, 2), dtype=np.float32)
    logits[0, 2:] = 1
    np.testing.assert_array_equal(label_map(jt.array(logits), (3, 5), impl=impl).numpy(), np.full((1, 3, 5), 2))


def test_logits_far_below_zero_have_a_label_too():
    logits = np.full((1, 3, 2, 2), -3e30, dtype=np.float32)
    logits[0, 1] = -2e30
    assert (label_map(jt.array(logits), (3, 5)).numpy() == 1).all()


def test_an_image_of_the_same_size_stays_as_it_is():
    for align_corners in (False, True):
        low, high, share = taps(5, 5, align_corners)
        assert low.tolist() == [0, 1, 2, 3, 4] and not share.any() and high.max() == 4


@pytest.mark.parametrize("shape, size", [((3, 4, 5), (2, 2)), ((1, 3, 4, 5), (2,)), ((1, 3, 4, 5), (0, 2))])
def test_shapes_that_do_not_fit_are_refused(shape, size):
    for call in (resize, label_map):
        with pytest.raises(ValueError, match="expected"):
            call(jt.zeros(shape), size)
