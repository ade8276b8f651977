"""The demo's configs and the weights shipped for it. `make demo` itself is the test of the whole chain."""
import pytest

from configs.reading import load_config, section_from
from demo.weights import WEIGHTS
from models.autoencoder import build_autoencoder
from models.unet import UNet
from models.weights.checkpoint import load_checkpoint, read_header, weights_hash
from tests.helpers import ROOT

BUILD = {"autoencoder": build_autoencoder, "unet": UNet}


def test_the_shipped_weights_are_under_60_megabytes():
    assert sum(path.stat().st_size for path in (ROOT / WEIGHTS).glob("*")) < 60_000_000


@pytest.mark.parametrize("name", BUILD)
def test_the_shipped_weights_are_those_of_the_demos_networks(name):
    config = getattr(load_config("demo"), name)
    header = load_checkpoint(BUILD[name](config), ROOT / WEIGHTS / f"{name}.safetensors")
    assert header.kind == name
    theirs, made = section_from(name, header.config[name], "weights"), getattr(load_config("demo_weights"), name)
    assert {**theirs.__dict__, "path": ""} == {**made.__dict__, "path": ""}


def test_the_shipped_unet_was_trained_on_latents_of_the_shipped_autoencoder():
    config = load_config("demo")
    autoencoder = build_autoencoder(config.autoencoder)
    load_checkpoint(autoencoder, ROOT / config.autoencoder.path)
    assert read_header(ROOT / WEIGHTS / "unet.safetensors").extra["autoencoder"] == weights_hash(autoencoder)


def test_demo_and_its_weights_have_the_same_networks_and_no_scene_in_common():
    demo, weights = load_config("demo"), load_config("demo_weights")
    assert demo.unet == weights.unet and demo.diffusion == weights.diffusion and demo.train.seed != weights.train.seed
    assert {**demo.autoencoder.__dict__, "path": ""} == {**weights.autoencoder.__dict__, "path": ""}
