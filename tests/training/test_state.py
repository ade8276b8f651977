import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from configs.schema import StageConfig
from ldm.losses import diffusion_loss
from ldm.schedule import make_schedule
from models.kernels.adamw_ema import adamw_ema
from models.kernels.casting import to, to_float32
from models.layers import parameters_of
from models.unet import build_unet
from models.weights.checkpoint import Header, write_checkpoint
from runtime.backend import jt
from runtime.errors import RunError
from runtime.log import RunLog
from tests.helpers import TINY_UNET, latents_and_labels, on_cpu
from training.state import Training, train

ROWS = 4


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """No lines in the log because a step took long to compile."""
    monkeypatch.setattr("training.state.LOG_SECONDS", 1e9)


class Regression:
    """Finds w in x w = y: a training run without a network."""

    def __init__(self, folder, scaled=False, **options):
        rng = np.random.default_rng(0)
        self.w = rng.standard_normal((5, 2)).astype(np.float32)
        self.parameters = {"w": jt.zeros((5, 2))}
        self.training = Training(self.parameters, StageConfig(**{"lr": 0.05, "ema": 0.9, **options}), adamw_ema, scaled)
        self.log, self.file, self.saved, self.drawn = RunLog(folder), folder / "state.safetensors", [], []

    def batch(self, step):
        x = np.random.default_rng([1, step]).standard_normal((ROWS, 5)).astype(np.float32)
        return x, x @ self.w

    def losses(self, batch, step):
        x, y = map(jt.array, batch)
        squared = ((jt.matmul(x, self.parameters["w"]) - y) ** 2).sum(1)
        return {"loss": squared, "rows": squared * 0 + step}

    def save(self):
        self.saved.append(self.training.n)
        write_checkpoint(self.file, self.training.tensors(), Header(kind="unet", config={}, step=self.training.n))

    def run(self, losses=None, batches=None):
        steps = range(self.training.n, self.training.config.steps)
        train(self.training, map(batches or self.batch, steps), losses or self.losses, self.log, self.save,
              lambda: self.drawn.append(self.training.n), "unet")


def test_the_loss_falls_and_all_is_saved_drawn_and_logged_on_time(tmp_path):
    run = Regression(tmp_path, steps=50, save_every=20, sample_every=15, warmup=2)
    run.run()
    entries = run.log.history("train")
    assert entries[-1]["loss"] < 0.05 * entries[0]["loss"]
    assert run.saved == [20, 40, 50] and run.drawn == [15, 30, 45, 50]
    assert [entry["step"] for entry in entries] == [1, 20, 40, 50]
    assert entries[0]["lr"] == pytest.approx(0.025) and entries[1]["lr"] == pytest.approx(0.05)
    # A line holds the mean over all steps since the one before it.
    assert [entry["rows"] for entry in entries] == pytest.approx([0, 10, 29.5, 44.5])


