"""What a rank does in the tests of several processes: mpirun -np 2 python -m tests.training.two WHAT FOLDER."""
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np


def run_of(folder, steps, save=100):
    """A Run of the tiny U-Net with drawn weights, its batches and their losses."""
    from configs.schema import Config, StageConfig
    from ldm.losses import diffusion_loss
    from ldm.schedule import make_schedule
    from runtime.backend import jt
    from tests.helpers import latents_and_labels, tiny_unet
    from training.ranks import ranks_here
    from training.run import Run
    config = Config()
    config.train.run = str(folder)
    config.train.unet = StageConfig(steps=steps, batch_size=4, lr=1e-3, weight_decay=0.01, ema=0.99, save_every=save,
                                    sample_every=steps)
    model, schedule = tiny_unet(), make_schedule("linear", 1000)
    run = Run(config, "unet", model, ranks=ranks_here())
    run.start(resume=True)

    def make_batch(step):
        rng = np.random.default_rng([7, step])
        z, labels = latents_and_labels(rng, 4)
        return z, labels, rng.integers(1000, size=4), rng.standard_normal(z.shape, dtype=np.float32)

    def losses(z, labels, t, eps):
        return diffusion_loss(model, jt.array(z), jt.array(labels), t, jt.array(eps), schedule)

    return run, make_batch, losses


def gradient(folder):
    """The first reduced gradient of the whole batch, saved by process 0."""
    from training.run import rows_of_batch
    run, make_batch, losses = run_of(folder, 1)
    loss = losses(*rows_of_batch(make_batch(0), run.ranks.rank, run.ranks.size))["loss"]
    found = run.ranks.mean(run.state.optimizer.gradients(loss.sum() / len(loss), None))
    found = [(g * 1.0).stop_grad() for g in found]
    from runtime.backend import jt
    jt.sync(found)
    if run.writes:
        np.savez(Path(folder) / "gradient.npz", **{name: g.numpy() for name, g in zip(run.state.parameters, found)})


def sgd(folder):
    """The weights after 20 steps of plain gradient descent, saved by process 0."""
    from runtime.backend import jt
    from training.run import rows_of_batch
    run, make_batch, losses = run_of(folder, 1)
    for step in range(20):
        loss = losses(*rows_of_batch(make_batch(step), run.ranks.rank, run.ranks.size))["loss"]
        found = run.ranks.mean(run.state.optimizer.gradients(loss.sum() / len(loss), None))
        for p, g in zip(run.state.parameters.values(), found):
            p.update(p - 0.01 * g)
        jt.sync(list(run.state.parameters.values()))
        jt.sync_all()
    if run.writes:
        np.savez(Path(folder) / "sgd.npz", **{name: p.numpy() for name, p in run.state.parameters.items()})


def train(folder, steps):
    """The loop; every process saves its weights at the end."""
    run, make_batch, losses = run_of(folder, int(steps))
    for batch in run.batches(make_batch):
        run.step(losses(*batch))
        if run.due("save"):
            run.save({"val_loss": 1.0})
    np.savez(Path(folder) / f"rank{run.ranks.rank}.npz", **{name: p.numpy() for name, p in run.state.parameters.items()})


def fail(folder, how):
    """Process 1 ends, or stalls, in the midst of the steps, the other goes on."""
    from training import ranks
    ranks.PATIENCE = 5 if how == "stalled" else ranks.PATIENCE
    run, make_batch, losses = run_of(folder, 1000)
    for batch in run.batches(make_batch):
        run.step(losses(*batch))
        if run.steps_done == 6:
            print("sixth step", flush=True)
            if run.ranks.rank == 1 and how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if run.ranks.rank == 1 and how == "raised":
                raise ZeroDivisionError("of the test")
            if run.ranks.rank == 1 and how == "stalled":
                os.kill(os.getpid(), signal.SIGSTOP)
            if run.ranks.rank == 1 and how == "asked":
                os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)


if __name__ == "__main__":
    from runtime.errors import run_script
    from training.ranks import ranks_here
    ranks_here()
    run_script(lambda argv: globals()[argv[0]](*argv[1:]), sys.argv[1:])
