"""The loop as the trainers write it, on a regression instead of a network."""
import math
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from configs.schema import Config, StageConfig
from models.kernels.casting import to, to_float32
from models.weights.ranking import ranked, score
from runtime.backend import jt, nn
from runtime.errors import RunError
from training.adamw import AdamW
from training.run import Run

ROWS = 4


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """No lines in the log because a step took long to compile."""
    monkeypatch.setattr("training.meter.LOG_SECONDS", 1e9)


class Regression(nn.Module):
    """Finds w in x w = y."""

    def __init__(self):
        self.w = jt.zeros((5, 2))
        self._true = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)

    def batch(self, step):
        x = np.random.default_rng([1, step]).standard_normal((ROWS, 5)).astype(np.float32)
        return step, x, x @ self._true

    def losses(self, step, x, y):
        squared = ((jt.matmul(jt.array(x), self.w) - jt.array(y)) ** 2).sum(1)
        return {"loss": squared, "rows": squared * 0 + step}


class Overflowing(Regression):
    """The regression with gradients in float16: those of step 3 are infinite at a high scale."""

    def losses(self, step, x, y):
        w = to_float32(to(self.w, "float16"))     # its gradient is rounded to float16
        squared = ((jt.matmul(jt.array(x), w) - jt.array(y)) ** 2).sum(1)
        return {"loss": squared * (1000.0 if step == 3 else 1.0)}


def begun(folder, model, resume=False, precision="float32", **options):
    """A Run that has started."""
    config = Config()
    config.train.run, config.train.unet = str(folder), StageConfig(**{"lr": 0.05, "ema": 0.9, **options})
    run = Run(config, "unet", model, precision=precision)
    run.start(resume)
    return run


def train(run, losses=None):
    """The loop of Algorithm 1: ([steps saved], [steps drawn])."""
    saved, drawn = [], []
    for batch in run.batches(run.model.batch):
        run.step((losses or run.model.losses)(*batch))
        if run.due("save"):
            run.save({"val_loss": 1 / run.steps_done})
            saved.append(run.steps_done)
        if run.due("sample"):
            drawn.append(run.steps_done)
    return saved, drawn


def test_the_loss_falls_and_all_is_saved_drawn_and_logged_on_time(tmp_path):
    run = begun(tmp_path, Regression(), steps=50, save_every=20, sample_every=15, warmup=2)
    assert train(run) == ([20, 40, 50], [15, 30, 45, 50])
    entries = run.log.history("train")
    assert entries[-1]["loss"] < 0.05 * entries[0]["loss"]
    assert [entry["step"] for entry in entries] == [1, 20, 40, 50]
    assert list(entries[0]) == ["kind", "stage", "step", "lr", "ema_decay", "loss", "rows", "steps_per_second", "data_seconds",
                                "compute_seconds", "images_per_second", "memory_gb"]
    assert entries[0]["ema_decay"] == pytest.approx(2 / 11) and 0.01 < entries[0]["memory_gb"] < 100
    assert 0 < entries[1]["hours_left"] < 1 and entries[-1]["hours_left"] == 0
    assert entries[0]["lr"] == pytest.approx(0.025) and entries[1]["lr"] == pytest.approx(0.05)
    # A line holds the mean over all steps since the one before it.
    assert [entry["rows"] for entry in entries] == pytest.approx([0, 10, 29.5, 44.5])


def test_the_losses_of_each_quarter_of_the_timesteps_are_logged_apart(tmp_path):
    run = begun(tmp_path, Regression(), steps=3, save_every=3, sample_every=100)
    ids = np.array([[0, 0, 2, 2], [2, 0, 2, 2], [0, 3, 2, 2]])           # none of the second quarter
    seen = []
    for step, x, y in run.batches(run.model.batch):
        losses = run.model.losses(step, x, y)
        seen.append(losses["loss"].numpy())
        run.step(losses, quarters=ids[step])
    first, last = run.log.history("train")
    assert first["loss_q1"] == pytest.approx(seen[0][:2].mean()) and "loss_q4" not in first
    assert "loss_q2" not in last and last["loss_q4"] == pytest.approx(seen[2][1])
    later, ids = np.concatenate(seen[1:]), np.concatenate(ids[1:])
    assert last["loss_q3"] == pytest.approx(later[ids == 2].mean())


