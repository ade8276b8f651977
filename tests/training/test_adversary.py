import numpy as np
import pytest

from configs.schema import AutoencoderStage
from ldm.losses import mean_per_sample
from runtime.backend import jt
from training.adversary import Adversary, adaptive_weight
from training.autoencoder_loss import image_losses

OPTIONS = AutoencoderStage(adversarial=0.7, adversarial_start=3, discriminator=8)


@pytest.fixture(scope="module")
def player():
    return Adversary(OPTIONS, seed=0)


def pictures(rng):
    """x and its reconstruction by a last layer that multiplies, w: found = w * h."""
    x, h = (jt.array(rng.uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32)) for _ in range(2))
    w = jt.array(np.float32([[[[0.8]], [[0.9]], [[1.1]]]]))
    jt.sync([x, h, w])
    return x, h, w


def test_the_discriminator_learns_by_a_hinge_and_from_its_step_on(player, rng):
    x, h, _ = pictures(rng)
    losses = player.loss(x, h)
    for name, image, sign in (("d_real", x, -1), ("d_fake", h, 1)):
        patches = player.model(image).numpy().astype(np.float64)
        assert patches.shape == (2, 1, 2, 2)
        np.testing.assert_allclose(losses[name].numpy(), 0.5 * np.maximum(0, 1 + sign * patches).mean((1, 2, 3)), rtol=1e-5)
    assert [player.plays(step) for step in (0, 2, 3, 4)] == [False, False, True, True]


def test_the_adversary_pulls_on_the_last_layer_as_strongly_as_the_reconstruction_times_its_weight(player, rng):
    x, h, w = pictures(rng)
    found = player.against(w * h, lambda image: image_losses(image, x), {"codebook": mean_per_sample(w * w * h)}, w)
    ours, weight = jt.grad(found["loss"].sum(), [w])[0].numpy(), float(found["adaptive"].numpy()[0])
    parts = {"l1": image_losses(w * h, x)["l1"], "codebook": mean_per_sample(w * w * h),
             "adversarial": -mean_per_sample(player.model(w * h))}
    values = {name: value.numpy() for name, value in parts.items()}
    slopes = {name: jt.grad(value.sum(), [w])[0].numpy() for name, value in parts.items()}
    norms = {name: float(np.sqrt((slope.astype(np.float64) ** 2).sum())) / 2 for name, slope in slopes.items()}
    assert weight == pytest.approx(0.7 * norms["l1"] / (norms["adversarial"] + 1e-4), rel=1e-4)
    for array in (values, slopes):
        array["adversarial"] = weight * array["adversarial"]
    for name in parts:
        np.testing.assert_allclose(found[name].numpy(), values[name], rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found["loss"].numpy(), sum(values.values()), rtol=1e-4)
    np.testing.assert_allclose(ours, sum(slopes.values()), rtol=1e-4)


def test_a_reconstruction_that_nothing_pulls_on_has_a_weight_that_is_finite(rng):
    x, h, w = pictures(rng)
    zeros = jt.zeros(x.shape)
    assert adaptive_weight(w * h, zeros, zeros, w).numpy().tolist() == [0]
