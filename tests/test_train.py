"""train.py as a user runs it, in processes of its own: both stages on 12 synthetic pairs, with the tiny networks."""
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file

from configs.reading import load_config
from data.synthetic import write_dataset
from runtime.log import RunLog
from tests.helpers import ROOT, TINY_AUTOENCODER, TINY_UNET

STEPS = 4
STAGES = ("autoencoder", "unet")


def options(folder, **more):
    """--set arguments for the tiny networks and a run that keeps everything in `folder`."""
    values = {"data.height": 48, "data.width": 64, "data.cache": folder / "latents", "train.run": folder / "run",
              "autoencoder.path": folder / "autoencoder.safetensors"}
    for section, config in (("autoencoder", TINY_AUTOENCODER), ("unet", TINY_UNET)):
        values.update({f"{section}.{name}": value for name, value in vars(config).items() if name != "path"})
    stage_options = {"init_from": "", "steps": STEPS, "batch_size": 2, "save_every": 2, "sample_every": STEPS, "keep": 9,
                     "lr": 1.0e-3, "decay": True}
    for stage in STAGES:
        values.update({f"train.{stage}.{name}": value for name, value in stage_options.items()})
    values.update({"train.autoencoder.crop": 32, "train.autoencoder.codebook_start": 3, **more})
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def command(data, folder, *arguments, **more):
    """The command line of a run in `folder`."""
    return [sys.executable, "train.py", "--config", "mini", "--input_path", str(data), *options(folder, **more),
            *arguments]


def run(*arguments, **more):
    """Runs train.py to its end: exit status, stderr."""
    done = subprocess.run(command(*arguments, **more), cwd=ROOT, capture_output=True, text=True, timeout=900)
    return done.returncode, done.stderr


def killed(data, folder, appears, *arguments):
    """Runs train.py and kills it as soon as the file `appears` is there."""
    with open(folder / "output.txt", "w") as output:
        process = subprocess.Popen(command(data, folder, *arguments), cwd=ROOT, stdout=output, stderr=output)
        try:
            end = time.monotonic() + 900
            while not appears.exists() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.002)
        finally:
            process.kill()
            process.wait()
    assert appears.exists() and process.returncode == -9, (folder / "output.txt").read_text()


def problems(status_and_stderr):
    """The lines of a user's mistake: exit status 2, nothing else but lines that begin with error:."""
    status, stderr = status_and_stderr
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert status == 2 and lines and "Traceback" not in stderr, stderr
    return lines


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A training folder of 12 pairs, 64 x 48."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, train=12, test=0, width=64, height=48, progress=False)
    return folder / "train"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("trained")
    status, stderr = run(data, folder)
    assert status == 0, stderr
    return folder


def final(folder):
    """{file: its tensors} of all that a run ends with."""
    names = ["autoencoder.safetensors"] + [f"run/{name}" for stage in STAGES for name in (
        f"checkpoints/{stage}-{STEPS:08d}.safetensors", f"{stage}/state.safetensors")]
    return {name: load_file(folder / name) for name in names}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_leaves_its_log_curve_pictures_and_checkpoints(trained, stage):
    log = RunLog(trained / "run" / stage)
    steps = [entry["step"] for entry in log.history("train")]
    assert {1, 2, STEPS} <= set(steps) and steps == sorted(steps)     # and more where a step takes long to compile
    assert all(np.isfinite(entry["loss"]) and entry["stage"] == stage for entry in log.history("train"))
    assert [np.isfinite(entry["val_loss"]) for entry in log.history("validate")] == [True, True]
    for name in ("loss.png", f"samples/{STEPS:08d}.png"):
        with Image.open(trained / "run" / stage / name) as picture:
            assert picture.convert("RGB").getextrema() != ((255, 255),) * 3 and min(picture.size) > 60
    found = sorted(path.name for path in (trained / "run" / "checkpoints").glob(f"{stage}-*"))
    assert found == [f"{stage}-00000002.safetensors", f"{stage}-00000004.safetensors"]


def test_a_run_records_the_config_it_was_run_with(trained):
    config = load_config(trained / "run" / "config.yaml")
    assert config.unet == TINY_UNET and config.train.unet.steps == STEPS and config.data.width == 64
    assert yaml.safe_load((trained / "run" / "config.yaml").read_text())["train"]["run"] == str(trained / "run")


