"""What the version before wrote (tests/data/before): a checkpoint, a run and a results folder, in its own words.

Pictures and losses are of the code of then, on another machine perhaps: they may differ as machines round.
"""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import test
import train
from configs.reading import config_from, config_yaml
from models.weights.checkpoint import read_header
from runtime.errors import UserError
from tests.helpers import ROOT, on_cpu

BEFORE = ROOT / "tests/data/before"
CHECKPOINT = "run/checkpoints/unet-00000002.safetensors"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A copy of the folder to work in: what it wrote of itself has relative paths."""
    shutil.copytree(BEFORE, tmp_path / "before")
    monkeypatch.chdir(tmp_path / "before")
    return tmp_path / "before"


def paint(output, *more):
    """test.py into a folder, with the settings of then."""
    test.main(["--input_path", "data/test", "--img_path", "data/train", "--output_path", output, "--checkpoint", CHECKPOINT,
               *more])


def pixels(path):
    """An image as integers."""
    return np.asarray(Image.open(path)).astype(int)


def test_a_checkpoint_says_in_todays_words_what_it_said_in_others():
    config = config_from(read_header(BEFORE / CHECKPOINT, "unet").config)
    first, second, third = config.sampling.rounds
    assert (first.t_start, first.steps, first.t_noise, first.spacing) == (40, 3, 60, "uniform")
    assert (second.t_start, second.steps, second.spacing, second.sampler) == (58, 3, "logsnr", "unipc")
    assert third.timesteps == [50, 33, 16, 0] and third.sampler == "ddpm"      # 60 of 1000 were not evenly spaced
    assert config.train.unet.mask_dropout == 0.3


@pytest.mark.parametrize("path", sorted((ROOT / "demo/weights").rglob("*.safetensors")), ids=lambda path: path.stem)
def test_every_checkpoint_in_the_repository_is_read(path):
    assert config_from(read_header(path).config, whole=False).sampling.rounds


@on_cpu
def test_a_results_folder_is_gone_on_with_and_only_the_missing_image_is_painted(work, capsys):
    files = lambda: {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in Path("results").glob("*.jpg")}
    kept = files()
    assert sorted(path.name for path in kept) == ["test_00000.jpg", "test_00002.jpg"]
    paint("results")
    assert "1 of 3 images to paint, 10 steps" in capsys.readouterr().out
    assert kept.items() <= files().items()
    assert np.abs(pixels("results/test_00001.jpg") - pixels("painted/test_00001.jpg")).max() <= 2
    (work / "results/test_00000.jpg").unlink()
    paint("results")                                                           # now in the words of today
    assert np.abs(pixels("results/test_00000.jpg") - pixels(BEFORE / "results/test_00000.jpg")).max() <= 2


def test_a_results_folder_of_other_rounds_is_refused(work):
    with pytest.raises(UserError, match="results: sampling was"):
        paint("results", "--rounds", "2")


@on_cpu
def test_a_run_is_resumed_and_goes_on_as_it_did_then(work):
    now = config_from(read_header("run/unet/state.safetensors", "unet").config, ["train.unet.steps=4"])
    Path("now.yaml").write_text(config_yaml(now))
    train.main(["--input_path", "data/train", "--config", "now.yaml", "--resume"])
    assert read_header("run/checkpoints/unet-00000004.safetensors", "unet").step == 4
    entries = lambda path: map(json.loads, Path(path).read_text().splitlines())
    losses, then = ([entry["loss"] for entry in entries(path) if entry["kind"] == "train"]
                    for path in ("run/unet/log.jsonl", "then.jsonl"))
    assert len(losses) == len(then) == 4
    np.testing.assert_allclose(losses, then, rtol=1e-3)
