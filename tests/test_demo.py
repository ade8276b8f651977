"""The demo's configs and the weights shipped for it. `make demo` itself is the test of the whole chain."""
import numpy as np
import pytest
from PIL import Image

from configs.reading import load_config, section_from
from data.landscape import check_train, find_test, find_train
from demo.photos import write_crops, write_masks
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


def photos(folder):
    """Two photos with label maps, in the challenge's layout; the ids say where a pixel was."""
    for name in ("imgs", "labels"):
        (folder / name).mkdir(parents=True)
    ids = (np.arange(384)[:, None] // 32 + np.arange(512) // 32) % 28
    for stem in ("one", "two"):
        Image.fromarray(np.stack([ids * 8] * 3, -1).astype(np.uint8)).save(folder / "imgs" / f"{stem}.png")
        Image.fromarray(ids.astype(np.uint8)).save(folder / "labels" / f"{stem}.png")
    return find_train(folder)


def test_a_crop_of_a_photo_and_of_its_labels_show_the_same_place(tmp_path):
    pairs, data = photos(tmp_path / "photos"), load_config("demo_photos").data
    write_crops(pairs, tmp_path / "crops", 3, data)
    crops = find_train(tmp_path / "crops")
    check_train(crops, data, progress=False)
    assert [pair.stem for pair in crops] == [f"{stem}_{i:02d}" for stem in ("one", "two") for i in range(3)]
    for pair in crops:
        image, labels = np.asarray(Image.open(pair.image))[..., 0], np.asarray(Image.open(pair.labels))
        assert (abs(image / 8 - labels) < 0.5).mean() > 0.9                    # but for the borders between squares
    whole, part = (np.asarray(Image.open(crops[i].labels)) for i in (0, 1))
    np.testing.assert_array_equal(whole, np.asarray(Image.open(pairs[0].labels)))
    assert not np.array_equal(whole, part)


def test_every_mask_is_painted_once_in_every_style(tmp_path):
    one, two = photos(tmp_path / "photos")
    write_masks([one], [one, two], tmp_path / "test")
    cases = find_test(tmp_path / "test", tmp_path / "photos")
    assert [(case.name, case.reference.stem) for case in cases] == [("one-0.png", "one"), ("one-1.png", "two")]
