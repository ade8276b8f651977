"""models/kernels/conv.py against a convolution by its definition."""
import numpy as np
import pytest

from models.kernels.casting import to, to_float32
from models.kernels.conv import SMALL, conv2d
from runtime.backend import jt
from runtime.processor import multiplies_bfloat16
from tests.helpers import convolve, on_cpu, slopes
from tests.play import assert_close


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


@pytest.mark.parametrize("impl", ["kernel", "reference"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@on_cpu
def test_16_bit_numbers_are_computed_with_in_float32_and_float32_weights_are_rounded_to_them(impl, dtype, rng):
    x, weight, bias, direction = (jt.array(a.astype(np.float32)) for a in arrays(rng))
    narrow = lambda array: to_float32(to(array, dtype))
    exact = [narrow(array) for array in (x, weight, bias)]
    y = conv2d(*exact, 1, 1, impl="reference")
    expected = [y, *jt.grad((y * narrow(direction)).sum(), exact)]
    given = [to(x, dtype), weight, bias]                      # master weights
    found = conv2d(*given, 1, 1, impl=impl)
    assert str(found.dtype) == dtype
    found = [found, *jt.grad((to_float32(found) * narrow(direction)).sum(), given)]
    assert [str(one.dtype) for one in found[1:]] == [dtype, "float32", "float32"]
    for one, array in zip(found, expected):
        assert_close(to_float32(one).numpy(), array.numpy(), dtype)


@pytest.mark.skipif(not multiplies_bfloat16(), reason="needs a processor with AVX512_BF16")
@pytest.mark.parametrize("kernel, stride, padding, size", [
    (3, 1, 1, (3, 5)), (3, 1, 1, (24, 30)), (1, 1, 0, (24, 30)), (3, 2, 0, (9, 13)), (3, 1, 0, (6, 10))])
@on_cpu
def test_bfloat16_multiplied_by_the_processor_is_the_same_and_no_sample_depends_on_its_batch(rng, kernel, stride, padding,
                                                                                             size):
    x, weight, bias, _ = (to(jt.array(a.astype(np.float32)), "bfloat16") for a in arrays(rng, 3, 37, 19, size, kernel))
    exact = conv2d(*(to_float32(array) for array in (x, weight, bias)), stride, padding, impl="reference").numpy()
    with jt.no_grad():
        found = to_float32(conv2d(x, weight, bias, stride, padding)).numpy()
        alone = to_float32(conv2d(x[1:2], weight, bias, stride, padding)).numpy()
    assert_close(found, exact, "bfloat16")
    np.testing.assert_array_equal(alone[0], found[1])


@pytest.mark.skipif(not multiplies_bfloat16(), reason="needs a processor with AVX512_BF16")
@pytest.mark.parametrize("kernel, stride, padding, size, channels", [
    (3, 1, 1, (16, 22), (16, 24)),                           # 352 pixels: in strips of 32 pixels and 8 channels
    (3, 1, 1, (15, 21), (5, 7)), (1, 1, 0, (16, 22), (16, 24)), (3, 2, 0, (17, 33), (16, 24))])
@on_cpu
def test_bfloat16_with_residual_and_gradient_is_float32s_on_the_same_numbers(rng, kernel, stride, padding, size, channels):
    x, weight, bias, _ = (jt.array(a.astype(np.float32)) for a in arrays(rng, 3, *channels, size, kernel))
    narrow = lambda array: to_float32(to(array, "bfloat16"))
    shape = conv2d(x, weight, bias, stride, padding).shape
    residual, direction = (jt.array(rng.standard_normal(shape).astype(np.float32)) for _ in range(2))
    exact = [narrow(array) for array in (x, weight, bias, residual)]
    y = conv2d(*exact[:3], stride, padding, impl="reference") + exact[3]                      # rounded once
    expected = [y, *jt.grad((y * narrow(direction)).sum(), exact)]
    given = [to(x, "bfloat16"), weight, to(bias, "bfloat16"), to(residual, "bfloat16")]
    with jt.no_grad():
        painted = to_float32(conv2d(*given[:3], stride, padding, given[3])).numpy()
    found = conv2d(*given[:3], stride, padding, given[3])
    gradients = jt.grad((to_float32(found) * narrow(direction)).sum(), given)
    assert str(gradients[1].dtype) == "float32" and str(found.dtype) == "bfloat16"
    for one, array in zip([found, *gradients], expected):
        assert_close(to_float32(one).numpy(), array.numpy(), "bfloat16")
    np.testing.assert_array_equal(painted, to_float32(found).numpy())


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
