"""Autoencoders that other libraries wrote give those libraries' numbers (tests/fixtures makes the files)."""
import lzma

import numpy as np
import pytest

from configs.schema import AutoencoderConfig
from models.weights.loading import load_autoencoder, open_weights
from runtime.backend import jt
from runtime.errors import UserError
from tests.helpers import ROOT, on_cpu

FOLDER = ROOT / "tests" / "data" / "foreign"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder with the fixtures' weights as the libraries wrote them."""
    folder = tmp_path_factory.mktemp("foreign")
    for path in FOLDER.glob("*.xz"):
        (folder / path.stem).write_bytes(lzma.decompress(path.read_bytes()))
    return folder


def load(folder, file):
    """The model and its config."""
    return load_autoencoder(AutoencoderConfig(path=str(folder / file)))[:2]


FILES = [("diffusers_vq_f4.safetensors", "diffusers_vq_f4", "vq", 4),
         ("diffusers_kl_f8.safetensors", "diffusers_kl_f8", "kl", 8),
         ("diffusers_kl_old_names.bin", "diffusers_kl_f8", "kl", 8),
         ("diffusers_kl_no_quant_conv.safetensors", "diffusers_kl_no_quant_conv", "kl", None),
         ("diffusers_vq_attention.safetensors", "diffusers_vq_attention", "vq", None),
         ("diffusers_tiny.safetensors", "diffusers_tiny", "tiny", 8), ("taesd_encoder.pth", "diffusers_tiny", "tiny", 8),
         ("taesd_decoder.pth", "diffusers_tiny", "tiny", 8), ("taming_vq_f4.ckpt", "taming_vq_f4", "vq", 4),
         ("taming_vq_attention.ckpt", "taming_vq_attention", "vq", None), ("ldm_kl.ckpt", "ldm_kl", "kl", None),
         ("ldm_vq_inside.ckpt", "ldm_vq_inside", "vq", None)]


@pytest.mark.parametrize("file, outputs, kind, factor", FILES, ids=[file for file, *_ in FILES])
@on_cpu
def test_latents_and_pictures_are_the_librarys(unpacked, file, outputs, kind, factor):
    found = np.load(FOLDER / f"{outputs}.npz")
    model, config = load(unpacked, file)
    assert config.kind == kind and factor in (None, config.factor)
    close = lambda value, name: np.testing.assert_allclose(value, found[name], rtol=0, atol=5e-5, err_msg=name)
    with jt.no_grad():
        z = model.encode(jt.array(found["image"])).numpy()
        latent = next(name for name in ("z", "mean", "latents") if name in found.files)
        close(z, latent)
        given = jt.array(found[latent])
        close(model.decode(given).numpy(), "decoded")
        if kind == "vq":
            np.testing.assert_array_equal(model.quantize(given)[1].numpy().reshape(-1), found["indices"].reshape(-1))
            close(model.decode(given, quantise=False).numpy(), "decoded_unquantised")


def test_attention_in_levels_is_found(unpacked):
    assert load(unpacked, "diffusers_vq_attention.safetensors")[1].attention_levels == [1, 2]
    assert load(unpacked, "taming_vq_attention.ckpt")[1].attention_levels == [1]
    assert load(unpacked, "taming_vq_f4.ckpt")[1].attention_levels == []


def test_what_is_left_out_of_a_training_checkpoint_is_said(unpacked):
    notes = "\n".join(open_weights(unpacked / "taming_vq_f4.ckpt").notes)
    assert "state_dict" in notes and "optimizer_states" in notes and "discriminator and perceptual loss" in notes
    notes = "\n".join(open_weights(unpacked / "ldm_vq_inside.ckpt").notes)
    assert "other networks of a latent-diffusion checkpoint" in notes


def test_half_of_a_tiny_autoencoder_alone_is_refused_by_name(unpacked, tmp_path):
    lone = tmp_path / "taesd_encoder.pth"
    lone.write_bytes((unpacked / "taesd_encoder.pth").read_bytes())
    with pytest.raises(UserError, match="expected its decoder beside it as taesd_decoder.pth"):
        load(tmp_path, lone.name)
    (tmp_path / "taesd_decoder.pth").write_bytes(lone.read_bytes())
    with pytest.raises(UserError, match="is no tiny autoencoder's decoder"):
        load(tmp_path, lone.name)


def test_a_kind_that_was_not_asked_for_is_refused(unpacked):
    with pytest.raises(UserError, match="holds the weights of autoencoder .*, expected unet"):
        open_weights(unpacked / "diffusers_vq_f4.safetensors", "unet")