def test_training_goes_on_while_a_state_is_written_and_what_is_written_is_that_steps(tmp_path, monkeypatch):
    run = begun(tmp_path, Regression(), steps=6, save_every=3, sample_every=100)
    gate, order, write = threading.Event(), [], run.saved.write
    monkeypatch.setattr(run.saved, "write", lambda *args: (gate.wait(60), order.append("written"), write(*args)))
    for batch in run.batches(run.model.batch):
        run.step(run.model.losses(*batch))
        order.append(run.steps_done)
        if run.steps_done == 3:
            run.save({"val_loss": 1.0})
            kept = run.model.w.numpy()
        if run.steps_done == 5:
            gate.set()
    assert order.index("written") > order.index(5)
    np.testing.assert_array_equal(load_file(run.state_file)["raw.w"], kept)
    assert not np.array_equal(kept, run.model.w.numpy())


def test_what_is_done_between_steps_is_not_in_their_time(tmp_path):
    run = begun(tmp_path, Regression(), steps=4, save_every=2, sample_every=100)
    for batch in run.batches(run.model.batch):
        run.step(run.model.losses(*batch))
        if run.due("save"):
            time.sleep(1)                                    # validation
            run.save({"val_loss": 1.0})
    last = run.log.history("train")[-1]
    assert last["step"] == 4 and 0 < last["compute_seconds"] < 0.4 and last["steps_per_second"] > 2


def test_a_disk_that_is_full_while_training_goes_on_ends_it_with_what_is_needed(tmp_path, monkeypatch):
    run = begun(tmp_path, Regression(), steps=400, save_every=2, sample_every=1000)

    def full(*args):
        raise RunError("needs 3 GB")

    monkeypatch.setattr(run.saved, "write", full)
    with pytest.raises(RunError, match="needs 3 GB"):
        train(run)
    assert run.steps_done < 400


def test_where_memory_for_a_copy_is_short_training_waits_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("training.writer.available_memory", lambda: 0)
    run = begun(tmp_path, Regression(), steps=4, save_every=2, sample_every=100)
    for batch in run.batches(run.model.batch):
        run.step(run.model.losses(*batch))
        if run.due("save"):
            run.save({"val_loss": 1.0})
            np.testing.assert_array_equal(load_file(run.state_file)["raw.w"], run.model.w.numpy())


def test_the_average_and_the_moments_follow_the_weights(tmp_path):
    run = begun(tmp_path, Regression(), steps=30, save_every=30, sample_every=30)
    train(run)
    tensors, true, weights = load_file(run.state_file), run.model._true, run.model.w.numpy()
    assert set(tensors) == {"ema.w", "raw.w", "m.w", "v.w"}
    np.testing.assert_array_equal(tensors["raw.w"], weights)
    assert run.state.ema.n == run.state.optimizer.n == run.steps_done == 30
    assert np.abs(tensors["ema.w"] - true).max() < np.abs(true).max()
    assert not np.array_equal(tensors["ema.w"], weights)
    assert tensors["m.w"].any() and (tensors["v.w"] > 0).all()
    with run.averaged_weights():
        np.testing.assert_array_equal(run.model.w.numpy(), tensors["ema.w"])
        with pytest.raises(AssertionError, match="averaged_weights"):
            run.save({})                                     # it would write the average as the weights
    np.testing.assert_array_equal(run.model.w.numpy(), weights)


def test_the_newest_and_the_best_checkpoints_stay(tmp_path):
    run = begun(tmp_path, Regression(), steps=6, save_every=100, sample_every=100, keep=2, keep_best=1)
    for batch in run.batches(run.model.batch):
        run.step(run.model.losses(*batch))
        run.save({"val_loss": abs(run.steps_done - 2.4)})
    assert [header.step for _, header in ranked(tmp_path)] == [2, 5, 6]


