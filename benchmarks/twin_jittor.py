"""Our side of benchmarks/torch_twin.py: forward, guided step and training step in Jittor, as test.py and train.py do them."""
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.turns import serve, timed
from configs.schema import StageConfig, UNetConfig
from ldm.guidance import guided
from ldm.losses import diffusion_loss
from ldm.schedule import make_schedule
from models.cached_unet import CachedUNet
from models.layers import initialise, parameters_of
from models.precision import compute_in
from models.unet import build_unet
from runtime.backend import DEVICE, jt
from runtime.memory import peak_memory
from runtime.processor import multiplies_bfloat16
from training.state import TrainingState


class Ours:
    """The U-Net of a job: {"unet", "train": options; "weights", "inputs": files; "t", "scale"}."""

    def __init__(self):
        self.step = None

    def hello(self):
        """What runs here."""
        return {"device": DEVICE, "version": jt.__version__, "multiplies_bfloat16": multiplies_bfloat16()}

    def draw(self, unet, seed, path):
        """Writes weights drawn by a seed, no layer zero and no norm or bias plain, so that each shows in the outputs."""
        model, rng = build_unet(UNetConfig(**unet)), np.random.default_rng(seed)
        initialise(model, seed)
        arrays = {name: var.numpy() for name, var in parameters_of(model).items()}
        np.savez(path, **{name: array + 0.1 * rng.standard_normal(array.shape, np.float32) if array.ndim == 1 else array
                          for name, array in arrays.items()})

    def prepare(self, what, job):
        """Makes ready to run `what`, forward, guided or train; nothing is computed yet."""
        model = build_unet(UNetConfig(**job["unet"]))
        with np.load(job["weights"]) as weights:
            for name, var in parameters_of(model).items():
                var.update(jt.array(weights[name]))
        with np.load(job["inputs"]) as inputs:
            z, z_0, eps, labels = (jt.array(inputs[name]) for name in ("z", "z_0", "eps", "labels"))
        compute_in(model, job["precision"], store=what != "train")
        jt.sync([z, z_0, eps, labels, *parameters_of(model).values()])
        self.step = {"forward": self.forward, "guided": self.guided, "train": self.train}[what](model, z, z_0, eps, labels, job)

    def forward(self, model, z, z_0, eps, labels, job):
        """One call without gradient."""
        return lambda: no_grad(model, z, job["t"][0], labels)

    def guided(self, model, z, z_0, eps, labels, job):
        """A guided step; what depends on the mask alone is made in the first."""
        way = guided(CachedUNet(model), job["scale"])
        return lambda: no_grad(way, z, job["t"][0], labels)

    def train(self, model, z, z_0, eps, labels, job):
        """A training step, which returns its losses (B,)."""
        state = TrainingState(parameters_of(model), StageConfig(**job["train"]))
        schedule = make_schedule("linear", 1000)

        def step():
            loss = diffusion_loss(model, z_0, labels, np.array(job["t"]), eps, schedule)["loss"]
            state.step(loss.sum() / loss.shape[0])
            return loss.detach()
        return step

    def run(self, save=None):
        """Runs once. save: a file for what came out."""
        seconds, cpu, out = timed(self.waited, lambda: jt.sync_all(True))
        if save:
            np.save(save, out.numpy())
        return {"seconds": seconds, "cpu_seconds": cpu, "peak_gb": peak_memory() / 1e9}

    def waited(self):
        """One step, computed when this returns."""
        out = self.step()
        jt.sync([out])
        return out


def no_grad(model, *arguments):
    """model(*arguments) that keeps nothing for a gradient."""
    with jt.no_grad():
        return model(*arguments)


if __name__ == "__main__":
    ours = Ours()
    serve({"hello": ours.hello, "draw": ours.draw, "prepare": ours.prepare, "run": ours.run})
