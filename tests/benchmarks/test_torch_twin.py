"""benchmarks/torch_twin.py: what it refuses, whose turn it is, that our side computes what the networks compute, and, where
TORCH_PYTHON names a Python with PyTorch, that PyTorch's side computes the same."""
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml

from benchmarks import torch_twin
from runtime.errors import RunError, run_script
from tests.helpers import ROOT, TINY_AUTOENCODER, TINY_UNET, on_cpu

TORCH = os.environ.get("TORCH_PYTHON")
TRAIN = {"lr": 1.0e-4, "ema": 0.9999}
LINES = {"forward": 1e-4, "guided": 6e-4, "train": 1e-5, "encode": 1e-4, "decode": 1e-4}


@pytest.mark.parametrize("arguments, said", [
    (["--repeats", "0"], "--repeats is 0, expected at least 1"),
    (["--threads", "-1"], "--threads is -1, expected at least 1"),
    (["--full", "--config", "small"], "--full and --config small: expected one of them"),
    (["--what", "forward,backward"], "--what: 'backward' is not one of forward, guided, train, encode, decode"),
    (["--dtypes", "float16"], "--dtypes: 'float16' is not one of float32, bfloat16"),
    (["--modes", "fast"], "--modes: 'fast' is not one of eager, compile"),
    (["--torch_python", "no/such/python"], "--torch_python: no/such/python does not run (No such file or directory)"),
    (["--torch_python", "/bin/false"], "--torch_python: /bin/false cannot import torch and numpy (status 1)"),
    ([], "--torch_python: not given, and "),
])
def test_what_a_user_can_get_wrong_is_one_line_and_status_2(arguments, said, capsys, monkeypatch):
    monkeypatch.delenv("TORCH_PYTHON", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as exit_:
        run_script(torch_twin.main, arguments)
    out, err = capsys.readouterr()
    assert exit_.value.code == 2 and out == "" and err.startswith(f"error: {said}") and err.count("\n") == 1


class Fake:
    """A side that computes nothing: its output and seconds are given."""

    def __init__(self, name, out, seconds, log):
        self.name, self.out, self.seconds, self.log = name, out, iter(seconds), log

    def __enter__(self):
        self.log.append(f"{self.name} begins")
        return self

    def __exit__(self, *error):
        self.log.append(f"{self.name} ends")

    def ask(self, do, save=None, **arguments):
        self.log.append(f"{self.name} {do}")
        if do != "run":
            return {"settings": {"mode": "eager", "layout": "contiguous"}, "tried": []}
        np.save(save, self.out)
        return {"seconds": next(self.seconds), "cpu_seconds": 1.0, "peak_gb": 1.0}


def bench(tmp_path, log, *arguments):
    """A Bench of two fake sides, whose outputs differ by 0.5."""
    made = object.__new__(torch_twin.Bench)
    made.args, made.folder, made.job, made.modes = torch_twin.parse(["--repeats", "3", *arguments]), tmp_path, {}, ["eager"]
    made.about, made.about_torch = ({"device": "cpu", "version": "1", "multiplies_bfloat16": False} for _ in range(2))
    made.ours = lambda: Fake("ours", np.array([2.0, 4.0]), [9, 1, 6, 2], log)          # the first run is not counted
    made.torch = lambda: Fake("torch", np.array([2.0, 4.5]), [9, 4, 3, 8], log)
    return made


def test_the_two_take_turns_and_the_medians_are_compared(tmp_path):
    log = []
    row = bench(tmp_path, log).row("forward", "float32")
    runs = [line for line in log if line.endswith("run")]
    assert runs[-6:] == ["ours run", "torch run"] * 3 and len(runs) == 8
    assert (row["ours_seconds"], row["torch_seconds"], row["ratio"]) == (2, 4, 0.5)
    assert row["ours_peak_gb"] == row["torch_peak_gb"] == 1.0
    assert row["max_difference"] == 0.5 and row["in_turns"] and "last_difference" not in row
    line = torch_twin.markdown([row]).splitlines()[-1]
    assert line == "| forward | float32 | float32 | 2 | 4 | 0.50 | 0.5 | eager, contiguous |"


@pytest.mark.parametrize("device, native, what, ours", [
    ("cpu", False, "forward", "float32"), ("cpu", True, "forward", "bfloat16"), ("cpu", True, "train", "bfloat16"),
    ("cuda", False, "train", "bfloat16")])
def test_ours_is_in_bfloat16_where_the_machine_computes_with_it(device, native, what, ours, tmp_path):
    asked, made = [], bench(tmp_path, [])
    made.about.update(device=device, multiplies_bfloat16=native)
    sides = made.ours
    made.ours = lambda: noting(sides(), asked)
    row = made.row(what, "bfloat16")
    assert row["ours"]["dtype"] == ours and [given["job"]["precision"] for do, given in asked if do == "prepare"] == [ours]


def noting(side, asked):
    """A side whose questions are noted as (what, its arguments)."""
    ask = side.ask
    side.ask = lambda do, **given: asked.append((do, given)) or ask(do, **given)
    return side


@pytest.mark.parametrize("what, arguments", [("train", ["--full"]), ("forward", ["--apart"])])
def test_what_does_not_fit_beside_each_other_is_never_in_memory_together(what, arguments, tmp_path):
    log = []
    row = bench(tmp_path, log, *arguments).row(what, "bfloat16")
    assert log.index("ours ends") < log.index("torch begins") and not row["in_turns"]
    assert (row["ours_seconds"], row["torch_seconds"]) == (2, 4)
    assert row["max_difference"] == (0.125 if what == "train" else 0.5), "losses are compared relatively"


@pytest.mark.parametrize("difference, dtype, fails", [(9e-5, "float32", False), (2e-4, "float32", True),
                                                      (float("nan"), "float32", True), (2e-4, "bfloat16", False)])
def test_outputs_that_differ_in_float32_are_a_failure_after_the_rows(difference, dtype, fails, monkeypatch, capsys):
    row = {"what": "forward", "dtype": dtype, "max_difference": difference}
    monkeypatch.setattr(torch_twin, "Bench", lambda *given: type("", (), {"row": lambda self, what, dtype: row})())
    monkeypatch.setattr(torch_twin, "find_torch", lambda python: python)
    run = lambda: torch_twin.main(["--what", "forward", "--dtypes", dtype])
    if fails:
        with pytest.raises(RunError, match="forward: outputs differ by .*, expected less than 0.0001"):
            run()
    else:
        run()
    assert json.loads(capsys.readouterr().out)["what"] == "forward"


@on_cpu
def test_our_side_computes_what_the_network_the_guidance_and_the_loss_compute(tmp_path, rng):
    from benchmarks.twin_jittor import Ours
    from ldm.guidance import guided
    from ldm.losses import diffusion_loss
    from ldm.schedule import make_schedule
    from models.autoencoder import build_autoencoder
    from models.unet import build_unet
    from models.weights.checkpoint import fill
    from runtime.backend import jt
    job = {"unet": dataclasses.asdict(TINY_UNET), "weights": str(tmp_path / "w.npz"), "inputs": str(tmp_path / "i.npz"),
           "autoencoder": dataclasses.asdict(TINY_AUTOENCODER), "autoencoder_weights": str(tmp_path / "a.npz"),
           "t": [500, 0], "scale": 3.5, "train": TRAIN, "precision": "float32"}
    z, z_0, eps = (rng.standard_normal((2, 3, 8, 12), dtype=np.float32) for _ in range(3))
    labels = rng.integers(-1, 29, (2, 8, 12)).astype(np.int32)
    x = rng.uniform(-1, 1, (2, 3, 32, 48)).astype(np.float32)
    np.savez(job["inputs"], z=z, z_0=z_0, eps=eps, labels=labels, x=x)
    ours = Ours()
    ours.draw(job, "forward", seed=3, path=job["weights"])
    ours.draw(job, "encode", seed=3, path=job["autoencoder_weights"])
    autoencoder = build_autoencoder(TINY_AUTOENCODER)
    fill(autoencoder, dict(np.load(job["autoencoder_weights"])), "drawn")
    model = build_unet(TINY_UNET)
    fill(model, dict(np.load(job["weights"])), "drawn")
    assert all(np.abs(var.numpy()).max() > 0 for var in model.parameters()), "what is zero would hide what is before it"
    with jt.no_grad():
        expected = {"encode": autoencoder.encode(jt.array(x)).numpy(), "decode": autoencoder.decode(jt.array(z)).numpy(),
                    "forward": model(jt.array(z), 500, jt.array(labels)).numpy(),
                    "guided": guided(model, 3.5)(jt.array(z), 500, jt.array(labels)).numpy(),
                    "train": diffusion_loss(model, jt.array(z_0), jt.array(labels), [500, 0], jt.array(eps),
                                            make_schedule("linear", 1000))["loss"].numpy()}
    for what in torch_twin.WHATS:
        ours.prepare(what, job)
        taken = ours.run(tmp_path / "first.npy")
        ours.run(tmp_path / "again.npy")
        first, again = np.load(tmp_path / "first.npy"), np.load(tmp_path / "again.npy")
        np.testing.assert_allclose(first, expected[what], atol=2e-5, rtol=1e-5, err_msg=what)
        assert taken["seconds"] > 0 and taken["peak_gb"] > 0.01
        assert (again < first).all() if what == "train" else (again == first).all(), "training moves the weights, and down"


@pytest.mark.skipif(not TORCH, reason="TORCH_PYTHON names no Python with PyTorch")
def test_pytorch_computes_the_same_forward_guided_step_and_losses(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({"data": {"height": 32, "width": 48}, "unet": dataclasses.asdict(TINY_UNET),
                                      "autoencoder": dataclasses.asdict(TINY_AUTOENCODER)}))
    options = "--batch 2 --modes eager --repeats 2 --tries 1 --dtypes float32 --markdown".split()
    command = [sys.executable, "-m", "benchmarks.torch_twin", "--torch_python", TORCH, "--config", config, *options]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "IIDM_DEVICE": "cpu"}, capture_output=True, text=True,
                          timeout=1800)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    assert [row["what"] for row in rows] == list(LINES) and len(lines) == 5 + 2 + 5
    for row in rows:
        assert row["max_difference"] < LINES[row["what"]], row
        assert row["ratio"] == pytest.approx(row["ours_seconds"] / row["torch_seconds"])
        assert min(way["seconds"] for way in row["torch"]["tried"]) > 0, row
    # After two steps of AdamW at 1e-4 the losses have moved; they have moved alike.
    assert rows[2]["last_difference"] < 1e-4
