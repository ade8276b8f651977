import numpy as np
import pytest

from models.kernels.attention import attention, attention_reference
from models.kernels.casting import to, to_float32
from runtime.backend import jt
from tests.helpers import on_cpu, slopes
from tests.play import assert_close, on_played_gpu

IMPLS = ["kernel", "reference"]


def oracle(qkv, heads):
    """softmax(q^T k / sqrt(D)) applied to v, float64; qkv (B, heads * 3 * D, L)."""
    batch, channels, length = qkv.shape
    q, k, v = qkv.astype(np.float64).reshape(batch, heads, 3, -1, length).transpose(2, 0, 1, 3, 4)
    scores = q.swapaxes(2, 3) @ k / np.sqrt(q.shape[2])                             # (B, h, L, L)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return (v @ p.swapaxes(2, 3)).reshape(batch, channels // 3, length)


def with_gradient(qkv, heads, impl, weight, dtype="float32", last=False):
    """out and the gradient of (out * weight).sum(), as float32 arrays; qkv is given as numbers of a type, with `last` turned
    round, and out and the gradient are turned back."""
    turned = lambda array: np.ascontiguousarray(array.transpose(0, 2, 1)) if last else array
    given = to(jt.array(turned(qkv)), dtype)
    out = attention(given, heads, impl, last)
    assert str(out.dtype) == dtype
    gradient = jt.grad((to_float32(out) * jt.array(turned(weight))).sum(), given)
    return turned(to_float32(out).numpy()), turned(to_float32(gradient).numpy())


def rounded(array, dtype):
    """A float32 array of numbers that a type holds exactly."""
    return to_float32(to(jt.array(array), dtype)).numpy()


def draw(rng, batch, heads, width, length):
    """qkv and a weight of the result's shape."""
    return (rng.standard_normal((batch, heads * 3 * width, length), dtype=np.float32),
            rng.standard_normal((batch, heads * width, length), dtype=np.float32))


# The reference on one position has other operators, which would be compiled for this test alone.
@pytest.mark.parametrize("impl, length", [
    ("kernel", 1), ("kernel", 7), ("kernel", 130), ("reference", 7), ("reference", 130)])
