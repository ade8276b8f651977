"""models/kernels/conv_onednn.py: channels last, kernels of any shape, ReLU, weights laid out once."""
import numpy as np
import pytest

from models.kernels.casting import to, to_float32
from models.kernels.conv import conv2d
from models.kernels.conv_onednn import Kept, conv_onednn
from models.kernels.turn import to_first, to_last
from runtime.backend import jt
from runtime.processor import multiplies_bfloat16, onednn
from tests.helpers import on_cpu
from tests.play import assert_close

pytestmark = pytest.mark.skipif(onednn() is None, reason="needs the oneDNN that Jittor brings on x86")
BFLOAT16 = pytest.param("bfloat16", marks=pytest.mark.skipif(not multiplies_bfloat16(), reason="needs AVX512_BF16"))


def arrays(rng, kernel=(3, 3), size=(9, 14), batch=3, inputs=5, outputs=7):
    """x, weight, bias."""
    shapes = (batch, inputs, *size), (outputs, inputs, *kernel), (outputs,)
    return [jt.array(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kernel, stride, padding", [((3, 3), 1, (1, 1)), ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0)),
                                                     ((3, 3), 2, (0, 0))])
@on_cpu
def test_either_layout_and_any_kernel_with_residual_and_relu(last, kernel, stride, padding, rng):
    x, weight, bias = arrays(rng, kernel)
    plain = conv2d(x, weight, bias, stride, padding, impl="reference")
    residual = jt.array(rng.standard_normal(plain.shape).astype(np.float32))
    turned, back = (to_last, to_first) if last else (lambda x: x, lambda x: x)
    way = lambda x, residual: back(conv_onednn(turned(x), weight, bias, stride, padding, turned(residual), last, True)).numpy()
    with jt.no_grad():
        found, alone = way(x, residual), way(x[1:2], residual[1:2])
    np.testing.assert_allclose(found, np.maximum((plain + residual).numpy(), 0), atol=2e-5)
    np.testing.assert_array_equal(alone[0], found[1])


@pytest.mark.parametrize("dtype", ["float32", BFLOAT16])
@on_cpu
def test_weights_laid_out_once_give_the_same_numbers_at_any_size_of_image(dtype, rng):
    x, weight, bias = (to(array, dtype) for array in arrays(rng, size=(16, 24), inputs=37, outputs=19))
    kept, way = Kept(), lambda x, **more: to_float32(conv_onednn(x, weight, bias, 1, (1, 1), **more)).numpy()
    with jt.no_grad():
        for image in (x, x[:, :, :5, :7], x[:, :, 3:, :]):                    # laid out for the first
            np.testing.assert_array_equal(way(image, kept=kept), way(image))


@on_cpu
def test_a_weight_that_changes_all_the_same_is_laid_out_again(rng):
    x, weight, bias = arrays(rng)
    kept = Kept()
    with jt.no_grad():
        before = conv_onednn(x, weight, bias, 1, (1, 1), kept=kept).numpy()
        weight.update(weight * 2)
        after = conv_onednn(x, weight, bias, 1, (1, 1), kept=kept).numpy()
    bias = bias.numpy().reshape(1, -1, 1, 1)
    np.testing.assert_allclose(after - bias, 2 * (before - bias), atol=1e-5)


@on_cpu
def test_a_convolution_that_paints_takes_this_way(rng, monkeypatch):
    calls = []
    monkeypatch.setattr("models.kernels.conv.conv_onednn", lambda *args, **more: calls.append(1) or conv_onednn(*args, **more))
    x, weight, bias = arrays(rng, size=(16, 24))
    expected = conv2d(x, weight, bias, 1, 1)
    assert not calls                                                           # with a gradient it is a Function's
    with jt.no_grad():
        assert_close(conv2d(x, weight, bias, 1, 1).numpy(), expected.numpy(), "float32")
    assert calls
