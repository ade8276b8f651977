import dataclasses
import gc
import math

import numpy as np
import pytest

from configs.schema import AutoencoderConfig
from models.autoencoder import VQAutoencoder, build_autoencoder, normalise_latents, scale_latents
from models.layers import parameters_of
from runtime.backend import jt
from tests.helpers import TINY_AUTOENCODER, on_cpu, tiny_autoencoder, with_drawn_weights


@pytest.fixture
def images(rng):
    """Three images (3, 3, 16, 24), float32 in [-1, 1]."""
    return rng.uniform(-1, 1, (3, 3, 16, 24)).astype(np.float32)


def test_the_published_size_is_55322782_parameters_in_205_tensors():
    shapes = [tuple(var.shape) for var in parameters_of(VQAutoencoder(AutoencoderConfig())).values()]
    gc.collect()
    assert len(shapes) == 205 and sum(map(math.prod, shapes)) == 55_322_782


@on_cpu
def test_quantising_takes_the_nearest_code_and_changes_nothing_the_second_time(rng):
    model = tiny_autoencoder()
    codes = model.quantize.embedding.weight.numpy().astype(np.float64)
    z = rng.standard_normal((2, 3, 4, 6), dtype=np.float32)
    quantised, index = model.quantize(jt.array(z))
    distance = ((z.transpose(0, 2, 3, 1)[..., None, :] - codes) ** 2).sum(-1)
    nearest = distance.argmin(-1)
    np.testing.assert_array_equal(index.numpy(), nearest)
    np.testing.assert_array_equal(quantised.numpy(), codes[nearest].transpose(0, 3, 1, 2).astype(np.float32))
    np.testing.assert_array_equal(model.quantize(quantised)[0].numpy(), quantised.numpy())


@on_cpu
def test_a_whole_pass_is_encode_then_decode_with_or_without_the_codebook(images):
    model, x = tiny_autoencoder(), jt.array(images[:2])
    with jt.no_grad():
        z = model.encode(x)
        assert z.shape == (2, 3, 4, 6)
        for quantise in (True, False):
            found, latent, quantised = model(x, quantise=quantise)
            np.testing.assert_allclose(found.numpy(), model.decode(z, quantise=quantise).numpy(), atol=1e-5)
            np.testing.assert_array_equal(latent.numpy(), z.numpy())
            np.testing.assert_array_equal(quantised.numpy(), model.quantize(z)[0].numpy())
        assert np.abs(model(x)[0].numpy() - model(x, quantise=False)[0].numpy()).max() > 1e-2


@on_cpu
def test_the_decoders_gradient_passes_the_quantiser_straight_through(images, rng):
    model, x = tiny_autoencoder(), jt.array(images[:1])
    weight = jt.array(rng.standard_normal((1, 3, 16, 24), dtype=np.float32))
    found, z, quantised = model(x)
    through = jt.grad((found * weight).sum(), z).numpy()
    # What reaches z is the gradient at the quantised latent, as if that had been given to the decoder.
    given = jt.array(quantised.numpy())
    at_the_code = jt.grad((model.decode(given, quantise=False) * weight).sum(), given).numpy()
    assert np.abs(at_the_code).max() > 1e-2
    np.testing.assert_allclose(through, at_the_code, rtol=1e-3, atol=1e-4 * np.abs(at_the_code).max())


@on_cpu
def test_a_reconstructions_gradient_reaches_all_but_the_codes(images):
    model = tiny_autoencoder()
    parameters = parameters_of(model)
    loss = (model(jt.array(images[:2]))[0] ** 2).sum()
    for name, gradient in zip(parameters, jt.grad(loss, list(parameters.values()))):
        assert gradient.numpy().any() == (name != "quantize.embedding.weight"), name


