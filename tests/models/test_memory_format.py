import numpy as np
import pytest

from ldm.guidance import guided
from ldm.losses import diffusion_loss
from ldm.schedule import make_schedule
from models.cached_unet import CachedUNet
from models.checkpointing import CheckpointedUNet
from models.layers import parameters_of
from models.memory_format import arrange
from models.precision import compute_in
from runtime.backend import jt
from tests.helpers import latents_and_labels, on_cpu, tiny_autoencoder, tiny_unet

TYPES = ["float32", "float16", "bfloat16"]


def arranged(model, dtype, memory_format, store=False):
    """A network in a precision and a format."""
    compute_in(model, dtype, store)
    arrange(model, memory_format, store)
    return model


@pytest.fixture
def inputs(rng):
    """z (2, 3, 8, 12) and labels (2, 8, 12), Vars."""
    z, labels = latents_and_labels(rng)
    return jt.array(z), jt.array(labels)


def both(run):
    """run(memory format) -> arrays, in either."""
    return zip(*[[array.numpy() for array in run(name)] for name in ("channels_first", "channels_last")])


@pytest.mark.parametrize("dtype", TYPES)
@on_cpu
def test_a_unet_answers_and_guides_the_same_numbers_with_weights_stored_so(inputs, dtype):
    z, labels = inputs

    def run(memory_format):
        model = arranged(tiny_unet(), dtype, memory_format, store=True)
        with jt.no_grad():
            return model(z, 500, labels), guided(CachedUNet(model), 3.5)(z, 640, labels)
    for first, last in both(run):
        np.testing.assert_array_equal(last, first)


@pytest.mark.parametrize("dtype", TYPES)
@on_cpu
def test_every_gradient_of_a_unet_is_the_same(inputs, dtype, rng):
    z, labels = inputs
    eps, schedule = jt.array(rng.standard_normal(z.shape, dtype=np.float32)), make_schedule("linear", 1000)

    def run(memory_format):
        model = arranged(tiny_unet(), dtype, memory_format)
        loss = diffusion_loss(model, z, labels, np.array([30, 500]), eps, schedule)["loss"].sum()
        return [loss, *jt.grad(loss, list(parameters_of(model).values()))]
    found = list(both(run))
    if dtype == "bfloat16":             # Jittor cuts off digits of their sums, other ones where arrays are turned between them
        a, b = (np.concatenate([pair[i].reshape(-1).astype(np.float64) for pair in found]) for i in range(2))
        assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.9995
        return
    for first, last in found:
        np.testing.assert_allclose(last, first, rtol=0, atol=1e-6 * np.abs(first).max())


@on_cpu
def test_a_checkpointed_unet_and_an_autoencoder_take_the_switch_too(inputs, rng):
    z, labels = inputs
    x = jt.array(rng.uniform(-1, 1, (2, 3, 32, 48)).astype(np.float32))

    def run(memory_format):
        model, autoencoder = (arranged(made(), "float32", memory_format) for made in (tiny_unet, tiny_autoencoder))
        y = CheckpointedUNet(model)(z, 500, labels)
        gradients = jt.grad((y * y).sum(), list(parameters_of(model).values()))
        with jt.no_grad():
            latent = autoencoder.encode(x)
            return [y, *gradients, latent, autoencoder.decode(latent, quantise=False)]
    for first, last in both(run):
        np.testing.assert_allclose(last, first, rtol=0, atol=1e-6 * np.abs(first).max())


@on_cpu
def test_between_the_edges_every_activation_has_its_channels_last(inputs, monkeypatch):
    z, labels = inputs
    model, seen = arranged(tiny_unet(), "float32", "channels_last", store=True), []
    run = type(model).run
    noted = lambda block, h, *rest: seen.append(tuple(h.shape)) or run(block, h, *rest)
    monkeypatch.setattr(type(model), "run", staticmethod(noted))
    with jt.no_grad():
        out = model(z, 500, labels)
    assert tuple(out.shape)[2:] == (8, 12) and seen[0] == (2, 3, 8, 12)
    assert {shape[1:3] for shape in seen[1:]} == {(8, 12), (4, 6)}
    assert tuple(model.input_blocks[0][0].weight.shape) == (32, 3, 3, 3)
    assert tuple(model.middle_block[0].in_norm.mlp_shared[0].weight.shape) == (8, 3, 3, 29)