@pytest.mark.parametrize("heads, width", [(1, 6), (3, 5)])
@on_cpu
def test_values_and_gradient_follow_the_definition(rng, heads, width, impl, length):
    qkv, weight = draw(rng, 2, heads, width, length)
    out, gradient = with_gradient(qkv, heads, impl, weight)
    np.testing.assert_allclose(out, oracle(qkv, heads), atol=1e-5)
    exact = qkv.astype(np.float64)
    positions = rng.permutation(exact.size)[:60]
    expected = slopes(lambda: (oracle(exact, heads) * weight).sum(), exact, positions)
    np.testing.assert_allclose(gradient.reshape(-1)[positions], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("block, keys", [(7, 16), (16, 8), (7, 6)])
@on_cpu
def test_the_reference_is_the_same_in_blocks_of_queries_and_of_keys(rng, block, keys):
    qkv, weight = draw(rng, 2, 3, 5, 16)
    qkv.reshape(2, 3, 3, 5, 16)[:, :, :2, :, :9] *= 6        # one block of keys has far larger scores
    given = jt.array(qkv)
    found = attention_reference(given, 3, block, keys)
    np.testing.assert_allclose(found.numpy(), oracle(qkv, 3), atol=1e-5)
    gradient, = jt.grad((found * jt.array(weight)).sum(), [given])
    whole, = jt.grad((attention_reference(given, 3) * jt.array(weight)).sum(), [given])
    np.testing.assert_allclose(gradient.numpy(), whole.numpy(), atol=2e-5 * np.abs(whole.numpy()).max())


@on_cpu
def test_the_kernel_is_right_beyond_one_block_of_queries(rng):
    length = 3000                                            # a block holds 8 Mi scores: 2796 queries, then 204
    qkv, weight = draw(rng, 1, 1, 2, length)
    out, gradient = with_gradient(qkv, 1, "kernel", weight)
    exact = qkv.astype(np.float64)
    np.testing.assert_allclose(out, oracle(exact, 1), atol=1e-5)
    assert np.abs(out[..., 2796:]).max() > 0.01
    for part in range(3):                                    # q, k and v, each along a random direction
        direction = np.zeros_like(exact)
        direction[:, 2 * part:2 * part + 2] = rng.standard_normal((1, 2, length))
        moved = lambda h: (oracle(exact + h * direction, 1) * weight).sum()
        expected = (moved(1e-5) - moved(-1e-5)) / 2e-5
        np.testing.assert_allclose((gradient * direction).sum(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("heads, width", [(1, 6), (3, 5)])
@on_cpu
def test_a_sample_does_not_depend_on_its_batch(rng, heads, width):
    qkv, weight = draw(rng, 3, heads, width, 130)
    together, gradient = with_gradient(qkv, heads, "kernel", weight)
    for i in range(3):
        alone, own = with_gradient(qkv[i:i + 1], heads, "kernel", weight[i:i + 1])
        np.testing.assert_array_equal(alone, together[i:i + 1])
        np.testing.assert_array_equal(own, gradient[i:i + 1])


@pytest.mark.parametrize("impl", IMPLS)
@on_cpu
def test_scores_far_beyond_the_range_of_exp_give_the_same_answer(rng, impl):
    qkv, weight = draw(rng, 2, 3, 5, 7)
    qkv.reshape(2, 3, 3, 5, 7)[:, :, :2] *= 30               # q and k: scores of a thousand; exp overflows at 89
    out, gradient = with_gradient(qkv, 3, impl, weight)
    np.testing.assert_allclose(out, oracle(qkv, 3), atol=5e-3)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@on_cpu
def test_on_a_cpu_16_bit_numbers_are_computed_with_in_float32(rng, dtype):
    qkv, weight = (rounded(array, dtype) for array in draw(rng, 2, 3, 5, 7))
    for found, exact in zip(with_gradient(qkv, 3, "kernel", weight, dtype), with_gradient(qkv, 3, "kernel", weight)):
        assert_close(found, exact, dtype)


# A tile holds 32 positions of float32 and 64 of 16 bits; 7 and 70 do not fill theirs and are not read 16 bytes at a time.
@pytest.mark.parametrize("heads, width, lengths", [(2, 64, (7, 136)), (1, 32, (70, 64))])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@on_cpu
def test_the_cuda_source_played_on_a_cpu_equals_the_cpus(rng, monkeypatch, dtype, last, heads, width, lengths):
    for length in lengths:
        qkv, weight = (rounded(array, dtype) for array in draw(rng, 2, heads, width, length))
        qkv[:, :2] *= 8                                      # some scores stand out: the largest one changes on the way
        exact = with_gradient(qkv, heads, "kernel", weight)
        for backwards in (False, True):
            with monkeypatch.context() as patch:
                on_played_gpu(patch, backwards)
                played = with_gradient(qkv, heads, "kernel", weight, dtype, last)
            for found, expected in zip(played, exact):
                if dtype == "float32":
                    assert_close(found, expected, dtype)
                else:    # probabilities and their slopes are rounded to 16 bits too, each by half of the last place
                    last = 2.0 ** (-11 if dtype == "float16" else -8)
                    assert np.abs(found - expected).max() <= 2 * last * np.abs(expected).max()


@pytest.mark.parametrize("impl", IMPLS)
@on_cpu
def test_on_a_cpu_channels_last_give_the_numbers_of_channels_first(rng, impl):
    qkv, weight = draw(rng, 2, 3, 5, 7)
    for found, exact in zip(with_gradient(qkv, 3, impl, weight, last=True), with_gradient(qkv, 3, impl, weight)):
        np.testing.assert_array_equal(found, exact)
    with pytest.raises(ValueError, match=r"expected qkv \(B, L, heads"):
        attention(jt.array(qkv), 3, last=True)


@on_cpu
def test_on_a_gpu_other_heads_go_to_the_reference_unless_the_kernel_is_asked_for(rng, monkeypatch):
    recorder = on_played_gpu(monkeypatch)
    qkv, _ = draw(rng, 2, 3, 5, 16)
    with pytest.raises(ValueError, match="no CUDA version for these sizes"):
        attention(jt.array(qkv), 3, "kernel")
    np.testing.assert_allclose(attention(jt.array(qkv), 3).numpy(), oracle(qkv, 3), atol=1e-5)
    assert not any("attention" in header for header in recorder.sources)


@on_cpu
def test_a_gpu_older_than_8_0_goes_to_the_reference_whose_tensor_cores_lack_the_kernels_shape(rng, monkeypatch):
    recorder = on_played_gpu(monkeypatch, arch=75)
    qkv, _ = draw(rng, 1, 1, 32, 16)
    np.testing.assert_allclose(attention(jt.array(qkv), 1).numpy(), oracle(qkv, 1), atol=1e-5)
    with pytest.raises(ValueError, match="no CUDA version"):
        attention(jt.array(qkv), 1, "kernel")
    assert not any("attention" in header for header in recorder.sources)


@pytest.mark.parametrize("shape, heads", [((2, 30, 4, 4), 2), ((2, 30), 2), ((2, 30, 4), 4)])
def test_wrong_shapes_are_errors(shape, heads):
    with pytest.raises(ValueError, match=f"with {heads} heads, got"):
        attention(jt.zeros(shape), heads)


def test_an_unknown_implementation_is_an_error():
    with pytest.raises(ValueError, match="impl is 'cuda', expected auto, kernel or reference"):
        attention(jt.zeros((1, 3, 4)), 1, impl="cuda")
