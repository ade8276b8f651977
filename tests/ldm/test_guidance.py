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


class Shaped:
    """eps_c is a picture of its own for each row, eps_u is z; three variance channels of 100 follow both."""

    def __init__(self):
        self.calls = []

    def __call__(self, z, t, labels):
        self.calls.append((t, float(labels.numpy().min())))
        rows = labels.numpy()[:, 0, 0]
        eps = [(1 + label) * np.sin(np.arange(z[0].numel()) * (1 + label)).reshape(z.shape[1:]) if label >= 0 else z[i].numpy()
               for i, label in enumerate(rows)]
        return jt.array(np.concatenate([np.stack(eps), np.full(z.shape, 100)], 1).astype(np.float32))


two = np.broadcast_to(np.array([0, 3], np.int32)[:, None, None], (2, 6, 10)).copy()


def test_outside_its_interval_guidance_is_one_call_with_the_mask():
    model = Shaped()
    eps = guided(model, 3.0, [20, 400.5])
    for t, count in [(600, 1), (400.6, 1), (400.5, 2), (300, 2), (20, 2), (19.9, 1), (0, 1)]:
        model.calls.clear()
        found = eps(jt.array(z), t, jt.array(two)).numpy()
        assert len(model.calls) == count and model.calls[0] == (t, 0.0), t
        expected = guided(Shaped(), 3.0 if count == 2 else 1.0)(jt.array(z), t, jt.array(two)).numpy()
        np.testing.assert_array_equal(found, expected)


def test_rescaled_guidance_has_the_deviation_of_the_unguided_noise_in_every_picture():
    deviations = lambda phi: guided(Shaped(), 4.0, rescale=phi)(jt.array(z), 10, jt.array(two)).numpy().std(axis=(1, 2, 3))
    unguided = guided(Shaped(), 1.0)(jt.array(z), 10, jt.array(two)).numpy().std(axis=(1, 2, 3))
    plain = deviations(0.0)
    assert (plain > 1.2 * unguided).all()
    np.testing.assert_allclose(deviations(1.0), unguided, rtol=1e-5)
    np.testing.assert_allclose(deviations(0.7), 0.7 * unguided + 0.3 * plain, rtol=1e-5)


def test_rescaling_changes_the_length_of_the_guided_noise_and_not_its_direction():
    plain, found = (guided(Shaped(), 4.0, rescale=phi)(jt.array(z), 10, jt.array(two)).numpy() for phi in (0.0, 1.0))
    ratio = (found / plain).reshape(2, -1)
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(180, 1), rtol=1e-4)
    assert abs(ratio[0, 0] - ratio[1, 0]) > 0.01                            # each picture has its own


def test_rescaled_guidance_of_a_picture_does_not_depend_on_its_batch_bit_for_bit():
    run = lambda rows: guided(Shaped(), 4.0, rescale=0.7)(jt.array(z[rows]), 10, jt.array(two[rows])).numpy()
    together = run([0, 1, 0])
    np.testing.assert_array_equal(run([1])[0], together[1])
    np.testing.assert_array_equal(run([1, 0]), together[[1, 0]])


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_a_model_that_shares_work_is_asked_for_both_branches_at_once(rescale):
    class Own:
        def branches(self, z, t, labels):
            return Shaped()(z, t, labels), Shaped()(z, t, labels * 0 - 1)

    own, plain = (guided(model, 4.0, rescale=rescale)(jt.array(z), 10, jt.array(two)).numpy() for model in (Own(), Shaped()))
    np.testing.assert_array_equal(own, plain)
