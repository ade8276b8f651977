"""Our side of benchmarks/torch_twin.py: forward, guided step, training step, encoding and decoding in Jittor, as test.py and
train.py do them."""
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.turns import serve, timed
from configs.schema import AutoencoderConfig, StageConfig, UNetConfig
from evaluation.networks.inception import build_inception
from evaluation.networks.segformer import build_segformer
from ldm.guidance import guided
from ldm.losses import diffusion_loss
from ldm.schedule import make_schedule
from models.autoencoder import build_autoencoder
from models.cached_unet import CachedUNet
from models.layers import initialise, parameters_of
from models.precision import compute_in
from models.unet import build_unet
from runtime.backend import DEVICE, jt
from runtime.memory import peak_memory
from runtime.processor import multiplies_bfloat16
from training.state import TrainingState

CODING = ("encode", "decode")
SCORERS = {"inception": build_inception, "segformer": build_segformer}


class Ours:
    """The networks of a job: {"unet", "autoencoder", "train": options; "weights", "autoencoder_weights", "inputs": files; "t",
    "scale"}."""

    def __init__(self):
        self.step = None

    def hello(self):
        """What runs here."""
        return {"device": DEVICE, "version": jt.__version__, "multiplies_bfloat16": multiplies_bfloat16()}

    def draw(self, job, what, seed, path):
        """Writes weights drawn by a seed, no layer zero and no norm or bias plain, so that each shows in the outputs."""
        model, rng = network(job, what), np.random.default_rng(seed)
        initialise(model, seed)
        arrays = {name: var.numpy() for name, var in parameters_of(model).items()}
        np.savez(path, **{name: array + 0.1 * rng.standard_normal(array.shape, np.float32) if array.ndim == 1 else array
                          for name, array in arrays.items()})

    def prepare(self, what, job):
        """Makes ready to run `what`, forward, guided, train, encode or decode; nothing is computed yet."""
        if what in SCORERS:
            return self.prepare_scorer(what, job)
        model = network(job, what)
        with np.load(job["autoencoder_weights" if what in CODING else "weights"]) as weights:
            for name, var in parameters_of(model).items():
                var.update(jt.array(weights[name]))
        with np.load(job["inputs"]) as inputs:
            z, z_0, eps, labels, x = (jt.array(inputs[name]) for name in ("z", "z_0", "eps", "labels", "x"))
        compute_in(model, job["precision"], store=what != "train")
        jt.sync([z, z_0, eps, labels, x, *parameters_of(model).values()])
        if what in CODING:
            self.step = lambda: no_grad(model.encode, x) if what == "encode" else no_grad(model.decode, z)
            return
        self.step = {"forward": self.forward, "guided": self.guided, "train": self.train}[what](model, z, z_0, eps, labels, job)

    def prepare_scorer(self, what, job):
        """The same for a network that scores, as evaluate.py runs it."""
        with np.load(job[f"{what}_weights"]) as weights:
            model = SCORERS[what]({name: weights[name] for name in weights.files})
        with np.load(job["inputs"]) as inputs:
            x = jt.array(inputs[what])
        jt.sync([x, *parameters_of(model).values()])
        self.step = lambda: no_grad(model, x)

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


def network(job, what):
    """The network that `what` runs."""
    if what in CODING:
        return build_autoencoder(AutoencoderConfig(**job["autoencoder"]))
    return build_unet(UNetConfig(**job["unet"]))


def no_grad(model, *arguments):
    """model(*arguments) that keeps nothing for a gradient."""
    with jt.no_grad():
        return model(*arguments)


if __name__ == "__main__":
    ours = Ours()
    serve({"hello": ours.hello, "draw": ours.draw, "prepare": ours.prepare, "run": ours.run})
