"""A data set of one's own from end to end: 7 classes in colours, pixels without a class, photos of 640x360."""
import csv
import json

import numpy as np
import pytest
import yaml
from PIL import Image

import evaluate
import test
import train
from data import prepare
from data.landscape import read_labels
from models.weights.checkpoint import read_header
from studio.classes import classes as palette
from tests.helpers import ROOT, TINY_SEGMENTER, TINY_UNET
from tests.test_train import options

COLOURS = ("#8000ff", "#00a000", "#707070", "#0000c0", "#c0a060", "#ff8000", "#ffffff")
NAMES = ("sky", "forest", "rock", "lake", "beach", "roof", "snow")
NOTHING = (0, 0, 0)


def scene(rng):
    """A photo and its mask in colours, uint8 (360, 640, 3) each: bands and boxes of classes, a box without one."""
    colours = np.array([[int(c[i:i + 2], 16) for i in (1, 3, 5)] for c in COLOURS], np.uint8)
    ids = np.repeat(rng.permutation(7)[:6], 60)[:, None].repeat(640, 1)
    mask = colours[ids]
    mask[100:200, 50:50 + int(rng.integers(100, 300))] = NOTHING
    return np.clip(mask.astype(int) + rng.integers(-40, 40, mask.shape), 0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with photos/ and masks/, a test folder in the same colours, and classes.yaml."""
    folder, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for name in ("photos", "masks", "test/labels"):
        (folder / name).mkdir(parents=True)
    for i in range(10):
        photo, mask = scene(rng)
        Image.fromarray(photo).save(folder / f"photos/{i}.jpg", quality=95)
        Image.fromarray(mask).save(folder / f"masks/{i}.png")
    for i in range(2):
        Image.fromarray(scene(rng)[1]).save(folder / f"test/labels/t{i}.png")
    (folder / "test/label_to_img.json").write_text(json.dumps({"t0.png": "3.jpg", "t1.png": "4.jpg"}))
    entries = [{"name": name, "chinese": "", "colour": colour} for name, colour in zip(NAMES, COLOURS)]
    (folder / "classes.yaml").write_text(yaml.safe_dump({"classes": entries, "colour_masks": True, "ignore_colour": "#000000"}))
    return folder


def test_own_classes_are_prepared_trained_painted_and_scored(work, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    own = work / "train"
    prepare.main(["--images", str(work / "photos"), "--labels", str(work / "masks"), "--output", str(own),
                  "--classes", str(work / "classes.yaml"), "--size", "128x72"])
    assert (own / "legend.png").is_file() and (own / "dropped.txt").read_text() == ""
    assert set(np.unique(np.asarray(Image.open(own / "labels/0.png")))) <= {*range(7), 255}

    sizes = {"data.height": 72, "data.width": 128, "data.classes": own / "classes.yaml", "unet.classes": 7,
             "segmenter.classes": 7, "train.unet.sample_every": 2, "train.unet.steps": 2, "train.autoencoder.steps": 2,
             "train.autoencoder.codebook_start": 1, "train.autoencoder.sample_every": 2}
    given = ["--config", "mini", "--input_path", str(own), *options(work, **sizes)]
    train.main(given)
    tiny = [word for name, value in vars(TINY_SEGMENTER).items() if name != "classes"
            for word in ("--set", f"segmenter.{name}={value}")]
    short = [word for name, value in {"steps": 2, "batch_size": 2, "save_every": 2, "sample_every": 2}.items()
             for word in ("--set", f"train.segmenter.{name}={value}")]
    train.main([*given, "--stage", "segmenter", *tiny, *short])

    (work / "classes.yaml").unlink()                                           # what follows takes them from the checkpoints
    (own / "classes.yaml").unlink()
    (checkpoint,) = (work / "run/checkpoints").glob("unet-*2.safetensors")
    (segmenter,) = (work / "run/checkpoints").glob("segmenter-*2.safetensors")
    header = read_header(checkpoint)
    assert [entry["name"] for entry in header.config["data"]["classes"]["classes"]] == list(NAMES)
    rounds = "sampling.rounds=[{t_start: 600, steps: 2}, {t_start: 300, steps: 1}]"
    common = ["--input_path", str(work / "test"), "--img_path", str(own)]
    test.main([*common, "--output_path", str(work / "results"), "--checkpoint", str(checkpoint), "--set", rounds,
               "--set", "sampling.colour_transfer=class_cielab"])
    assert all(Image.open(work / f"results/t{i}.jpg").size == (128, 72) for i in range(2))

    evaluate.main(["--gen", str(work / "results"), *common, "--segmenter", str(segmenter), "--size", "128x72",
                   "--json", str(work / "scores/scores.json"), "--per_image", str(work / "images.csv")])
    scores = json.loads((work / "scores/scores.json").read_text())
    assert scores["classes"] == list(NAMES) and "S" in str(scores)
    with open(work / "images.csv", newline="") as stream:
        assert all(0 <= float(row["M(own-segformer)"]) <= 100 for row in csv.DictReader(stream))
    evaluate.main(["--gen", str(work / "results"), *common, "--size", "128x72", "--json", str(work / "scores/again.json")])
    assert json.loads((work / "scores/again.json").read_text())["classes"] == list(NAMES)      # of the folder's manifest


def test_pixels_without_a_class_are_minus_one_in_training_and_painting_and_the_studio_offers_them(work):
    from configs.reading import config_from
    from data.landscape import find_train
    from data.latents import build_or_open
    own = {"classes": [{"name": name, "colour": colour} for name, colour in zip(NAMES, COLOURS)], "colour_masks": True,
           "ignore_colour": "#000000"}
    data = config_from({"data": {"height": 72, "width": 128, "classes": own}, "autoencoder": {"channel_mult": [1, 1, 1]},
                        "unet": {"channel_mult": [1, 1]}}).data
    pairs = find_train(work / "train")
    latents = build_or_open(pairs, data, 4, lambda images: np.zeros((len(images), 3, 18, 32), np.float32), "none",
                            work / "labels-only", progress=False)
    expected = read_labels(pairs[0].labels, 18, 32, data.class_set)
    assert (expected == -1).any() and TINY_UNET.classes == 29
    np.testing.assert_array_equal(latents.label_maps(np.array([0]))[0], expected)
    shown = palette(data.class_set)
    assert [entry["name"] for entry in shown] == [*NAMES, "no class"] and shown[-1]["id"] == 255
