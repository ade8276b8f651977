"""A small run to be killed at any moment, and the bits it must end with however often that happens.

    python -m tests.training.crashing FOLDER              trains in FOLDER, or goes on there
    python -m tests.training.crashing --kills 25          kills it so often with SIGKILL and compares (make crash-test)
"""
import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

STEPS, ROWS = 60, 4
ROOT = Path(__file__).resolve().parent.parent.parent


def train(folder):
    """Finds w in x w = y, 60 steps of about 0.1 s, saved every second step."""
    from configs.schema import Config, StageConfig
    from runtime.backend import jt, nn
    from training.ranks import ranks_here
    from training.run import Run

    class Regression(nn.Module):
        def __init__(self):
            self.w = jt.zeros((500, 400))

    true = np.random.default_rng(0).standard_normal((500, 400)).astype(np.float32)

    def make_batch(step):
        x = np.random.default_rng([1, step]).standard_normal((ROWS, 500)).astype(np.float32)
        return x, x @ true

    config = Config()
    config.train.run = str(folder)
    config.train.unet = StageConfig(steps=STEPS, batch_size=ROWS, lr=0.05, ema=0.9, save_every=2, sample_every=STEPS, keep=2)
    model = Regression()
    run = Run(config, "unet", model, ranks=ranks_here())
    run.start(resume=True)
    print("begins at", run.steps_done, flush=True)
    for x, y in run.batches(make_batch):
        run.step({"loss": ((jt.matmul(jt.array(x), model.w) - jt.array(y)) ** 2).sum(1)})
        if run.steps_done == 1:
            print("stepped", flush=True)
        time.sleep(0.1)
        if run.due("save"):
            run.save({"val_loss": 1 / run.steps_done})


def command(folder, launcher=()):
    """How the run is started."""
    return [*launcher, sys.executable, "-m", "tests.training.crashing", str(folder)]


def begin(folder, launcher=()):
    """Starts the run and waits until it says where it begins. -> its process."""
    process = subprocess.Popen(command(folder, launcher), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True, env={**os.environ, "nvcc_path": ""})
    for line in process.stdout:
        if line.startswith("begins"):
            return process
    raise AssertionError(process.stderr.read())


def killed(folder, kills, seed, launcher=()):
    """Kills the run so often, at moments drawn from the seed, then lets it end. -> its state's tensors."""
    moments = random.Random(seed)
    for _ in range(kills):
        process = begin(folder, launcher)
        time.sleep(moments.uniform(0, 1.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return ended(folder, launcher)


def ended(folder, launcher=()):
    """Lets the run end. -> its state's tensors."""
    process = begin(folder, launcher)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return load_file(Path(folder) / "unet" / "state.safetensors")


def same(a, b):
    """Whether two states have the same bits."""
    return a.keys() == b.keys() and all(np.array_equal(a[name].view(np.uint8), b[name].view(np.uint8)) for name in a)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--kills", type=int)
    args = parser.parse_args()
    if args.folder:
        from runtime.errors import run_script
        return run_script(lambda _: train(args.folder))
    with tempfile.TemporaryDirectory() as parent:
        whole = ended(Path(parent) / "whole")
        interrupted = killed(Path(parent) / "killed", args.kills, seed=0)
        print(f"{args.kills} kills: the final state has {'the same' if same(whole, interrupted) else 'OTHER'} bits")
        sys.exit(not same(whole, interrupted))


if __name__ == "__main__":
    main()
