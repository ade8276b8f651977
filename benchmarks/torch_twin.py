"""Our networks against the same in PyTorch, run as well as PyTorch can, in one run: the U-Net's forward, guided step and
training step, the autoencoder's encoding and decoding.

Both get the same weights, drawn by a seed, and the same inputs through files; what comes out has to be equal. Two processes
take turns, ours and PyTorch's, and while one computes the other sleeps: both with the same number of threads, which wait
only briefly awake (GOMP_SPINCOUNT=10000 unless it is set). PyTorch first tries its ways and goes on with the fastest:
contiguous or channels_last memory; plain, torch.compile, and its modes; for guidance one batch of both branches or two calls;
for bfloat16 autocast, with the weights cast at each use or beforehand; on a CPU with malloc told to keep freed memory. Ours is
what test.py and train.py run. The first run of each, which compiles or makes what later ones share, is not timed.
"""
import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.turns import Side
from configs.reading import config_dict, load_config
from runtime.errors import RunError, UserError, run_script

ROOT = Path(__file__).resolve().parent.parent
SCALE = 3.5                                              # of guidance
WHATS = ("forward", "guided", "train", "encode", "decode")
SCORERS = ("inception", "segformer")                      # not asked for unless named: they need torchvision and transformers
DTYPES = ("float32", "bfloat16")
MODES = ("eager", "compile", "freezing", "reduce-overhead", "max-autotune")
DEFAULT_MODES = {"cpu": ["compile", "freezing"], "cuda": ["reduce-overhead", "max-autotune"]}
# glibc gives freed memory back at once and takes it anew, which costs PyTorch's operators 5 % in page faults on a CPU.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2 ** 32), "MALLOC_TRIM_THRESHOLD_": str(2 ** 33)}
# In float32. Guidance multiplies the forward's difference by up to 2 s - 1 = 6; losses: relative, of the first step.
LARGEST = {"forward": 1e-4, "guided": 6e-4, "train": 1e-5, "encode": 1e-4, "decode": 1e-4, "inception": 1e-3,
           "segformer": 1e-3}

EPILOG = """examples:
  python -m venv torch && torch/bin/pip install torch numpy        # PyTorch is in no requirements.txt: it has its own place
  python -m benchmarks.torch_twin --torch_python torch/bin/python                      the demo's size, minutes
  python -m benchmarks.torch_twin --torch_python torch/bin/python --full --markdown    the published size: an hour on 2 cores
  python -m benchmarks.torch_twin --what guided --dtypes bfloat16 --modes eager        nothing compiled by PyTorch
  python -m benchmarks.torch_twin --what inception,segformer --modes eager             beside torchvision's and transformers'

One line of JSON a row: seconds (medians), ratio = ours / PyTorch's (below 1 ours is faster), cpu_seconds (of all threads:
other programs lengthen them less), max_difference of the outputs (train: of the first step's losses, relative; last_difference
of the last step's, after AdamW has moved the weights), and in torch.tried every way that was timed. Exit status 1 where
float32 outputs differ by more than 1e-4 (guided 6e-4, losses 1e-5 relative). bfloat16 is that of both on a GPU, and on a CPU
that multiplies it, but for training, which is ours in float32 there, as is everything on other CPUs.

Training at the published size needs 12 GB each: on a CPU the two then run one after the other, not in turns, each alone in
memory (--apart does so with everything). Weights and inputs, 2 GB, go to a temporary folder (TMPDIR moves it).
IIDM_DEVICE=cpu compares on the CPU where there is a GPU; on a GPU PyTorch must see it too."""


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torch_twin", description=__doc__, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", default=os.environ.get("TORCH_PYTHON"), metavar="PYTHON",
                        help="a Python that has PyTorch and NumPy (default: $TORCH_PYTHON, else this one where it has them)")
    parser.add_argument("--full", action="store_true", help="the published size; else that of mini.yaml")
    parser.add_argument("--config", help="any other config's U-Net")
    parser.add_argument("--batch", type=int, default=1, help="pictures at a time (default: 1)")
    parser.add_argument("--what", default=",".join(WHATS), metavar="LIST", help="(default: %(default)s)")
    parser.add_argument("--dtypes", default=",".join(DTYPES), metavar="LIST", help="of PyTorch (default: %(default)s)")
    parser.add_argument("--modes", metavar="LIST", help=f"tried besides eager: {', '.join(MODES[1:])}; eager: nothing else "
                        "(default: compile,freezing on a CPU; reduce-overhead,max-autotune on a GPU)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, taken in turns (default: 5)")
    parser.add_argument("--tries", type=int, default=2, help="runs of each of PyTorch's ways, to choose (default: 2)")
    parser.add_argument("--threads", type=int, help="of each (default: as many as this process may use cores)")
    parser.add_argument("--apart", action="store_true", help="never both in memory: one after the other instead of in turns")
    parser.add_argument("--markdown", action="store_true", help="a table at the end")
    return parser.parse_args(argv)