def test_the_average_and_the_moments_follow_the_weights(tmp_path):
    run = Regression(tmp_path, steps=30, save_every=30, sample_every=30)
    run.run()
    tensors = load_file(run.file)
    assert set(tensors) == {"ema.w", "raw.w", "m.w", "v.w"}
    np.testing.assert_array_equal(tensors["raw.w"], run.parameters["w"].numpy())
    assert run.training.ema.n == run.training.optimizer.n == run.training.n == 30
    assert np.abs(tensors["ema.w"] - run.w).max() < np.abs(run.w).max()
    assert not np.array_equal(tensors["ema.w"], tensors["raw.w"])
    assert tensors["m.w"].any() and (tensors["v.w"] > 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_what_was_saved_stays(tmp_path, bad):
    run = Regression(tmp_path, steps=40, save_every=10, sample_every=100)

    def losses(batch, step):
        values = run.losses(batch, step)
        return {"loss": values["loss"] * jt.array(np.float32(bad if step == 14 else 1)), "rows": values["rows"]}

    with pytest.raises(RunError, match="not finite at or shortly before step 20"):
        run.run(losses)
    tensors = load_file(run.file)
    assert run.saved == [10] and all(np.isfinite(array).all() for array in tensors.values())
    assert run.log.history("train")[-1]["step"] == 10
    again = Regression(tmp_path, steps=40, save_every=10, sample_every=100)       # what was saved is good to go on from
    again.training.restore(tensors, 10)
    again.run()
    assert again.saved == [20, 30, 40]


def test_a_gradient_that_is_not_finite_is_noticed_before_its_weights_are_saved(tmp_path):
    run = Regression(tmp_path, steps=20, save_every=10, sample_every=100)

    def losses(batch, step):       # 0 * sqrt(0): the loss is as before, its slope is infinite times zero
        values = run.losses(batch, step)
        if step == 19:
            w = run.parameters["w"]
            values["loss"] = values["loss"] + jt.sqrt(w - w.detach()).sum()
        return values

    with pytest.raises(RunError, match="weights of w are not finite after step 20"):
        run.run(losses)
    assert math.isfinite(run.log.history("train")[-1]["loss"])
    assert run.saved == [10] and all(np.isfinite(array).all() for array in load_file(run.file).values())


def test_values_set_from_outside_are_the_averages_too_and_stay_trainable(tmp_path):
    run = Regression(tmp_path, steps=20, save_every=20, sample_every=20)
    run.training.set("w", run.w + np.float32(0.5))
    for var in (run.parameters["w"], run.training.ema.average["w"]):
        np.testing.assert_array_equal(var.numpy(), run.w + np.float32(0.5))
    run.run()
    assert not run.parameters["w"].is_stop_grad() and run.training.ema.average["w"].is_stop_grad()
    assert np.abs(run.parameters["w"].numpy() - run.w).max() < 0.4


class Overflowing(Regression):
    """The regression with gradients in float16: those of some steps are infinite at a high scale."""

    def losses(self, batch, step):
        x, y = map(jt.array, batch)
        w = to_float32(to(self.parameters["w"], "float16"))     # its gradient is rounded to float16
        squared = ((jt.matmul(x, w) - y) ** 2).sum(1)
        return {"loss": squared * (1000.0 if step == 3 else 1.0)}


def test_a_step_whose_float16_gradients_overflow_moves_nothing_and_the_run_goes_on(tmp_path):
    run = Overflowing(tmp_path, scaled=True, steps=4, save_every=4, sample_every=100)
    run.training.scale.value = 512.0
    before = {}

    def losses(batch, step):
        before[step] = {name: var.numpy() for name, var in run.training.tensors().items()}
        return run.losses(batch, step)

    run.run(losses)
    after = load_file(run.file)
    for name in ("raw.w", "ema.w", "m.w", "v.w"):
        np.testing.assert_array_equal(after[name], before[3][name], err_msg=name)
        assert not np.array_equal(before[3][name], before[2][name]), name
    training = run.training
    assert training.n == 4 and training.optimizer.n == training.ema.n == 3
    assert training.scale.value == 256 and run.log.history("train")[-1]["skipped"] == 1


def test_a_scaled_run_takes_the_steps_of_an_unscaled_one_and_resumes_as_it_was(tmp_path):
    plain, scaled = (Regression(tmp_path / name, scaled, steps=6, save_every=3, sample_every=100)
                     for name, scaled in (("plain", False), ("scaled", True)))
    plain.run()
    scaled.training.scale.value = 1024.0
    scaled.run()
    for name in ("raw.w", "m.w", "v.w"):
        np.testing.assert_allclose(load_file(scaled.file)[name], load_file(plain.file)[name], rtol=2e-6, atol=1e-9)
    again = Regression(tmp_path / "again", True, steps=6, save_every=3, sample_every=100)
    scaled.training.scale.skipped = 2
    again.training.restore({name: var.numpy() for name, var in scaled.training.tensors().items()}, 6)
    found = again.training
    assert found.scale.value == 1024 and (found.optimizer.n, found.ema.n, found.n) == (4, 4, 6)


class Diffusion:
    """A few steps of the tiny U-Net on latents drawn from the step's number."""

    def __init__(self, path, seed=0):
        self.path, self.model, self.schedule = path, build_unet(TINY_UNET, seed=seed), make_schedule()
        self.config = StageConfig(steps=5, lr=1e-3, warmup=2, decay=True, weight_decay=0.01, save_every=100,
                                  sample_every=100)
        self.training = Training(parameters_of(self.model), self.config, adamw_ema)

    def losses(self, step, _):
        rng = np.random.default_rng(step)
        z, labels = latents_and_labels(rng)
        t, eps = rng.integers(1000, size=2), rng.standard_normal(z.shape, dtype=np.float32)
        return diffusion_loss(self.model, jt.array(z), jt.array(labels), t, jt.array(eps), self.schedule)

    def run(self, end):
        log = RunLog(self.path.parent / self.path.stem)
        train(self.training, range(self.training.n, end), self.losses, log, lambda: None, lambda: None, "unet")
        write_checkpoint(self.path, self.training.tensors(), Header(kind="unet", config={}, step=self.training.n))
        return load_file(self.path)


@on_cpu
def test_training_in_one_go_equals_stopping_and_going_on_bit_for_bit(tmp_path):
    whole = Diffusion(tmp_path / "whole.safetensors").run(5)
    first = Diffusion(tmp_path / "first.safetensors").run(2)
    second = Diffusion(tmp_path / "second.safetensors", seed=9)                   # other weights, which are replaced
    second.training.restore(first, 2)
    resumed = second.run(5)
    assert whole.keys() == resumed.keys() and len(whole) == 4 * len(parameters_of(second.model))
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)
    changed = {kind: sum(not np.array_equal(whole[name], first[name]) for name in whole if name.startswith(kind))
               for kind in ("ema.", "raw.", "m.", "v.")}
    assert all(count == len(whole) / 4 for count in changed.values()), changed


@on_cpu
def test_a_step_of_a_network_leaves_nothing_behind(tmp_path):
    run, living = Diffusion(tmp_path / "run.safetensors"), []
    for step in range(4):
        loss = run.losses(step, step)["loss"]
        run.training.step(loss.sum())
        del loss
        living.append(jt.liveness_info()["lived_vars"])
    assert len(set(living[1:])) == 1, living
