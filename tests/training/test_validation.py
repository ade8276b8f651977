"""What is measured of painted pictures: the painting itself is replaced by given pictures."""
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from configs.own_classes import ClassConfig, ClassesConfig
from configs.schema import Config
from data.landscape import find_train
from runtime.backend import jt
from training import validation
from training.validation import Painted

N, H, W = 3, 16, 24


@pytest.fixture
def pairs(tmp_path, rng):
    for name, shape, most in (("imgs", (H, W, 3), 256), ("labels", (H, W), 29)):
        (tmp_path / name).mkdir()
        for i in range(N):
            Image.fromarray(rng.integers(0, most, shape, dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    return find_train(tmp_path, [])


class Means:
    """An autoencoder whose latents are means of 4 x 4 pixels."""

    def encode(self, x):
        return jt.array(x.numpy().reshape(len(x), 3, H // 4, 4, W // 4, 4).mean((3, 5)))

    decode = None


def scores(pairs, monkeypatch, painted, classes=None, **options):
    config = Config()
    config.data.classes = classes or config.data.classes
    config.data.height, config.data.width = H, W
    for name, value in options.items():
        setattr(config.train.unet, name, value)
    seen = []

    def given(encode, decode, model, references, labels, names, *rest, **more):
        seen.extend(names)
        return [painted[int(name)] for name in names], None

    monkeypatch.setattr(validation, "synthesise", given)
    monkeypatch.setattr(validation, "CachedUNet", lambda model: model)
    found = Painted(Means(), pairs, np.zeros((N, H // 4, W // 4)), range(1000), config).scores(None)
    assert seen == [pair.stem for pair in pairs]
    return found


def reads_red(monkeypatch):
    """Puts a segmenter in place that takes an image's red for its ids. -> [class names], one for each time it is opened."""
    asked = []
    monkeypatch.setattr(validation, "open_segmenter", lambda path, classes: asked.append(classes.names) or SimpleNamespace(
        measure=lambda image: image[..., 0]))
    return asked


def test_photos_themselves_are_at_distance_0_and_others_are_not(pairs, monkeypatch, rng):
    photos = [np.asarray(Image.open(pair.image)) for pair in pairs]
    same = scores(pairs, monkeypatch, photos)
    other = scores(pairs, monkeypatch, [255 - photo // 2 for photo in photos])
    assert set(same) == {"fid_latents", "S"} and abs(same["fid_latents"]) < 1e-6 < other["fid_latents"]


def test_m_is_the_share_of_the_whole_mask_that_a_segmenter_finds_and_fid_is_inceptions(pairs, monkeypatch):
    masks = [np.asarray(Image.open(pair.labels)) for pair in pairs]
    halves = [np.where(np.arange(W) < W // 2, mask, (mask + 1) % 29).astype(np.uint8) for mask in masks]
    painted = [np.repeat(mask[..., None], 3, 2) for mask in halves]
    reads_red(monkeypatch)
    features = lambda images: np.stack([image.mean((0, 1), dtype=np.float64)[:2] for image in images])
    monkeypatch.setattr(validation, "open_inception", lambda path, mode: SimpleNamespace(measure=features))
    found = scores(pairs, monkeypatch, painted, segmenter="s", inception="i")
    assert set(found) == {"fid", "S", "M"} and found["M"] == pytest.approx(50) and found["fid"] > 0


def test_m_goes_by_ones_own_classes_and_leaves_out_pixels_without_one(pairs, monkeypatch):
    masks = [np.asarray(Image.open(pair.labels)) % 3 for pair in pairs]
    for pair, mask in zip(pairs, masks):
        Image.fromarray(np.where(np.arange(W) < W // 2, mask, 7).astype(np.uint8)).save(pair.labels)     # half has no class
    asked = reads_red(monkeypatch)
    own = ClassesConfig(classes=[ClassConfig(name=name) for name in ("sky", "sea", "land")], ignore_id=7)
    found = scores(pairs, monkeypatch, [np.repeat(mask[..., None], 3, 2) for mask in masks], own, segmenter="s")
    assert found["M"] == 100 and asked == [("sky", "sea", "land")]
