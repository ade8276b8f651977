"""train.py --stage tiny on the tiny networks: what it imitates, how it resumes, that rounds go through it."""
import numpy as np
import pytest
from safetensors.numpy import load_file

import test as painting
import train
from models.weights.checkpoint import IMITATES, read_header, weights_hash
from models.weights.ranking import ranked
from runtime.errors import UserError
from runtime.log import RunLog
from tests.helpers import TINY_UNET, on_cpu, tiny_autoencoder
from tests.training.test_distil import place  # noqa: F401 (a fixture)

OPTIONS = {"data.height": 32, "data.width": 48, "data.validation": 2, "data.flip": False, "tiny.channels": 8,
           "tiny.res_blocks": 1, "train.tiny.steps": 4, "train.tiny.batch_size": 2, "train.tiny.crop": 16,
           "train.tiny.lr": 0.01, "train.tiny.decay": False, "train.tiny.warmup": 0, "train.tiny.ema": 0.5,
           "train.tiny.save_every": 2, "train.tiny.sample_every": 4,
           **{f"unet.{name}": value for name, value in vars(TINY_UNET).items()}}


def imitate(folder, run, *more):
    """Runs train.py."""
    options = {**OPTIONS, "train.run": run, "autoencoder.path": folder / "autoencoder.safetensors"}
    train.main(["--input_path", str(folder / "train"), "--stage", "tiny",
                *(word for name, value in options.items() for word in ("--set", f"{name}={value}")), *more])


@pytest.fixture(scope="module")
@on_cpu
def imitated(place):  # noqa: F811
    """The folder of a run of four steps."""
    imitate(place, place / "runs" / "tiny")
    return place / "runs" / "tiny"


def test_it_says_whom_it_imitates_and_comes_nearer(imitated):
    (path, header), *_ = ranked(imitated, "tiny")
    assert header.kind == "tiny" and header.extra == {IMITATES: weights_hash(tiny_autoencoder())}
    log = RunLog(imitated / "tiny")
    losses = [entry["loss"] for entry in log.history("train")]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert {"val_latent", "val_image", "val_psnr"} <= set(log.history("validate")[-1])
    assert (imitated / "tiny" / "samples" / "00000004.png").is_file()
    with pytest.raises(UserError, match="holds the weights of tiny, expected autoencoder"):
        read_header(path, "autoencoder")


@on_cpu
def test_a_run_that_goes_on_ends_with_the_same_bits(place, imitated):  # noqa: F811
    parts = place / "runs" / "tiny-parts"
    imitate(place, parts, "--set", "train.tiny.steps=2")
    imitate(place, parts, "--resume")
    states = [load_file(folder / "tiny" / "state.safetensors") for folder in (imitated, parts)]
    assert all(states[0][name].tobytes() == states[1][name].tobytes() for name in states[0])


@on_cpu
def test_rounds_go_through_it_but_not_the_first_image_nor_the_last(place, imitated):  # noqa: F811
    file = ranked(imitated, "tiny")[0][0]

    def paint(name, *more):
        rounds = "[{t_start: 300, steps: 2}, {t_start: 200, steps: 1}]"
        painting.main([str(part) for part in (
            "--input_path", place / "test", "--img_path", place / "train", "--output_path", place / name, "--checkpoint",
            place / "unet.safetensors", "--limit", 1, "--set", f"sampling.rounds={rounds}", *more)])
        return next((place / name).glob("*.jpg")).read_bytes()

    between = ("--set", f"sampling.between={file}")
    assert paint("real") != paint("between", *between)
    assert paint("one", "--rounds", 1) == paint("one-between", "--rounds", 1, *between)
    with pytest.raises(UserError, match="weights was"):
        paint("real", *between)


def test_one_that_imitates_another_is_refused(place, imitated, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match="not a checkpoint of train.py --stage tiny"):
        run(place, place / "label.txt")
    with pytest.raises(UserError, match="holds the weights of unet, expected tiny"):
        run(place, place / "unet.safetensors")


def run(place, file):  # noqa: F811
    """Paints with a file between rounds."""
    if not file.exists():
        file.write_text("nothing that is a checkpoint")
    painting.main([str(part) for part in (
        "--input_path", place / "test", "--img_path", place / "train", "--output_path", place / "refused", "--checkpoint",
        place / "unet.safetensors", "--limit", 1, "--set", f"sampling.between={file}")])