def check(args):
    """UserError for what argparse lets pass; gives the lists as lists and the defaults that depend on the machine."""
    for name in ("batch", "repeats", "tries", "threads"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name} is {getattr(args, name)}, expected at least 1")
    if args.full and args.config:
        raise UserError(f"--full and --config {args.config}: expected one of them")
    for name, choices in (("what", WHATS + SCORERS), ("dtypes", DTYPES), ("modes", MODES)):
        given = getattr(args, name)
        if given is not None:
            setattr(args, name, given.split(","))
            for item in getattr(args, name):
                if item not in choices:
                    raise UserError(f"--{name}: {item!r} is not one of {', '.join(choices)}")
    args.threads = args.threads or cores()
    args.torch_python = find_torch(args.torch_python)


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def find_torch(python):
    """The Python to run PyTorch with. UserError where there is none."""
    if not python:
        if importlib.util.find_spec("torch"):
            return sys.executable
        raise UserError(f"--torch_python: not given, and {sys.executable} has no PyTorch; expected a Python that has it "
                        "(python -m venv torch && torch/bin/pip install torch numpy)")
    try:
        found = subprocess.run([python, "-c", "import torch, numpy"], capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"--torch_python: {python} does not run ({error.strerror}), expected a Python") from None
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or [f"status {found.returncode}"])[-1]
        raise UserError(f"--torch_python: {python} cannot import torch and numpy ({reason})")
    return python


def main(argv):
    args = parse(argv)
    check(args)
    config = load_config(args.config or ("iidm" if args.full else "mini"))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, config, Path(folder))
        rows = []
        for what in args.what:
            for dtype in args.dtypes if what not in SCORERS else ("float32",):       # scores are defined in float32
                rows.append(bench.row(what, dtype))
                print(json.dumps(rows[-1]), flush=True)
    if args.markdown:
        print(markdown(rows))
    wrong = [f"{row['what']}: outputs differ by {row['max_difference']:.3g}, expected less than {LARGEST[row['what']]:g}"
             for row in rows if row["dtype"] == "float32" and not row["max_difference"] < LARGEST[row["what"]]]
    if wrong:
        raise RunError("; ".join(wrong))


