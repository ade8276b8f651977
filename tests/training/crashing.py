"""A small run to be killed at any moment, and the bits it must end with however often that happens.

    python -m tests.training.crashing FOLDER              trains in FOLDER, or goes on there
    python -m tests.training.crashing --kills 25          kills it so often with SIGKILL and compares (make crash-test)
    python -m tests.training.crashing --kills 25 --processes 2      the same under mpirun: one of the two is killed
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


def train(folder, steps):
    """Finds w in x w = y, steps of about 0.1 s, saved every second step."""
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
    config.train.unet = StageConfig(steps=steps, batch_size=ROWS, lr=0.05, ema=0.9, save_every=2, sample_every=steps, keep=2)
    model = Regression()
    run = Run(config, "unet", model, ranks=ranks_here())
    run.start(resume=True)
    print("begins at", run.steps_done, "pid", os.getpid(), flush=True)
    for x, y in run.batches(make_batch):
        run.step({"loss": ((jt.matmul(jt.array(x), model.w) - jt.array(y)) ** 2).sum(1)})
        if run.steps_done == 1:
            print("stepped", flush=True)
        time.sleep(0.1)
        if run.due("save"):
            run.save({"val_loss": 1 / run.steps_done})


def command(folder, processes=1, steps=STEPS):
    """How the run is started."""
    mpirun = str(Path(sys.executable).with_name("mpirun"))
    launch = [mpirun, "-np", str(processes), "--oversubscribe", "--bind-to", "none"] if processes > 1 else []
    return [*launch, sys.executable, "-m", "tests.training.crashing", str(folder), "--steps", str(steps)]


def begin(folder, processes=1, steps=STEPS):
    """Starts the run and waits until all its processes say where they begin. -> what was started; its `pids` are theirs."""
    root = {f"{name}_ALLOW_RUN_AS_ROOT{end}": "1" for name in ("OMPI", "PRTE") for end in ("", "_CONFIRM")}
    environ = {**os.environ, **root, "nvcc_path": "", "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    process = subprocess.Popen(command(folder, processes, steps), cwd=ROOT, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True, env=environ)
    process.pids = []
    for line in process.stdout:
        if line.startswith("begins"):
            process.pids.append(int(line.split()[-1]))
            if len(process.pids) == processes:
                return process
    raise AssertionError(process.stderr.read())


def killed(folder, kills, seed, processes=1, steps=STEPS):
    """Kills the run so often, one process of it, at moments drawn from the seed, then lets it end. -> its state's tensors."""
    moments = random.Random(seed)
    for _ in range(kills):
        process = begin(folder, processes, steps)
        time.sleep(moments.uniform(0, 1.5))
        os.kill(moments.choice(process.pids), signal.SIGKILL)
        process.communicate()
        assert process.returncode, "killed, and yet it ended well"
    return ended(folder, processes, steps)


def ended(folder, processes=1, steps=STEPS):
    """Lets the run end. -> its state's tensors."""
    process = begin(folder, processes, steps)
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
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    if args.folder:
        from runtime.errors import run_script
        return run_script(lambda _: train(args.folder, args.steps))
    with tempfile.TemporaryDirectory() as parent:
        steps = max(STEPS, 16 * args.kills)                  # or the run would be at its end before the kills are
        whole = ended(Path(parent) / "whole", args.processes, steps)
        interrupted = killed(Path(parent) / "killed", args.kills, 0, args.processes, steps)
        bits = "the same" if same(whole, interrupted) else "OTHER"
        print(f"{args.kills} kills, processes: {args.processes}, steps: {steps}: the final state has {bits} bits")
        sys.exit(bits == "OTHER")


if __name__ == "__main__":
    main()
