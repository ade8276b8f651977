import numpy as np
import pytest

from ldm.guidance import guided
from runtime.backend import jt

z = np.random.default_rng(0).normal(size=(2, 3, 6, 10)).astype(np.float32)
labels = np.full((2, 6, 10), 4, np.int32)


class Model:
    """eps is the mean label plus t; three variance channels of 100 follow."""

    def __init__(self):
        self.calls = []

    def __call__(self, z, t, labels):
        labels = labels.numpy()
        self.calls.append((t, labels))
        eps = np.broadcast_to(labels[:, None] + t, z.shape)
        return jt.array(np.concatenate([eps, np.full(z.shape, 100)], 1).astype(np.float32))


@pytest.mark.parametrize("scale", [1.5, 3.7])
def test_guidance_goes_from_the_unconditional_noise_past_the_conditional_one(scale):
    model = Model()
    eps = guided(model, scale)(jt.array(z), 10, jt.array(labels)).numpy()
    assert eps.shape == z.shape
    np.testing.assert_allclose(eps, 9 + scale * (14 - 9), rtol=1e-6)


def test_the_unconditional_call_sees_no_mask_and_the_same_timestep():
    model = Model()
    guided(model, 2.0)(jt.array(z), 10, jt.array(labels))
    (t_c, labels_c), (t_u, labels_u) = model.calls
    assert t_c == t_u == 10 and (labels_c == 4).all() and (labels_u == -1).all() and labels_u.dtype == np.int32


def test_scale_1_is_one_call_without_the_variance_channels():
    model = Model()
    eps = guided(model, 1.0)(jt.array(z), 10, jt.array(labels)).numpy()
    assert len(model.calls) == 1 and eps.shape == z.shape
    np.testing.assert_array_equal(eps, 14)


def test_a_model_that_guides_itself_is_asked_to():
    class Own(Model):
        def guided(self, z, t, labels, scale):
            return self(z, t + scale, labels)

    model = Own()
    eps = guided(model, 2)(jt.array(z), 10, jt.array(labels)).numpy()
    assert len(model.calls) == 1 and eps.shape == z.shape
    np.testing.assert_array_equal(eps, 16)
