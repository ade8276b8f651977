"""models/kernels/conv.py against a convolution by its definition."""
import numpy as np
import pytest

from models.kernels.conv import SMALL, conv2d
from runtime.backend import jt
from tests.helpers import convolve, on_cpu, slopes


def arrays(rng, batch=2, inputs=5, outputs=7, size=(3, 5), kernel=3):
    """x, weight, bias and a direction dL/dy."""
    shapes = (batch, inputs, *size), (outputs, inputs, kernel, kernel), (outputs,), (batch, outputs, *size)
    return [rng.standard_normal(shape) for shape in shapes]


@pytest.mark.parametrize("impl", ["kernel", "reference"])
@pytest.mark.parametrize("kernel", [1, 3])
@on_cpu
def test_a_convolution_and_its_gradients_are_those_of_the_definition(impl, kernel, rng):
    x, weight, bias, direction = arrays(rng, kernel=kernel)
    variables = [jt.array(a.astype(np.float32)) for a in (x, weight, bias)]
    y = conv2d(*variables, 1, kernel // 2, impl=impl)
    np.testing.assert_allclose(y.numpy(), convolve(x, weight, bias, 1, kernel // 2), atol=2e-5)
    found = jt.grad((y * jt.array(direction.astype(np.float32))).sum(), variables)
    for array, gradient in zip((x, weight, bias), found):
        places = rng.permutation(array.size)[:12]
        expected = slopes(lambda: (convolve(x, weight, bias, 1, kernel // 2) * direction).sum(), array, places)
        np.testing.assert_allclose(gradient.numpy().reshape(-1)[places], expected, atol=1e-4)


@on_cpu
def test_an_image_is_convolved_the_same_alone_and_in_a_batch(rng):
    x, weight, bias, _ = (a.astype(np.float32) for a in arrays(rng, batch=5))
    together = conv2d(jt.array(x), jt.array(weight), jt.array(bias), 1, 1, impl="kernel").numpy()
    alone = [conv2d(jt.array(x[i:i + 1]), jt.array(weight), jt.array(bias), 1, 1, impl="kernel").numpy() for i in range(5)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


@on_cpu
def test_both_ways_agree_at_the_size_where_the_choice_changes(rng):
    for width in (SMALL // 12, SMALL // 12 + 1):
        x, weight, bias, _ = (jt.array(a.astype(np.float32)) for a in arrays(rng, size=(12, width)))
        np.testing.assert_allclose(conv2d(x, weight, bias, 1, 1).numpy(),
                                   conv2d(x, weight, bias, 1, 1, impl="reference").numpy(), atol=2e-5)


@pytest.mark.parametrize("shapes, options", [
    (((2, 5, 3, 5), (7, 4, 3, 3), (7,)), {}), (((2, 5, 3, 5), (7, 5, 3, 3), (5,)), {}),
    (((2, 5, 3, 5), (7, 5, 3, 3), (7,)), {"stride": 2, "padding": 1, "impl": "kernel"}),
    (((2, 5, 3, 5), (7, 5, 3, 3), (7,)), {"padding": 1, "impl": "fastest"})])
def test_shapes_and_options_that_do_not_fit_are_refused(shapes, options):
    with pytest.raises(ValueError, match="expected"):
        conv2d(*(jt.zeros(shape) for shape in shapes), **options)
