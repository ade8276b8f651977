"""models/kernels/depthwise.py against a convolution by its definition."""
import numpy as np
import pytest

from models.kernels.depthwise import depthwise
from runtime.backend import jt
from tests.helpers import on_cpu


def oracle(x, weight, bias, stride, dilation, padding):
    """Depthwise convolution by its definition, float64."""
    before, after = padding
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (before, after), (before, after)))
    k = weight.shape[2]
    height, width = ((n - dilation * (k - 1) - 1) // stride + 1 for n in x.shape[2:])
    y = np.zeros((*x.shape[:2], height, width)) + bias.reshape(1, -1, 1, 1)
    for i in range(k):
        for j in range(k):
            part = x[:, :, i * dilation::stride, j * dilation::stride][:, :, :height, :width]
            y += part * weight[:, 0, i, j].reshape(1, -1, 1, 1)
    return y


def draw(rng, batch=2, channels=5, size=(6, 10), kernel=3):
    return (rng.standard_normal((batch, channels, *size), dtype=np.float32),
            rng.standard_normal((channels, 1, kernel, kernel), dtype=np.float32),
            rng.standard_normal(channels, dtype=np.float32))


@pytest.mark.parametrize("impl, options", [
    ("kernel", (1, 1, (1, 1))), ("kernel", (2, 1, (1, 1))), ("kernel", (2, 1, (0, 1))), ("kernel", (1, 2, (2, 2))),
    ("kernel", (1, 4, (4, 4))), ("kernel", (3, 2, (3, 0))), ("kernel", (1, 1, (0, 0))),
    ("reference", (1, 1, (1, 1))), ("reference", (2, 1, (0, 1))), ("reference", (1, 4, (4, 4)))])
@on_cpu
def test_every_channel_is_convolved_with_its_own_kernel(impl, options, rng):
    arrays = draw(rng)
    found = depthwise(*(jt.array(a) for a in arrays), *options, impl=impl)
    np.testing.assert_allclose(found.numpy(), oracle(*arrays, *options), atol=1e-5)


@pytest.mark.parametrize("size, kernel, padding", [
    ((1, 1), 3, (1, 1)), ((1, 9), 3, (1, 1)), ((5, 1), 5, (2, 2)), ((3, 3), 3, (0, 0)), ((4, 7), 1, (0, 0))])
@on_cpu
def test_images_smaller_than_the_kernel_and_other_kernels_are_right(size, kernel, padding, rng):
    arrays = draw(rng, size=size, kernel=kernel)
    found = depthwise(*(jt.array(a) for a in arrays), padding=padding, impl="kernel")
    np.testing.assert_allclose(found.numpy(), oracle(*arrays, 1, 1, padding), atol=1e-5)


@pytest.mark.parametrize("x, weight, bias, options", [
    ((2, 5, 6, 10), (4, 1, 3, 3), (5,), {}), ((2, 5, 6, 10), (5, 1, 3, 3), (4,), {}), ((2, 5, 6, 10), (5, 5, 3, 3), (5,), {}),
    ((2, 5, 6, 10), (5, 1, 3, 1), (5,), {}), ((5, 6, 10), (5, 1, 3, 3), (5,), {}),
    ((2, 5, 2, 10), (5, 1, 3, 3), (5,), {"padding": (0, 0)}), ((2, 5, 6, 10), (5, 1, 3, 3), (5,), {"impl": "fast"})])
def test_shapes_and_options_that_do_not_fit_are_refused(x, weight, bias, options):
    with pytest.raises(ValueError, match="expected|smaller"):
        depthwise(jt.zeros(x), jt.zeros(weight), jt.zeros(bias), **options)
