import numpy as np
import pytest

from runtime.backend import jt
from training.autoencoder_loss import drawn_loss, image_losses, init_codebook, quantised_loss, total

IMAGE, LATENT = (2, 3, 8, 12), (2, 3, 4, 6)


class Fixed:
    """A model that answers with given arrays; records how it was asked."""

    def __init__(self, rng):
        self.arrays = [rng.standard_normal(shape).astype(np.float32) for shape in (IMAGE, LATENT, LATENT)]
        self.found, self.z, self.quantised = map(jt.array, self.arrays)

    def __call__(self, x, quantise):
        self.asked = quantise
        return self.found, self.z, self.quantised


def reconstruction_loss(model, x, quantise):
    """All losses of a VQ autoencoder."""
    found, others = quantised_loss(model, x, quantise)
    return total({**image_losses(found, x), **others})


@pytest.mark.parametrize("quantise", [True, False])
def test_the_loss_is_eq_3_per_sample_and_commits_only_when_quantising(rng, quantise):
    model, x = Fixed(rng), rng.uniform(-1, 1, IMAGE).astype(np.float32)
    losses = reconstruction_loss(model, jt.array(x), quantise)
    assert model.asked is quantise
    found, z, quantised = (array.astype(np.float64) for array in model.arrays)
    l1 = np.abs(x - found).mean((1, 2, 3))
    distance = ((quantised - z) ** 2).mean((1, 2, 3))
    codebook = distance * (1.25 if quantise else 1)
    for name, expected in (("l1", l1), ("codebook", codebook), ("loss", l1 + codebook)):
        np.testing.assert_allclose(losses[name].numpy(), expected, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("quantise, commitment", [(True, 0.25), (False, 0)])
def test_codes_are_drawn_to_latents_and_latents_a_quarter_as_much_to_codes(rng, quantise, commitment):
    model, x = Fixed(rng), rng.uniform(-1, 1, IMAGE).astype(np.float32)
    loss = reconstruction_loss(model, jt.array(x), quantise)["loss"].sum()
    found, dz, d_quantised = (g.numpy() for g in jt.grad(loss, [model.found, model.z, model.quantised]))
    towards = 2 * (model.arrays[2].astype(np.float64) - model.arrays[1]) / np.prod(LATENT[1:])
    np.testing.assert_allclose(d_quantised, towards, atol=1e-6)
    np.testing.assert_allclose(dz, -commitment * towards, atol=1e-6)
    np.testing.assert_allclose(found, np.sign(model.arrays[0] - x) / np.prod(IMAGE[1:]), atol=1e-7)


def test_placed_codes_lie_beside_latents_and_no_two_are_equal(rng):
    latents = (rng.standard_normal((50, 3)) * [0.1, 1, 10]).astype(np.float32)
    codes = init_codebook(latents, 200, np.random.default_rng(1))
    assert codes.shape == (200, 3) and codes.dtype == np.float32
    assert len(np.unique(codes, axis=0)) == 200
    offset = np.abs((codes[:, None] - latents) / latents.std(0)).max(-1)     # in deviations of each channel
    assert offset.min(1).max() < 0.06
    assert len(np.unique(offset.argmin(1))) > 40                             # from all over the latents
    np.testing.assert_array_equal(codes, init_codebook(latents, 200, np.random.default_rng(1)))


class Normal:
    """A KL autoencoder whose distribution is fixed and whose decoder is the identity, three times."""

    def __init__(self, rng):
        self.mean, self.log_variance = (rng.standard_normal(LATENT).astype(np.float32) for _ in range(2))

    def posterior(self, x):
        return jt.array(self.mean), jt.array(self.log_variance)

    def decode(self, z):
        return 3 * z


def test_a_latent_is_drawn_and_the_divergence_counts_per_number_of_the_image(rng):
    model, x, eps = Normal(rng), np.zeros(IMAGE, np.float32), rng.standard_normal(LATENT).astype(np.float32)
    found, losses = drawn_loss(model, jt.array(x), jt.array(eps), 0.5)
    mean, log_variance = model.mean.astype(np.float64), model.log_variance.astype(np.float64)
    np.testing.assert_allclose(found.numpy(), 3 * (mean + np.exp(log_variance / 2) * eps), rtol=1e-5)
    divergence = 0.5 * (mean ** 2 + np.exp(log_variance) - 1 - log_variance).sum((1, 2, 3)) / np.prod(IMAGE[1:])
    np.testing.assert_allclose(losses["kl"].numpy(), 0.5 * divergence, rtol=1e-5)