def test_a_run_goes_on_where_it_was_saved_and_its_log_with_it(tmp_path):
    whole = begun(tmp_path / "whole", Regression(), steps=8, save_every=4, sample_every=100)
    train(whole)
    first = begun(tmp_path / "parts", Regression(), steps=8, save_every=4, sample_every=100)
    for batch in first.batches(first.model.batch):
        first.step(first.model.losses(*batch))
        if first.steps_done == 4:
            first.save({"val_loss": 0.0})
        if first.steps_done == 6:
            first.log_losses()                               # a line past what was saved
            break
    second = begun(tmp_path / "parts", Regression(), resume=True, steps=8, save_every=4, sample_every=100)
    assert second.steps_done == 4 and train(second) == ([8], [8])
    assert [entry["step"] for entry in second.log.history("train")] == [1, 4, 5, 8]
    expected = load_file(whole.state_file)
    for name, array in load_file(second.state_file).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_what_was_saved_stays(tmp_path, bad):
    options = dict(steps=40, save_every=10, sample_every=100)
    run = begun(tmp_path, Regression(), **options)

    def losses(step, x, y):
        values = run.model.losses(step, x, y)
        return {"loss": values["loss"] * jt.array(np.float32(bad if step == 14 else 1)), "rows": values["rows"]}

    with pytest.raises(RunError, match="not finite at or shortly before step 20"):
        train(run, losses)
    assert [header.step for _, header in ranked(tmp_path)] == [10]
    assert all(np.isfinite(array).all() for array in load_file(run.state_file).values())
    assert run.log.history("train")[-1]["step"] == 10
    again = begun(tmp_path, Regression(), resume=True, **options)                 # what was saved is good to go on from
    assert train(again)[0] == [20, 30, 40]


def test_a_gradient_that_is_not_finite_is_noticed_before_its_weights_are_saved(tmp_path):
    run = begun(tmp_path, Regression(), steps=20, save_every=10, sample_every=100)

    def losses(step, x, y):        # 0 * sqrt(0): the loss is as before, its slope is infinite times zero
        values = run.model.losses(step, x, y)
        if step == 19:
            w = run.model.w
            values["loss"] = values["loss"] + jt.sqrt(w - w.detach()).sum()
        return values

    with pytest.raises(RunError, match="weights of w are not finite after step 20"):
        train(run, losses)
    assert math.isfinite(run.log.history("train")[-1]["loss"])
    assert [header.step for _, header in ranked(tmp_path)] == [10]
    assert all(np.isfinite(array).all() for array in load_file(run.state_file).values())


def test_values_assigned_from_outside_are_the_averages_too_and_stay_trainable(tmp_path):
    run = begun(tmp_path, Regression(), steps=20, save_every=20, sample_every=20)
    begin = run.model._true + np.float32(0.5)
    run.state.assign("w", begin)
    for var in (run.model.w, run.state.ema.average["w"]):
        np.testing.assert_array_equal(var.numpy(), begin)
    train(run)
    assert not run.model.w.is_stop_grad() and run.state.ema.average["w"].is_stop_grad()
    assert np.abs(run.model.w.numpy() - run.model._true).max() < 0.4


def test_a_step_whose_float16_gradients_overflow_moves_nothing_and_the_run_goes_on(tmp_path):
    run = begun(tmp_path, Overflowing(), precision="float16", steps=4, save_every=4, sample_every=100)
    run.state.loss_scale.value = 512.0
    before = {}

    def losses(step, x, y):
        before[step] = {name: var.numpy() for name, var in run.state.tensors().items()}
        return run.model.losses(step, x, y)

    train(run, losses)
    after = load_file(run.state_file)
    for name in ("raw.w", "ema.w", "m.w", "v.w"):
        np.testing.assert_array_equal(after[name], before[3][name], err_msg=name)
        assert not np.array_equal(before[3][name], before[2][name]), name
    state, line = run.state, run.log.history("train")[-1]
    assert state.steps_done == 4 and state.optimizer.n == state.ema.n == 3
    assert state.loss_scale.value == line["loss_scale"] == 256 and line["skipped"] == 1


