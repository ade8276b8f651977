"""Our numbers are the published code's: every array in a golden folder (tests/data/golden/README.md), whatever its sizes.

GOLDEN_DIR names another folder of the same form.
"""
import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from configs.schema import AutoencoderConfig, UNetConfig
from ldm.colour_transfer import cielab8
from ldm.guidance import guided
from ldm.losses import diffusion_loss
from ldm.noise import q_sample
from ldm.sample import denoise
from ldm.schedule import make_schedule, spaced
from models.autoencoder import build_autoencoder
from models.cached_unet import CachedUNet
from models.layers import parameters_of
from models.unet import UNet
from models.weights.architecture import infer_autoencoder, infer_unet
from models.weights.formats import open_weight_file
from runtime.backend import jt
from tests.helpers import drawn, on_cpu, with_drawn_weights

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parent / "data" / "golden"))
schedule = make_schedule("linear", 1000)


def read(name):
    """What a .json of the folder holds."""
    return json.loads((GOLDEN / name).read_text())


@lru_cache(None)
def arrays(name):
    """{name: array} of an .npz of the folder."""
    with np.load(GOLDEN / name) as found:
        return dict(found)


def unet_config():
    """UNetConfig from the names of the published constructor."""
    given = read("config.json")["unet"]
    return UNetConfig(channels=given["model_channels"], channel_mult=given["channel_mult"], res_blocks=given["num_res_blocks"],
                      attention_factors=given["attention_resolutions"], head_channels=given["num_head_channels"],
                      classes=given["num_classes"], latent_channels=given["in_channels"],
                      learn_sigma=given["out_channels"] == 2 * given["in_channels"])


def autoencoder_config():
    """AutoencoderConfig from the names of the published constructor."""
    given = read("config.json")["autoencoder"]
    dd = given["ddconfig"]
    sizes = [dd["resolution"] // 2 ** level for level in range(len(dd["ch_mult"]))]
    return AutoencoderConfig(channels=dd["ch"], channel_mult=dd["ch_mult"], res_blocks=dd["num_res_blocks"],
                             z_channels=dd["z_channels"], embed_dim=given["embed_dim"], codes=given["n_embed"],
                             attention_levels=[i for i, size in enumerate(sizes) if size in dd["attn_resolutions"]])


def build(make, config):
    """A network with the folder's weights."""
    return with_drawn_weights(make(config), read("config.json")["weights_seed"])


@lru_cache(None)
def unet():
    """The folder's U-Net."""
    return build(UNet, unet_config())


@lru_cache(None)
def autoencoder():
    """The folder's autoencoder."""
    return build(build_autoencoder, autoencoder_config())


@pytest.mark.parametrize("make, config, keys", [(UNet, unet_config, "unet_keys.json"),
                                                (build_autoencoder, autoencoder_config, "autoencoder_keys.json")])
def test_tensors_have_the_published_names_shapes_and_order(make, config, keys):
    assert [(name, list(var.shape)) for name, var in parameters_of(make(config())).items()] == list(read(keys).items())


def test_names_and_shapes_alone_show_the_architecture():
    unet_shapes, vq_shapes = (dict(read(f"{name}_keys.json").items()) for name in ("unet", "autoencoder"))
    assert infer_unet(unet_shapes, "keys", unet_config().head_channels) == unet_config()
    assert infer_autoencoder("vq", vq_shapes, "keys") == autoencoder_config()


@pytest.mark.parametrize("masked, expected", [(True, "out_cond"), (False, "out_uncond")])
@on_cpu
def test_the_unet_computes_the_same(masked, expected):
    found = arrays("unet_golden.npz")
    labels = found["labels"] if masked else np.full_like(found["labels"], -1)
    with jt.no_grad():
        out = unet()(jt.array(found["x"]), found["t"], jt.array(labels)).numpy()
    np.testing.assert_allclose(out, found[expected], rtol=0, atol=5e-5)


@on_cpu
def test_the_losses_are_the_same():
    found = arrays("unet_golden.npz")
    z_0, labels, eps = (jt.array(found[name]) for name in ("loss_x0", "labels", "loss_noise"))
    with jt.no_grad():
        losses = diffusion_loss(unet(), z_0, labels, found["loss_t"], eps, schedule)
    for name in ("mse", "vb", "loss"):
        np.testing.assert_allclose(losses[name].numpy(), found[f"loss_{name}"], rtol=1e-5, err_msg=name)


def test_the_spaced_timesteps_are_the_same():
    found = arrays("unet_golden.npz")
    for name in ("timestep_map", "ddim500_map"):
        steps = len(found[name])
        np.testing.assert_array_equal(spaced(schedule, 1000 - 1000 // steps, steps).timesteps, found[name])


@pytest.mark.parametrize("prepare", [lambda model: model, CachedUNet], ids=["plain", "prepared"])
@on_cpu
def test_the_guided_ddim_run_is_the_same_from_the_noised_start_to_the_end(prepare):
    found = arrays("unet_golden.npz")
    stride, steps = 1000 // int(found["ddim_steps"]), int(found["ddim_start"])
    points = spaced(schedule, stride * (steps - 1), steps)
    with jt.no_grad():
        z_T = q_sample(jt.array(found["ddim_z0"]), schedule.alpha_bar[stride * steps],         # one point above the first call
                       jt.array(found["ddim_noise"]))
        np.testing.assert_allclose(z_T.numpy(), found["ddim_xT"], rtol=0, atol=1e-6)
        model = guided(prepare(unet()), float(found["ddim_scale"]))
        out = denoise(model, jt.array(found["ddim_xT"]), jt.array(found["labels"]), points)
    np.testing.assert_allclose(out.numpy(), found["ddim_out"], rtol=0, atol=1e-4)


@on_cpu
def test_the_autoencoder_computes_the_same():
    found, model = arrays("autoencoder_golden.npz"), autoencoder()
    close = lambda value, name: np.testing.assert_allclose(value.numpy(), found[name], rtol=0, atol=5e-5, err_msg=name)
    with jt.no_grad():
        close(model.encode(jt.array(found["image"])), "z")
        quantised, index = model.quantize(jt.array(found["z"]))
        close(quantised, "quantized")
        np.testing.assert_array_equal(index.numpy().reshape(-1), found["indices"].reshape(-1))
        close(model.decode(jt.array(found["z"])), "decoded")
        close(model.decode(jt.array(found["z"]), quantise=False), "decoded_unquantized")


def test_colour_transfer_is_the_same_byte_for_byte():
    found = arrays("color_transfer_golden.npz")
    np.testing.assert_array_equal(cielab8(found["source"], found["reference"]), found["transferred"])


@pytest.mark.parametrize("file", sorted(path.name for path in GOLDEN.glob("format_*.pkl")))
def test_the_published_pickles_hold_the_drawn_weights(file):
    keys, seed = read("unet_keys.json"), read("config.json")["weights_seed"]
    found = open_weight_file(GOLDEN / file).tensors
    assert len(found) == 6
    for name, tensor in found.items():
        assert list(tensor.shape) == keys[name]
        np.testing.assert_array_equal(tensor.numpy(), drawn(keys[name], name, seed), err_msg=name)


def test_the_folder_holds_all_three_pickle_formats():
    assert {path.stem for path in GOLDEN.glob("format_*.pkl")} == {"format_ndarray", "format_var", "format_merged_float64"}
