"""The launcher and the descriptors of the convolution by cuDNN, on tests/stand_in/cudnn.h: a convolution by its definition that
takes what cuDNN takes and refuses what does not fit."""
import numpy as np
import pytest

from models.kernels.casting import to, to_float32
from models.kernels.conv import conv2d
from models.kernels.cudnn_conv import cudnn_conv
from runtime.backend import jt
from tests.helpers import on_cpu
from tests.play import assert_close, on_played_gpu

LAST = (0, 2, 3, 1)


def draw(rng, dtype, shape=(2, 3, 5, 7), outputs=4, kernel=3):
    """x, weight, bias as float32 arrays that a type holds exactly."""
    shapes = shape, (outputs, shape[1], kernel, kernel), (outputs,)
    return [to_float32(to(jt.array(rng.standard_normal(s, dtype=np.float32)), dtype)).numpy() for s in shapes]


def with_gradients(call, arrays, weight, dtype):
    """y and the gradients of (y * weight).sum(), float32 arrays; the arrays are given as numbers of a type."""
    given = [to(jt.array(array), dtype) for array in arrays]
    y = call(*given)
    assert str(y.dtype) == dtype
    gradients = jt.grad((to_float32(y) * jt.array(weight)).sum(), given)
    return [to_float32(one).numpy() for one in (y, *gradients)]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kernel, stride, padding", [(3, 1, 1), (3, 2, 0), (1, 1, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@on_cpu
def test_values_and_gradients_are_those_of_jittors_convolution(rng, monkeypatch, dtype, kernel, stride, padding, last):
    x, w, _ = draw(rng, dtype, kernel=kernel)
    plain = lambda x, w: conv2d(x, w, jt.zeros((4,)), stride, padding)
    shape = plain(jt.array(x), jt.array(w)).shape
    weight = draw(rng, dtype, tuple(shape))[0]
    expected = with_gradients(plain, [x, w], weight, "float32")
    if last:
        x, w, weight = (array.transpose(LAST).copy() for array in (x, w, weight))
        expected = [array.transpose(LAST) for array in expected]
    with monkeypatch.context() as patch:
        on_played_gpu(patch)
        found = with_gradients(lambda x, w: cudnn_conv(x, w, None, None, stride, padding, last), [x, w], weight, dtype)
    for one, exact in zip(found, expected):
        assert_close(one, exact, dtype)


@pytest.mark.parametrize("epilogue", ["kernel", "cudnn"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@on_cpu
def test_bias_and_residual_are_added_in_the_same_call_and_get_their_gradients(rng, monkeypatch, dtype, last, epilogue):
    # Eight neighbours at a time and one by one; one pixel; one channel, which the stand-in's own addition refuses.
    for shape, outputs in (((2, 3, 4, 8), 16), ((2, 3, 5, 7), 5), ((3, 2, 1, 1), 4), ((2, 3, 4, 4), 1)):
        x, w, b = draw(rng, dtype, shape, outputs)
        size = (shape[0], outputs, *shape[2:])
        residual, weight = (draw(rng, dtype, size)[0] for _ in range(2))
        plain = lambda x, w, b, *r: conv2d(x, w, b, 1, 1) + (r[0] if r else 0)
        for arrays in ([x, w, b], [x, w, b, residual]):
            expected = with_gradients(plain, arrays, weight, "float32")
            turned = [array.transpose(LAST).copy() if last and array.ndim == 4 else array for array in [weight, *arrays]]
            with monkeypatch.context() as patch:
                on_played_gpu(patch)
                run = lambda x, w, b, r=None: cudnn_conv(x, w, b, r, 1, 1, last, epilogue)
                found = with_gradients(run, turned[1:], turned[0], dtype)
            for one, exact in zip(found, expected):
                exact = exact.transpose(LAST) if last and exact.ndim == 4 else exact
                scale = max(np.abs(exact).max(), 1)          # y is rounded before bias and residual by the kernel, not by cuDNN
                limit = {"float32": 1e-5, "float16": 2.0 ** -9, "bfloat16": 2.0 ** -6}[dtype]
                assert np.abs(one - exact).max() <= limit * scale


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@on_cpu
def test_on_a_gpu_16_bit_convolutions_go_there_and_float32_ones_do_not(rng, monkeypatch, dtype):
    x, w, b = draw(rng, dtype)
    recorder = on_played_gpu(monkeypatch)
    exact = conv2d(jt.array(x), jt.array(w), jt.array(b), 1, 1, impl="reference").numpy()
    assert not recorder.sources
    found = conv2d(to(jt.array(x), dtype), jt.array(w), jt.array(b), 1, 1)
    assert recorder.sources and str(found.dtype) == dtype
    last = 2.0 ** (-10 if dtype == "float16" else -7)        # rounded after the sums and, with Jittor's own cut, after the bias
    assert np.abs(found.cast("float32").numpy() - exact).max() <= 2 * last * np.abs(exact).max()


@on_cpu
def test_there_is_none_on_a_cpu_and_other_shapes_are_errors():
    with pytest.raises(ValueError, match="no CPU version"):
        cudnn_conv(jt.zeros((1, 2, 4, 4)), jt.zeros((3, 2, 3, 3)))
    with pytest.raises(ValueError, match=r"expected x \(B, Cin, H, W\)"):
        cudnn_conv(jt.zeros((1, 2, 4, 4)), jt.zeros((3, 5, 3, 3)))
    with pytest.raises(ValueError, match="expected bias and residual of float32"):
        cudnn_conv(jt.zeros((1, 2, 4, 4)), jt.zeros((3, 2, 3, 3)), jt.zeros((3,)).float16())
    with pytest.raises(ValueError, match=r"expected x \(B, H, W, Cin\)"):
        cudnn_conv(jt.zeros((1, 2, 4, 4)), jt.zeros((3, 3, 3, 2)), last=True)
