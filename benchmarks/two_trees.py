"""This checkout beside another one, an earlier commit's say, in one run: forward, guided step, training step of one U-Net,
encoding and decoding of one autoencoder.

    git worktree add ../before 354bf5e
    python -m benchmarks.two_trees ../before --config mid

Both compute with the same weights, inputs and timesteps, in turns. Prints a line of JSON each: seconds (medians), those of them
that building the graph takes before anything is computed, the operators that run in a step, the greatest difference of what
comes out (of losses, relative). Timesteps change from step to step, as they do when a picture is painted.
"""
import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.turns import Side
from configs.reading import config_dict, load_config
from runtime.errors import UserError, run_script

ROOT = Path(__file__).resolve().parents[1]
WHATS = ("forward", "guided", "train", "encode", "decode")

# What runs in either checkout, on benchmarks/twin_jittor.py as it is there; options that one does not know are left out.
SERVER = """
import dataclasses, time
from benchmarks import twin_jittor
from benchmarks.turns import serve
from configs.schema import AutoencoderConfig, StageConfig, UNetConfig
from runtime.backend import jt

def known(kind, options):
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in options.items() if name in names}

class Tree(twin_jittor.Ours):
    def prepare(self, what, job):
        self.job = {**job, "unet": known(UNetConfig, job["unet"]), "train": known(StageConfig, job["train"]),
                    "autoencoder": known(AutoencoderConfig, job["autoencoder"])}
        super().prepare(what, self.job)

    def run(self, t, save=None):
        self.job["t"][:] = [t] * len(self.job["t"])
        return super().run(save)

    def waited(self):
        start = time.perf_counter()
        out = self.step()
        self.built = time.perf_counter() - start
        jt.sync([out])
        return out

    def operators(self, t):
        with jt.profile_scope() as report:
            self.run(t)
        count = report[0].index("Count")
        return sum(int(row[count]) for row in report[1:])

tree = Tree()
serve({"draw": tree.draw, "prepare": tree.prepare, "operators": tree.operators,
       "run": lambda t, save: {**tree.run(t, save), "built": tree.built}})
"""


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_trees", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the other checkout's folder")
    parser.add_argument("--config", default="mini", help="whose U-Net (default: mini)")
    parser.add_argument("--what", nargs="+", default=WHATS, choices=WHATS, help="(default: all)")
    parser.add_argument("--batch", type=int, default=1, help="pictures at a time (default: 1)")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--repeats", type=int, default=7, help="runs of each, taken in turns (default: 7)")
    args = parser.parse_args(argv)
    if not (args.other / "benchmarks/twin_jittor.py").is_file():
        raise UserError(f"{args.other} is no checkout of this repository that has benchmarks/twin_jittor.py")
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(load_config(args.config), args, Path(folder))
        for what in args.what:
            print(json.dumps({"what": what, "config": args.config, "batch": args.batch, "precision": args.precision,
                              **compare(what, job, args, Path(folder))}), flush=True)


def job_of(config, args, folder):
    """What both sides read: options, and files of weights and inputs."""
    tree, factor, rng = config_dict(config), config.autoencoder.factor, np.random.default_rng(0)
    job = {"unet": tree["unet"], "weights": str(folder / "weights.npz"), "inputs": str(folder / "inputs.npz"), "scale": 3.5,
           "autoencoder": tree["autoencoder"], "autoencoder_weights": str(folder / "autoencoder.npz"),
           "t": [500] * args.batch, "train": {**tree["train"]["unet"], "ema": 0.9999, "warmup": 0, "decay": False},
           "precision": args.precision}
    size = args.batch, config.data.height // factor, config.data.width // factor
    latents = lambda: rng.standard_normal((size[0], config.unet.latent_channels, *size[1:]), dtype=np.float32)
    np.savez(job["inputs"], z=latents(), z_0=latents(), eps=latents(),
             labels=rng.integers(-1, config.unet.classes, size).astype(np.int32),
             x=rng.uniform(-1, 1, (args.batch, 3, config.data.height, config.data.width)).astype(np.float32))
    with side_of("this", ROOT) as side:
        for what, path in (("forward", job["weights"]), ("encode", job["autoencoder_weights"])):
            side.ask("draw", job=job, what=what, seed=0, path=path)
    return job


def side_of(name, tree):
    """The process of a checkout."""
    return Side(name, [sys.executable, "-c", SERVER], tree, {"GOMP_SPINCOUNT": "10000", "log_silent": "1"})


def compare(what, job, args, folder):
    """The measured part of a row."""
    runs, row = {"other": [], "this": []}, {}
    with side_of("other", args.other) as other, side_of("this", ROOT) as this:
        sides = {"other": other, "this": this}
        for name, side in sides.items():
            side.ask("prepare", what=what, job=job)
            side.ask("run", t=500, save=str(folder / f"{name}.npy"))
            side.ask("run", t=499, save=None)
        first, last = (np.load(folder / f"{name}.npy").astype(np.float64) for name in sides)
        for i in range(args.repeats):
            for name, side in sides.items():
                runs[name].append(side.ask("run", t=480 - i, save=None))
        operators = {name: side.ask("operators", t=400) for name, side in sides.items()}
    for name in sides:
        median = lambda key: statistics.median(run[key] for run in runs[name])
        row.update({f"{name}_seconds": median("seconds"), f"{name}_built_seconds": median("built"),
                    f"{name}_operators": operators[name]})
    scale = np.abs(first) if what == "train" else 1
    return {**row, "ratio": row["this_seconds"] / row["other_seconds"],
            "max_difference": float(np.max(np.abs(last - first) / scale))}


if __name__ == "__main__":
    run_script(main)
