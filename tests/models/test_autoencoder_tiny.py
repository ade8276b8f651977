import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from configs.schema import AutoencoderConfig
from models.autoencoder import build_autoencoder
from models.layers import parameters_of
from models.weights.checkpoint import fill
from runtime.backend import jt
from tests.helpers import ROOT, convolve, normalise, on_cpu, with_drawn_weights

SMALL = AutoencoderConfig(kind="tiny", channels=32, channel_mult=[1, 1, 1], res_blocks=1, z_channels=5, embed_dim=5,
                          global_path=True)
SHARED = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))


def arrays(model):
    """{name: array} of a model's weights."""
    return {name: var.numpy() for name, var in parameters_of(model).items()}


def relu(x):
    return np.maximum(x, 0)


def by_definition(weights, half, x):
    """The half's layers in float64, as the author's files number them."""
    def conv(name, x, stride=1):
        weight = weights[f"{half}.{name}.weight"]
        bias = weights.get(f"{half}.{name}.bias", np.zeros(len(weight)))
        return convolve(x, weight, bias, stride, weight.shape[2] // 2)

    def block(number, x):
        if f"{half}.{number}.pool.0.weight" in weights:
            scale, shift = (weights[f"{half}.{number}.pool.1.{kind}"][:, None, None] for kind in ("weight", "bias"))
            x = x + conv(f"{number}.pool.3", relu(normalise(conv(f"{number}.pool.0", x), 4, 1e-5) * scale + shift))
        return relu(conv(f"{number}.conv.4", relu(conv(f"{number}.conv.2", relu(conv(f"{number}.conv.0", x))))) + x)

    if half == "encoder":
        x = block(1, conv("0", x))
        x = block(3, conv("2", x, stride=2))
        return conv("6", block(5, conv("4", x, stride=2)))
    twice = lambda x: x.repeat(2, 2).repeat(2, 3)
    x = relu(conv("1", np.tanh(x / 3) * 3))
    x = conv("5", twice(block(3, x)))
    return conv("10", block(9, conv("8", twice(block(6, x)))))


@on_cpu
def test_both_halves_follow_their_definition(rng):
    model = with_drawn_weights(build_autoencoder(SMALL))
    weights = {name: var.numpy().astype(np.float64) for name, var in parameters_of(model).items()}
    x, z = rng.uniform(-1, 1, (2, 3, 8, 12)), 3 * rng.standard_normal((2, 5, 2, 3))
    with jt.no_grad():
        found = model.encode(jt.array(x.astype(np.float32))).numpy()
        np.testing.assert_allclose(found, by_definition(weights, "encoder", x / 2 + 0.5), atol=5e-5)
        found = model.decode(jt.array(z.astype(np.float32))).numpy()
        np.testing.assert_allclose(found, 2 * by_definition(weights, "decoder", z) - 1, atol=5e-5)


@on_cpu
def test_with_an_upsampler_it_sees_means_of_2_x_2_pixels_and_paints_all_of_them(rng):
    small = with_drawn_weights(build_autoencoder(SMALL))
    model = build_autoencoder(dataclasses.replace(SMALL, upsampler=4))
    fill(model, {**arrays(small), **{f"upsampler.{name}": array for name, array in arrays(with_drawn_weights(
        build_autoencoder(dataclasses.replace(SMALL, upsampler=4)).upsampler)).items()}}, "test")
    assert dataclasses.replace(SMALL, upsampler=4).factor == 2 * SMALL.factor
    x = rng.uniform(-1, 1, (2, 3, 16, 24)).astype(np.float32)
    with jt.no_grad():
        z = model.encode(jt.array(x))
        half = x.reshape(2, 3, 8, 2, 12, 2).mean((3, 5))
        np.testing.assert_allclose(z.numpy(), small.encode(jt.array(half)).numpy(), atol=1e-5)
        h, image = model.features(z)
        np.testing.assert_allclose(2 * image.numpy() - 1, small.decode(z).numpy(), atol=1e-5)
        w = arrays(model.upsampler)
        conv = lambda name, a: convolve(a, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)
        a = relu(conv("conv_in", h.numpy()))
        details = conv("conv_out", relu(conv("conv", a)) + a)                            # (2, 12, 8, 12)
        expected = image.numpy().repeat(2, 2).repeat(2, 3)
        for c, i, j in np.ndindex(3, 2, 2):
            expected[:, c, i::2, j::2] += details[:, 4 * c + 2 * i + j]
        np.testing.assert_allclose(model.decode(z).numpy(), 2 * expected - 1, atol=1e-4)


def test_only_the_coarsest_blocks_have_the_global_path_and_resampling_has_no_bias():
    names = set(parameters_of(build_autoencoder(SMALL)))
    assert {name.split(".pool")[0] for name in names if ".pool." in name} == {"encoder.5", "decoder.3"}
    assert "encoder.2.weight" in names and "encoder.2.bias" not in names and "decoder.1.bias" in names


@on_cpu
def test_the_real_taef2_gives_the_measured_latents_and_pictures():
    folder = SHARED / "weights" / "taef2"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: TAEF2's weights (SHARED_DATA names another place)")
    from data.landscape import read_image
    from ldm.pixels import from_uint8
    from models.weights.loading import load_autoencoder
    found = np.load(SHARED / "evaluation_golden" / "taef2_real_case1.npz")
    model, config, _ = load_autoencoder(AutoencoderConfig(path=str(folder / "taef2_encoder.pth")))
    assert (config.kind, config.factor, config.embed_dim, config.global_path) == ("tiny", 8, 32, True)
    x = from_uint8(read_image(SHARED / "iidm_cases" / "case1_gen.jpg", 384, 512)[None])
    with jt.no_grad():
        z = model.encode(x)
        image = model.decode(z)
    np.testing.assert_allclose(z.numpy()[0][:, ::6, ::8], found["latent_sub"], atol=5e-5)
    np.testing.assert_allclose(image.numpy()[0][:, ::16, ::16] / 2 + 0.5, found["recon_sub"], atol=5e-5)
    error = (np.clip(image.numpy(), -1, 1) - x.numpy()) / 2
    assert -10 * np.log10((error ** 2).mean()) == pytest.approx(float(found["psnr"]), abs=0.01)
