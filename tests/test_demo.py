"""The demo's configs and the weights shipped for it. `make demo` itself is the test of the whole chain."""
import pytest

from configs.schema import load_config, section_from
from demo.weights import WEIGHTS
from models.autoencoder import VQAutoencoder
from models.unet import UNet
from models.weights.checkpoint import load_checkpoint, read_header, weights_hash
from tests.helpers import ROOT


def test_the_shipped_weights_are_under_8_megabytes():
    assert sum(path.stat().st_size for path in (ROOT / WEIGHTS).glob("*")) < 8_000_000


@pytest.mark.parametrize("name, network", [("autoencoder", VQAutoencoder), ("unet", UNet)])
def test_the_shipped_weights_are_those_of_the_demos_networks(name, network):
    config = load_config("demo")
    header = load_checkpoint(network(getattr(config, name)), ROOT / WEIGHTS / f"{name}.safetensors")
    assert header.kind == name
    assert section_from(name, header.config[name], "weights") == getattr(load_config("demo_weights"), name)


def test_the_shipped_unet_was_trained_on_latents_of_the_shipped_autoencoder():
    config = load_config("demo")
    autoencoder = VQAutoencoder(config.autoencoder)
    load_checkpoint(autoencoder, ROOT / WEIGHTS / "autoencoder.safetensors")
    assert read_header(ROOT / WEIGHTS / "unet.safetensors").extra["autoencoder"] == weights_hash(autoencoder)


def test_demo_and_its_weights_have_the_same_networks_and_no_scene_in_common():
    demo, weights = load_config("demo"), load_config("demo_weights")
    assert demo.unet == weights.unet and demo.diffusion == weights.diffusion and demo.train.seed != weights.train.seed
    assert {**demo.autoencoder.__dict__, "path": ""} == {**weights.autoencoder.__dict__, "path": ""}