@on_cpu
def test_an_image_does_not_depend_on_its_batch(images):
    model = tiny_autoencoder()
    with jt.no_grad():
        z = model.encode(jt.array(images)).numpy()
        x = model.decode(jt.array(z)).numpy()
        for i in range(3):
            np.testing.assert_array_equal(model.encode(jt.array(images[i:i + 1])).numpy(), z[i:i + 1])
            np.testing.assert_array_equal(model.decode(jt.array(z[i:i + 1])).numpy(), x[i:i + 1])


@on_cpu
def test_standardising_moves_the_latent_to_mean_0_and_deviation_1_and_leaves_reconstructions(images):
    model = tiny_autoencoder()
    # Latents as training may leave them: small, and beside zero.
    model.quant_conv.weight.update(0.2 * model.quant_conv.weight)
    model.quant_conv.bias.update(jt.array([3.0, -1.0, 0.5]))
    model.quantize.embedding.weight.update(0.2 * model.quantize.embedding.weight + jt.array([[3.0, -1.0, 0.5]]))
    run = lambda quantise: [var.numpy() for var in model(jt.array(images), quantise=quantise)]
    with jt.no_grad():
        before = [run(True), run(False)]
        z = before[0][1]
        mean = z.mean((0, 2, 3), dtype=np.float64)
        normalise_latents(model, mean, float((z - mean.reshape(1, 3, 1, 1)).std()))
        after = [run(True), run(False)]
    for (old, *_), (new, *_) in zip(before, after):
        np.testing.assert_allclose(new, old, atol=2e-4)
    z = after[0][1]
    np.testing.assert_allclose(z.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(), 1, atol=1e-5)


def test_a_new_autoencoder_depends_on_its_seed_alone():
    hashes = [{name: var.numpy() for name, var in parameters_of(build_autoencoder(TINY_AUTOENCODER, seed)).items()}
              for seed in (0, 0, 1)]
    for name in ("encoder.conv_in.weight", "quantize.embedding.weight", "decoder.conv_out.bias"):
        first, again, other = (weights[name] for weights in hashes)
        np.testing.assert_array_equal(first, again)
        assert first.any() and not np.array_equal(first, other)


@on_cpu
def test_a_kl_autoencoder_takes_the_mean_and_its_latents_can_be_rescaled(images):
    config = dataclasses.replace(TINY_AUTOENCODER, kind="kl", embed_dim=4, z_channels=4)
    model, x = with_drawn_weights(build_autoencoder(config)), jt.array(images[:2])
    with jt.no_grad():
        z = model.encode(x).numpy()
        assert z.shape == (2, 4, 4, 6)
        moments = model.quant_conv(model.encoder(x)).numpy()
        np.testing.assert_array_equal(z, moments[:, :4])
        before = model(x).numpy()
        scale_latents(model, 0.18215)
        np.testing.assert_allclose(model.encode(x).numpy(), 0.18215 * z, atol=1e-5)
        np.testing.assert_allclose(model(x).numpy(), before, atol=2e-4)
        after = model.quant_conv(model.encoder(x)).numpy()                   # z falls by s, so its log variance by log s^2
        np.testing.assert_allclose(after[:, 4:], moments[:, 4:] + 2 * np.log(0.18215), atol=1e-4)


@on_cpu
def test_attention_in_a_level_sees_the_whole_image(images):
    config = dataclasses.replace(TINY_AUTOENCODER, attention_levels=[2])
    model, plain = with_drawn_weights(build_autoencoder(config)), tiny_autoencoder()
    more = set(parameters_of(model)) - set(parameters_of(plain))
    assert {name.rsplit(".", 2)[0] for name in more} == {"encoder.down.2.attn.0", "decoder.up.2.attn.0", "decoder.up.2.attn.1"}
    with jt.no_grad():
        assert np.abs(model.encode(jt.array(images)).numpy() - plain.encode(jt.array(images)).numpy()).max() > 1e-2
        assert model(jt.array(images))[0].shape == (3, 3, 16, 24)
