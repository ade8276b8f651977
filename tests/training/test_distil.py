"""train.py --stage distil on the tiny networks: what a student is, how it resumes, what paints with it."""
import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file

import ensemble
import test as painting
import train
from configs.reading import config_dict, load_config
from data.synthetic import write_dataset
from models.layers import parameters_of
from models.weights.checkpoint import TAUGHT, Header, read_header, weights_hash, write_checkpoint
from models.weights.ranking import ranked
from runtime.errors import UserError
from runtime.log import RunLog
from sampling.networks import find_checkpoint
from tests.helpers import TINY_AUTOENCODER, TINY_UNET, on_cpu, tiny_autoencoder, tiny_unet

CONFIG = """
data: {height: 32, width: 48, validation: 2, flip: false}
train:
  distil: {steps: 3, batch_size: 2, lr: 1.0e-3, decay: false, ema: 0.5, save_every: 1, sample_every: 3, keep: 9}
sampling:
  rounds:
    - {sampler: distilled, t_start: 598, steps: 2, timesteps: [598, 250], guidance: 3.0}
    - {sampler: distilled, t_start: 300, steps: 1, guidance: 2.0}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pairs, networks of drawn weights and the config of a student."""
    folder = tmp_path_factory.mktemp("distil")
    write_dataset(folder, train=20, test=2, width=48, height=32, progress=False)
    config = load_config("iidm")
    config.autoencoder = dataclasses.replace(TINY_AUTOENCODER, path=str(folder / "autoencoder.safetensors"))
    config.unet, config.data.height, config.data.width = TINY_UNET, 32, 48
    autoencoder = tiny_autoencoder()
    extra = {"autoencoder": weights_hash(autoencoder)}
    tree = config_dict(config)
    write_checkpoint(folder / "autoencoder.safetensors", parameters_of(autoencoder), Header("autoencoder", tree))
    write_checkpoint(folder / "unet.safetensors", parameters_of(tiny_unet()), Header("unet", tree, 1, extra=extra))
    (folder / "student.yaml").write_text(CONFIG)
    return folder


def distil(place, run, *more):
    """Runs train.py."""
    options = {"train.run": run, "data.cache": place / "latents", "autoencoder.path": place / "autoencoder.safetensors",
               "train.distil.teacher": place / "unet.safetensors", **{f"unet.{k}": v for k, v in vars(TINY_UNET).items()}}
    train.main(["--input_path", str(place / "train"), "--config", str(place / "student.yaml"), "--stage", "distil",
                *(word for name, value in options.items() for word in ("--set", f"{name}={value}")), *more])


@pytest.fixture(scope="module")
@on_cpu
def student(place):
    """The folder of a run of three steps."""
    distil(place, place / "runs" / "whole")
    return place / "runs" / "whole"


def test_a_student_is_a_unet_that_says_what_it_was_taught(place, student):
    (path, header), *_ = ranked(student, "distil")
    known = header.extra[TAUGHT]
    assert read_header(path, "unet").step == header.step and known["teacher"] == weights_hash(tiny_unet())
    assert [one["timesteps"] for one in known["rounds"]] == [[598.0, 250.0], []]
    assert (student / "distil" / "samples" / "00000003.png").is_file()


def test_it_moves_from_its_teacher_and_its_losses_are_logged(place, student):
    log = RunLog(student / "distil")
    assert all(np.isfinite([entry["loss"], entry["z_0_error"]]).all() for entry in log.history("train"))
    assert [entry["step"] for entry in log.history("validate")] == [1, 2, 3]
    taught, teacher = load_file(student / "checkpoints" / "distil-00000003.safetensors"), load_file(place / "unet.safetensors")
    moved = [name for name in teacher if not np.array_equal(taught[name], teacher[name])]
    assert len(moved) > 0.9 * len(teacher)


@on_cpu
def test_a_run_that_goes_on_ends_with_the_same_bits(place, student):
    distil(place, place / "runs" / "parts", "--set", "train.distil.steps=2")
    distil(place, place / "runs" / "parts", "--resume")
    states = [load_file(folder / "distil" / "state.safetensors") for folder in (student, place / "runs" / "parts")]
    assert states[0].keys() == states[1].keys()
    assert all(states[0][name].tobytes() == states[1][name].tobytes() for name in states[0])
    with pytest.raises(UserError, match="was taught other rounds"):
        distil(place, place / "runs" / "parts", "--resume", "--set", "train.distil.teacher_steps=1")


def test_what_cannot_be_taught_is_said_before_anything_is_trained(place, student):
    with pytest.raises(UserError, match="train.distil.teacher is empty"):
        distil(place, place / "runs" / "none", "--set", "train.distil.teacher=")
    with pytest.raises(UserError, match="is a student itself"):
        path = student / "checkpoints" / "distil-00000003.safetensors"
        distil(place, place / "runs" / "none", "--set", f"train.distil.teacher={path}")
    (place / "plain.yaml").write_text(CONFIG.replace("distilled", "ddim"))
    with pytest.raises(UserError, match="sampler is ddim, expected distilled in every round"):
        distil(place, place / "runs" / "none", "--config", str(place / "plain.yaml"))


@on_cpu
def test_it_paints_by_its_own_rounds_alone_and_is_averaged_with_its_like(place, student, monkeypatch, capsys):
    always = ["--input_path", place / "test", "--img_path", place / "train", "--output_path", place / "results", "--limit", 1]
    paint = lambda *more: painting.main([str(part) for part in (*always, *more)])
    ensemble.main(["--run", str(student), "--top", "2"])
    monkeypatch.chdir(place)
    assert find_checkpoint().name == "ensemble.safetensors"
    paint()
    assert "3 steps and 3 network evaluations each" in capsys.readouterr().out
    with pytest.raises(UserError, match="a student, round 1 is unipc"):
        paint("--config", "iidm_fast", "--overwrite")
    with pytest.raises(UserError, match="these weights are no student's"):
        paint("--checkpoint", place / "unet.safetensors", "--config", "iidm_turbo", "--overwrite")
    (student / "checkpoints" / "ensemble.safetensors").unlink()
    assert find_checkpoint() == ranked("runs/parts", "distil")[0][0]                 # the newest run's
