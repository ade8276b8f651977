"""Spectral normalisation."""
import numpy as np

from baselines.layers import set_training
from baselines.networks import initialise
from baselines.spectral_norm import SpectralConv
from runtime.backend import jt


def conv():
    """A convolution with drawn weights."""
    layer = SpectralConv(5, 7)
    initialise(layer, 0, "default")
    return layer


def test_iterations_in_training_find_the_largest_singular_value():
    layer = conv()
    for _ in range(60):
        weight = layer.weight().numpy()
    assert abs(np.linalg.norm(weight.reshape(7, -1), 2) - 1) < 1e-3


def test_evaluation_moves_nothing_and_divides_by_the_stored_sigma():
    layer = conv()
    layer.weight()
    set_training(layer, False)
    u, v = layer.weight_u.numpy(), layer.weight_v.numpy()
    matrix = layer.weight_orig.numpy().reshape(7, -1)
    np.testing.assert_allclose(layer.weight().numpy().reshape(7, -1), matrix / (u @ matrix @ v), rtol=1e-4)
    np.testing.assert_array_equal(layer.weight_u.numpy(), u)
    np.testing.assert_array_equal(layer.weight_v.numpy(), v)


def test_the_gradient_goes_through_sigma_but_not_through_the_vectors():
    layer = conv()
    set_training(layer, False)
    W, u, v = layer.weight_orig.numpy().reshape(7, -1).astype(np.float64), layer.weight_u.numpy(), layer.weight_v.numpy()
    out = np.random.default_rng(1).standard_normal(W.shape)
    sigma = u @ W @ v
    expected = out / sigma - (out * W).sum() / sigma ** 2 * np.outer(u, v)
    down = jt.array(out.astype(np.float32)).reshape(layer.weight_orig.shape)
    found = jt.grad((layer.weight() * down).sum(), layer.weight_orig)
    np.testing.assert_allclose(found.numpy().reshape(7, -1), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
