"""The same networks on the CPU and on the GPU. Where there is no GPU these are skipped."""
import numpy as np
import pytest

from ldm.losses import diffusion_loss
from ldm.schedule import make_schedule
from models.layers import parameters_of
from runtime.backend import jt
from tests.helpers import latents_and_labels, needs_cuda, tiny_autoencoder, tiny_unet

TOLERANCE = 1e-2      # of the largest value: cuDNN may convolve in TF32, whose products keep 10 bits


def both(run):
    """run() -> arrays, on the CPU and then on the GPU."""
    found = []
    for use_cuda in (0, 1):
        with jt.flag_scope(use_cuda=use_cuda):
            found.append([np.asarray(array, np.float64) for array in run()])
    return found


def assert_close(found):
    for cpu, cuda in zip(*found):
        np.testing.assert_allclose(cuda, cpu, rtol=0, atol=TOLERANCE * max(abs(cpu).max(), 1e-6))


@needs_cuda
def test_the_unet_answers_the_same_on_both_devices(rng):
    z, labels = latents_and_labels(rng)

    def run():
        with jt.no_grad():
            return [tiny_unet()(jt.array(z), 500, jt.array(labels)).numpy()]
    assert_close(both(run))


@needs_cuda
def test_the_loss_and_every_gradient_are_the_same_on_both_devices(rng):
    z, labels = latents_and_labels(rng)
    eps, schedule = rng.standard_normal(z.shape, dtype=np.float32), make_schedule("linear", 1000)

    def run():
        model = tiny_unet()
        weights = list(parameters_of(model).values())
        loss = diffusion_loss(model, jt.array(z), jt.array(labels), np.array([3, 500]), jt.array(eps), schedule)["loss"].sum()
        return [loss.numpy(), *(gradient.numpy() for gradient in jt.grad(loss, weights))]
    assert_close(both(run))


@needs_cuda
@pytest.mark.parametrize("height, width", [(16, 24), (48, 32)])
def test_the_autoencoder_is_the_same_on_both_devices(rng, height, width):
    x = rng.uniform(-1, 1, (2, 3, height, width)).astype(np.float32)

    def run():
        model = tiny_autoencoder()
        with jt.no_grad():
            z = model.encode(jt.array(x))
            return [z.numpy(), model.decode(z, quantise=False).numpy()]     # a code next to a border may be another one
    assert_close(both(run))