def test_a_scaled_run_takes_the_steps_of_an_unscaled_one_and_resumes_as_it_was(tmp_path):
    options = dict(steps=6, save_every=3, sample_every=100)
    plain = begun(tmp_path / "plain", Regression(), **options)
    scaled = begun(tmp_path / "scaled", Regression(), precision="float16", **options)
    scaled.state.loss_scale.value = 1024.0
    train(plain)
    train(scaled)
    for name in ("raw.w", "m.w", "v.w"):
        np.testing.assert_allclose(load_file(scaled.state_file)[name], load_file(plain.state_file)[name], rtol=2e-6, atol=1e-9)
    again = begun(tmp_path / "again", Regression(), precision="float16", **options).state
    scaled.state.loss_scale.skipped = 2
    again.restore({name: var.numpy() for name, var in scaled.state.tensors().items()}, 6)
    assert again.loss_scale.value == 1024 and (again.optimizer.n, again.ema.n, again.steps_done) == (4, 4, 6)


def test_a_batch_in_parts_takes_the_steps_of_the_whole_one(tmp_path):
    options = dict(steps=6, save_every=3, sample_every=100, batch_size=ROWS, clip=1.0)
    whole = begun(tmp_path / "whole", Rows(), **options)
    parts = begun(tmp_path / "parts", Rows(), accumulate=2, **options)
    assert train(whole) == train(parts) == ([3, 6], [6])
    for name, array in load_file(whole.state_file).items():
        np.testing.assert_allclose(load_file(parts.state_file)[name], array, rtol=1e-5, atol=1e-7, err_msg=name)
    assert parts.state.optimizer.n == parts.steps_done == 6 and parts.state.optimizer.total is None
    one, two = (run.log.history("train")[-1] for run in (whole, parts))
    assert two["gradient_norm"] == pytest.approx(one["gradient_norm"]) and two["loss"] == pytest.approx(one["loss"])


def test_clipping_is_a_smaller_gradient_and_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    p, g = (rng.standard_normal((5, 2)).astype(np.float32) for _ in range(2))
    norm = float(np.linalg.norm(g))
    for clip, factor in ((norm / 4, 0.25), (norm * 4, 1.0)):
        a, b = jt.array(p), jt.array(p)
        clipped, plain = AdamW({"p": a}), AdamW({"p": b})
        clipped.step((a * jt.array(g)).sum(), 0.1, clip=clip)
        plain.step((b * jt.array(g * np.float32(factor))).sum(), 0.1)
        assert clipped.norm == pytest.approx(norm, rel=1e-6)
        for name in ("m", "v"):
            np.testing.assert_allclose(getattr(clipped, name)["p"].numpy(), getattr(plain, name)["p"].numpy(), rtol=1e-5)


def test_several_averages_are_kept_resumed_and_the_one_given_is_saved(tmp_path):
    options = dict(steps=8, save_every=4, sample_every=100, more_ema=[0.5, 0.0])
    run = begun(tmp_path, Regression(), **options)
    for batch in run.batches(run.model.batch):
        run.step(run.model.losses(*batch))
        if run.due("save"):
            run.save({"val_loss": 1.0}, run.state.averages[2])
    path, header = ranked(tmp_path)[0]
    assert header.metrics["ema"] == 0.0
    np.testing.assert_array_equal(load_file(path)["w"], run.model.w.numpy())       # a length of 0 is the weights themselves
    again = begun(tmp_path, Regression(), resume=True, **options).state
    for ours, theirs in zip(again.averages, run.state.averages):
        np.testing.assert_array_equal(ours.average["w"].numpy(), theirs.average["w"].numpy())
        assert ours.n == theirs.n == 8


def test_checkpoints_are_ranked_by_what_the_config_says():
    better, worse = {"val_loss": 0.2, "fid_latents": 1.0, "S": 0.3}, {"val_loss": 0.1, "fid_latents": 2.0, "S": 0.1}
    for best_by in ("auto", "fid", "S"):
        assert score(better, best_by) < score(worse, best_by)
    assert score(worse, "val_loss") < score(better, "val_loss")
    assert score({"val_loss": 0.1}) < score({"val_loss": 0.2}) < score({})


class Rows(Regression):
    """The regression without the step's number among the batch, whose every item has rows."""

    def batch(self, step):
        return super().batch(step)[1:]

    def losses(self, x, y):
        return {"loss": ((jt.matmul(jt.array(x), self.w) - jt.array(y)) ** 2).sum(1)}