def test_weights_that_a_run_writes_load_into_the_networks_and_have_moved(trained):
    from models.autoencoder import build_autoencoder
    from models.unet import build_unet
    from models.weights.checkpoint import load_checkpoint, read_header, weights_hash
    autoencoder = build_autoencoder(TINY_AUTOENCODER)
    load_checkpoint(autoencoder, trained / "autoencoder.safetensors")
    path = trained / "run" / "checkpoints" / f"unet-{STEPS:08d}.safetensors"
    header = read_header(path, "unet")
    assert header.step == STEPS and header.extra == {"autoencoder": weights_hash(autoencoder)}
    hashes = set()
    for weights in ("ema", "raw"):
        unet = build_unet(TINY_UNET)
        load_checkpoint(unet, path, weights)
        hashes.add(weights_hash(unet))
    assert len(hashes) == 2 and weights_hash(build_unet(TINY_UNET, seed=header.config["train"]["seed"])) not in hashes


def test_a_run_killed_in_each_stage_and_resumed_ends_with_the_same_tensors(data, trained, tmp_path):
    unet_state = tmp_path / "run" / "unet" / "state.safetensors"
    killed(data, tmp_path, tmp_path / "run" / "checkpoints" / "autoencoder-00000002.safetensors")
    killed(data, tmp_path, unet_state, "--resume")
    status, stderr = run(data, tmp_path, "--resume")
    assert status == 0, stderr
    # The run went on from its second step: what comes after it was logged by the process that ended.
    assert [entry["step"] for entry in RunLog(unet_state.parent).history("train")] == [1, 2, 3, 4]
    for name, expected in final(trained).items():
        found = load_file(tmp_path / name)
        assert found.keys() == expected.keys()
        for tensor in expected:
            assert found[tensor].tobytes() == expected[tensor].tobytes(), (name, tensor)


def test_a_finished_run_is_not_begun_again_by_accident(data, trained):
    before = final(trained)
    (line,) = problems(run(data, trained))
    assert f"{trained / 'run' / 'unet'}: has a run at step {STEPS}; --resume goes on with it" in line
    assert "--set train.run=runs/OTHER starts another" in line
    for name, tensors in final(trained).items():
        assert all(np.array_equal(tensors[key], before[name][key]) for key in before[name])


def test_resuming_with_another_learning_rate_names_the_option(data, trained):
    (line,) = problems(run(data, trained, "--resume", **{"train.unet.lr": 5.0e-4}))
    assert "train.unet.lr was 0.001, now 0.0005; expected the same to resume" in line


def broken(data, folder, change):
    """A copy of the training folder with one thing wrong."""
    copy = folder / "train"
    shutil.copytree(data, copy)
    change(copy)
    return copy


def wrong_id(copy):
    path = copy / "labels" / "train_00003.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[5, 7] = 29
    cv2.imwrite(str(path), labels)


@pytest.mark.parametrize("change, expected", [
    (lambda copy: (copy / "labels" / "train_00003.png").unlink(), ["train_00003.jpg", "no mask of this image"]),
    (lambda copy: (copy / "imgs" / "train_00003.jpg").unlink(), ["train_00003.png", "no image of this mask"]),
    (wrong_id, ["train_00003.png", "29"]),
    (lambda copy: shutil.rmtree(copy / "imgs"), ["--input_path", "imgs/"]),
    (lambda copy: shutil.rmtree(copy), ["--input_path", "no such folder"])])
def test_wrong_data_is_one_line_before_anything_starts(data, tmp_path, change, expected):
    (line,) = problems(run(broken(data, tmp_path, change), tmp_path))
    assert all(part in line for part in expected), line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments, expected", [
    (["--set", "unet.chanels=64"], "unet.chanels is not an option; did you mean unet.channels?"),
    (["--set", "train.unet.lr=fast"], "train.unet.lr is 'fast', expected float"),
    (["--set", "data.width=60"], "60x48 is the image size, expected multiples of 8"),
    (["--config", "iidmm"], "iidmm: no such config; configs/ has"),
    (["--stage", "unet"], "no such file, expected the autoencoder's weights; --stage autoencoder makes them")])
def test_a_wrong_option_is_one_line(data, tmp_path, arguments, expected):
    (line,) = problems(run(data, tmp_path, *arguments))
    assert expected in line, line
    assert not (tmp_path / "run").exists()
