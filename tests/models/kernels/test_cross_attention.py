"""models/kernels/cross_attention.py against attention by its definition."""
import numpy as np
import pytest

from models.kernels.cross_attention import cross_attention, cross_attention_reference
from runtime.backend import jt
from tests.helpers import on_cpu


def oracle(q, k, v, heads):
    """v softmax(q^T k / sqrt(D))^T per head, float64."""
    batch, channels, _ = q.shape
    q, k, v = (a.astype(np.float64).reshape(batch, heads, channels // heads, -1) for a in (q, k, v))
    scores = q.swapaxes(2, 3) @ k / np.sqrt(q.shape[2])                             # (B, h, L, M)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return (v @ p.swapaxes(2, 3)).reshape(batch, channels, -1)


def draw(rng, batch=2, heads=3, width=5, queries=35, keys=6):
    sizes = queries, keys, keys
    return [rng.standard_normal((batch, heads * width, size), dtype=np.float32) for size in sizes]


@pytest.mark.parametrize("impl", ["kernel", "reference"])
@pytest.mark.parametrize("queries, keys", [(35, 6), (6, 35)])
@on_cpu
def test_every_query_gets_its_mean_of_the_values(impl, queries, keys, rng):
    arrays = draw(rng, queries=queries, keys=keys)
    found = cross_attention(*(jt.array(a) for a in arrays), 3, impl=impl)
    np.testing.assert_allclose(found.numpy(), oracle(*arrays, 3), atol=1e-5)


@pytest.mark.parametrize("queries, keys", [(1, 1), (3, 1), (1, 9)])
@on_cpu
def test_a_single_query_or_key_is_enough(queries, keys, rng):
    arrays = draw(rng, queries=queries, keys=keys)
    found = cross_attention(*(jt.array(a) for a in arrays), 3, impl="kernel")
    np.testing.assert_allclose(found.numpy(), oracle(*arrays, 3), atol=1e-5)


@on_cpu
def test_it_is_the_same_in_blocks_of_queries(rng):
    arrays = draw(rng, heads=1, width=4, queries=700, keys=600)      # a block of the kernel holds 128 Ki scores: 218 queries
    expected = oracle(*arrays, 1)
    variables = [jt.array(a) for a in arrays]
    np.testing.assert_allclose(cross_attention(*variables, 1, impl="kernel").numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(cross_attention_reference(*variables, 1, block=130).numpy(), expected, atol=1e-5)


@on_cpu
def test_large_scores_do_not_overflow(rng):
    q, k, v = draw(rng)
    found = cross_attention(*(jt.array(a) for a in (300 * q, 300 * k, v)), 3, impl="kernel").numpy()
    np.testing.assert_allclose(found, oracle(300 * q, 300 * k, v, 3), atol=1e-3)


@on_cpu
def test_an_image_is_the_same_alone_and_in_a_batch(rng):
    arrays = draw(rng, batch=4)
    together = cross_attention(*(jt.array(a) for a in arrays), 3, impl="kernel").numpy()
    alone = [cross_attention(*(jt.array(a[i:i + 1]) for a in arrays), 3, impl="kernel").numpy() for i in range(4)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("q, k, v, heads", [
    ((2, 15, 7), (2, 15, 4), (2, 15, 5), 3), ((2, 15, 7), (2, 12, 4), (2, 12, 4), 3), ((2, 15, 7), (1, 15, 4), (1, 15, 4), 3),
    ((2, 15, 7), (2, 15, 4), (2, 15, 4), 4), ((15, 7), (15, 4), (15, 4), 3)])
def test_shapes_that_do_not_fit_are_refused(q, k, v, heads):
    with pytest.raises(ValueError, match="expected"):
        cross_attention(jt.zeros(q), jt.zeros(k), jt.zeros(v), heads)