class Bench:
    """The files both sides read, and the rows measured on them."""

    def __init__(self, args, config, folder):
        self.args, self.folder = args, folder
        tree = config_dict(config)
        if config.unet.mask_resampling != "nearest":
            raise UserError(f"--config: unet.mask_resampling is {config.unet.mask_resampling}, expected nearest: PyTorch's "
                            "twin has no other")
        code = config.autoencoder
        if {"encode", "decode"} & {*args.what} and (code.kind != "vq" or code.attention_levels):
            raise UserError("--what: encode and decode are of an autoencoder of kind vq without attention in its levels; "
                            "expected --what forward,guided,train here")
        self.job = {"unet": tree["unet"], "weights": str(folder / "weights.npz"), "inputs": str(folder / "inputs.npz"),
                    "scale": SCALE, "t": np.linspace(500, 0, args.batch).astype(int).tolist(),
                    "autoencoder": tree["autoencoder"], "autoencoder_weights": str(folder / "autoencoder.npz"),
                    "train": {**tree["train"]["unet"], "ema": 0.9999, "warmup": 0, "decay": False}}
        rng, factor = np.random.default_rng(0), config.autoencoder.factor
        size = args.batch, config.data.height // factor, config.data.width // factor
        latents = lambda: rng.standard_normal((size[0], config.unet.latent_channels, *size[1:]), dtype=np.float32)
        np.savez(self.job["inputs"], z=latents(), z_0=latents(), eps=latents(),
                 labels=rng.integers(-1, config.unet.classes, size).astype(np.int32),
                 inception=rng.uniform(-1, 1, (8, 3, 299, 299)).astype(np.float32),
                 segformer=rng.standard_normal((1, 3, 512, 512), dtype=np.float32),
                 x=rng.uniform(-1, 1, (args.batch, 3, config.data.height, config.data.width)).astype(np.float32))
        with self.ours() as side:
            self.about = side.ask("hello")
            # Before anything long: can PyTorch run where ours does?
            with self.torch() as other:
                self.about_torch = other.ask("hello", device=self.about["device"], threads=args.threads)
            if "problem" in self.about_torch:
                raise UserError(f"--torch_python: {self.about_torch['problem']}, expected one, where ours runs; "
                                "IIDM_DEVICE=cpu compares on the CPU")
            side.ask("draw", job=self.job, what="forward", seed=0, path=self.job["weights"])
            for what in {*SCORERS} & {*args.what}:
                self.job[f"{what}_weights"] = str(folder / f"{what}.npz")
                with self.torch() as other:
                    other.ask("draw", what=what, path=self.job[f"{what}_weights"])
            side.ask("draw", job=self.job, what="encode", seed=0, path=self.job["autoencoder_weights"])
        self.modes = ["eager"] + [mode for mode in args.modes or DEFAULT_MODES[self.about["device"]] if mode != "eager"]

    def environ(self, **more):
        """What a process is started with; what the user has set stays."""
        given = {"GOMP_SPINCOUNT": "10000", **more}
        given = {name: os.environ.get(name, value) for name, value in given.items()}
        return {"OMP_NUM_THREADS": str(self.args.threads), **given}

    def ours(self):
        """A process of ours."""
        return Side("ours", [sys.executable, "-m", "benchmarks.twin_jittor"], ROOT, self.environ())

    def torch(self):
        """A process of PyTorch's."""
        return Side("PyTorch", [self.args.torch_python, "-m", "benchmarks.twin_torch"], ROOT, self.environ(**KEEP_MEMORY))

    def row(self, what, dtype):
        """One row, measured."""
        native = self.about["device"] == "cuda" or self.about["multiplies_bfloat16"]
        precision = dtype if native else "float32"
        job = {**self.job, "precision": precision}
        apart = self.args.apart or (what == "train" and self.args.full and self.about["device"] == "cpu")
        print(f"{what}, PyTorch in {dtype}{', one side after the other' if apart else ''} ...", file=sys.stderr, flush=True)
        if apart:
            with self.ours() as side:
                ours = Measured(side, self.folder / "ours")
                ours.prepare(what=what, job=job)
                ours.repeat(self.args.repeats)
            with self.torch() as side:
                torch = self.torch_measured(side, what, dtype)
                load = os.getloadavg()[0]
                torch.repeat(self.args.repeats)
        else:
            with self.ours() as side, self.torch() as other:
                ours, torch = Measured(side, self.folder / "ours"), self.torch_measured(other, what, dtype)
                ours.prepare(what=what, job=job)
                load = os.getloadavg()[0]
                for _ in range(self.args.repeats):
                    ours.repeat(1)
                    torch.repeat(1)
        first, last = (difference(what, *(measured.out(name) for measured in (ours, torch))) for name in ("first", "last"))
        seconds = [measured.median("seconds") for measured in (ours, torch)]
        row = {"what": what, "device": self.about["device"], "dtype": dtype, "batch": self.args.batch,
               "ours_seconds": seconds[0], "torch_seconds": seconds[1], "ratio": seconds[0] / seconds[1],
               "ours_cpu_seconds": ours.median("cpu_seconds"), "torch_cpu_seconds": torch.median("cpu_seconds"),
               "ours_peak_gb": ours.peak, "torch_peak_gb": torch.peak, "max_difference": first}
        if what == "train":
            row["last_difference"] = last
        return {**row, "in_turns": not apart, "threads": self.args.threads, "load_average": load,
                "ours": {"version": self.about["version"], "dtype": precision},
                "torch": {"version": self.about_torch["version"], "device": self.about_torch["device"], **torch.answer}}

    def torch_measured(self, side, what, dtype):
        """A Measured of PyTorch, its fastest way made ready."""
        side.ask("hello", device=self.about["device"], threads=self.args.threads)
        measured = Measured(side, self.folder / "torch")
        measured.prepare(what=what, job=self.job, dtype=dtype, modes=self.modes, tries=self.args.tries)
        return measured


class Measured:
    """One side and its times; what came out of its first and last run lies in files."""

    def __init__(self, side, path):
        self.side, self.path, self.runs, self.answer = side, path, [], None

    def prepare(self, **job):
        """Makes the side ready, and runs once for what the first run alone does."""
        self.answer = self.side.ask("prepare", **job)
        self.side.ask("run", save=f"{self.path}-first.npy")

    def repeat(self, times):
        """So many timed runs."""
        for _ in range(times):
            self.runs.append(self.side.ask("run", save=f"{self.path}-last.npy"))

    def median(self, name):
        """Of all timed runs."""
        return statistics.median(run[name] for run in self.runs)

    @property
    def peak(self):
        """Greatest resident memory of its process so far, GB (10^9 bytes); PyTorch's with all the ways it tried."""
        return max(run["peak_gb"] for run in self.runs)

    def out(self, name):
        """The output of the first or last run."""
        return np.load(f"{self.path}-{name}.npy").astype(np.float64)


def difference(what, ours, torch):
    """The greatest difference of two outputs; of losses relative to ours, of features and logits to the greatest of ours."""
    scale = np.abs(ours) if what == "train" else np.abs(ours).max() if what in SCORERS else 1
    return float(np.max(np.abs(ours - torch) / scale))


def markdown(rows):
    """The rows as a table."""
    lines = ["| what | PyTorch in | ours in | ours, s | PyTorch, s | ours / PyTorch | greatest difference "
             "| PyTorch's fastest way |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        settings = row["torch"]["settings"]
        way = ", ".join(settings[axis] for axis in ("mode", "layout", "weights", "form") if axis in settings)
        lines.append(f"| {row['what']} | {row['dtype']} | {row['ours']['dtype']} "
                     f"| {row['ours_seconds']:.3g} | {row['torch_seconds']:.3g} "
                     f"| {row['ratio']:.2f} | {row['max_difference']:.1g} | {way} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
