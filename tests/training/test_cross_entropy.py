import numpy as np
import pytest

from runtime.backend import jt
from tests.helpers import on_cpu, slopes
from training.cross_entropy import cross_entropy


def by_definition(logits, labels):
    """The mean of -log softmax over the pixels that count, image by image, float64."""
    logits = logits.astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = []
    for image, ids in zip(p, labels):
        y, x = np.nonzero(ids >= 0)
        found.append(-np.log(image[ids[y, x], y, x]).mean() if len(y) else 0.0)
    return np.array(found)


def drawn(rng):
    labels = rng.integers(-1, 5, (3, 6, 10)).astype(np.int32)
    labels[1] = -1                                           # an image without a single pixel that counts
    return 4 * rng.standard_normal((3, 5, 6, 10)), labels


@on_cpu
def test_the_loss_is_the_mean_over_the_pixels_that_count(rng):
    logits, labels = drawn(rng)
    assert {-1, 0, 4} <= set(labels[0].ravel())
    found = cross_entropy(jt.array(logits.astype(np.float32)), jt.array(labels))["loss"].numpy()
    np.testing.assert_allclose(found, by_definition(logits, labels), rtol=1e-5)
    assert found[1] == 0


@on_cpu
def test_large_logits_do_not_overflow():
    logits = np.zeros((1, 3, 2, 2), dtype=np.float32)
    logits[:, 1] = 300
    labels = np.array([[[1, 1], [0, 1]]], dtype=np.int32)
    assert cross_entropy(jt.array(logits), jt.array(labels))["loss"].item() == pytest.approx(75)


@on_cpu
def test_its_gradient_is_its_slope(rng):
    logits, labels = drawn(rng)
    x = jt.array(logits.astype(np.float32))
    found = jt.grad(cross_entropy(x, jt.array(labels))["loss"].sum(), x).numpy()
    places = rng.choice(logits.size, 30, replace=False)
    expected = slopes(lambda: by_definition(logits, labels).sum(), logits, places)
    np.testing.assert_allclose(found.ravel()[places], expected, atol=1e-5)
    assert abs(found[1]).max() == 0
