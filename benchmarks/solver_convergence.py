"""How many steps a solver needs: every solver, spacing and number of steps against the converged solution, on a trained model.

Each round of a config's Algorithm 2 is taken by itself. All runs of a round begin at one and the same noised latent, made from
the converged image of the round before, and are compared with the solution of 2,000 steps of DPM-Solver++(2M) in log-SNR: the
root mean square distance of the final latent, and the PSNR of the decoded image. The cheapest recipe is, in every round, the
fewest network evaluations from which on the median PSNR stays at or above 35 dB; it is then run as a whole, beside the config's
own. Writes solvers.md, solvers.json and solvers.png.

    python -m benchmarks.solver_convergence                      # mini.yaml's weights and rounds, 8 landscapes new to them
    python -m benchmarks.solver_convergence --config iidm        # the same with the winning recipe's rounds
    python -m benchmarks.solver_convergence --checkpoint U.safetensors --input_path TEST --img_path TRAIN
"""
import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from PIL import Image

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from configs.reading import load_config
from configs.schema import RoundConfig
from data.landscape import check_test, find_test, read_image, read_labels
from data.synthetic import write_dataset
from ldm.algorithm2 import calls, noised, recoloured, synthesise
from ldm.guidance import guided_in
from ldm.noise import normal
from ldm.pixels import to_uint8
from ldm.sample import denoise
from ldm.schedule import points_of
from runtime import pictures
from runtime.backend import DEVICE, jt
from runtime.errors import UserError, run_script
from runtime.files import write_bytes, write_json
from runtime.log import progress_bar
from sampling.networks import load_networks, settings

SOLVERS, SPACINGS = ("ddim", "dpm++2m", "unipc"), ("uniform", "logsnr")
STEPS = (4, 6, 8, 10, 12, 16, 20, 25, 32, 50)
ENOUGH = 35.0                               # dB
MINI = Path("demo/weights/mini/unet.safetensors"), Path("demo/weights/mini/autoencoder.safetensors")
DATA, SEED = Path("demo/run/solver-data"), 7          # those of mini.yaml were trained on scenes of seed 1


def main(argv):
    args = parse(argv)
    config, networks, cases, schedule = load(args)
    sampling, size = config.sampling, (config.data.height, config.data.width)
    rounds = sampling.rounds
    measured = [[variant(round_, *setting) for setting in each_setting(args.steps)] + [round_] for round_ in rounds]
    finest = [variant(round_, "dpm++2m", "logsnr", args.reference) for round_ in rounds]
    found = [[Result(round_) for round_ in some] for some in measured]
    ddim = Result(variant(rounds[0], "ddim", "logsnr", args.reference))     # does it come to the same? Seen once
    steps = len(cases) * sum(round_.steps for some in [*measured, finest] for round_ in some)
    checked = 0 if args.no_ddim_check else min(len(cases), args.batch_size)
    images, references, labels = [], [], []
    with progress_bar(total=steps + checked * args.reference, label="solving", unit="step") as progress:
        for first in range(0, len(cases), args.batch_size):
            some = cases[first:first + args.batch_size]
            photos = np.stack([read_image(case.reference, *size) for case in some])
            masks = np.stack([read_labels(case.mask, *(n // config.autoencoder.factor for n in size)) for case in some])
            run = Run(networks, schedule, sampling, photos, masks.astype(np.int32), [case.stem for case in some],
                      config.unet.latent_channels, lambda: progress.update(len(some)))
            before = photos
            for k in range(len(rounds)):
                z_T = run.start(k, before)
                converged = run.end(k, finest[k], z_T)
                for result in found[k] + ([ddim] if k == first == 0 and checked else []):
                    result.add(run.end(k, result.round_, z_T), converged)
                before = to_uint8(converged[1], sampling.truncate)
            images, references, labels = images + [*before], references + [*photos], labels + [*masks]

    chosen = [cheapest(some[:-1], schedule) for some in found]
    whole = {}
    if all(chosen):
        recipes = {"fast": [result.round_ for result in chosen], "config": rounds}
        whole = {name: whole_recipe(networks, schedule, sampling, recipe, np.stack(references), np.stack(labels), cases,
                                    np.stack(images), config.unet.latent_channels, args.batch_size)
                 for name, recipe in recipes.items()}
    report(args, config, schedule, rounds, found, ddim, chosen, whole, len(cases))


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solver_convergence", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="whose rounds to take, of its `sampling` (default: the checkpoint's; mini)")
    parser.add_argument("--checkpoint", help=f"U-Net weights (default: {MINI[0]})")
    parser.add_argument("--autoencoder", metavar="FILE", help="its weights (default: those the checkpoint's config names)")
    parser.add_argument("--input_path", metavar="TEST", help="masks, as for test.py (default: synthetic landscapes)")
    parser.add_argument("--img_path", metavar="TRAIN", help="the reference images, as for test.py")
    parser.add_argument("--pictures", type=int, default=8, help="only the first so many masks (default: 8)")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="numbers of steps (default: 4 to 50)")
    parser.add_argument("--reference", type=int, default=2000, help="steps of the converged solution (default: 2000)")
    parser.add_argument("--no_ddim_check", action="store_true", help="without DDIM in as many steps as the converged solution")
    parser.add_argument("--batch_size", type=int, default=4, help="pictures at a time (default: 4)")
    parser.add_argument("--output", type=Path, default=Path("runs/solvers"), help="results folder (default: runs/solvers)")
    args = parser.parse_args(argv)
    if (args.input_path is None) != (args.img_path is None):
        raise UserError("--input_path and --img_path: found one of them, expected both or neither")
    for name in ("pictures", "reference", "batch_size"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} is {getattr(args, name)}, expected at least 1")
    if min(args.steps) < 1:
        raise UserError(f"--steps: found {min(args.steps)}, expected at least 1")
    args.steps = sorted(set(args.steps))
    return args


def load(args, precision="float32"):
    """(config, (encode, decode, model), cases, schedule): the networks and what they are to paint."""
    checkpoint, autoencoder = args.checkpoint or MINI[0], args.autoencoder or (None if args.checkpoint else MINI[1])
    config, weights = settings(checkpoint, None, [f"autoencoder.path={autoencoder}"] if autoencoder else [])
    if args.config or not args.checkpoint:
        config.sampling = load_config(args.config or "mini").sampling
    config.sampling.precision = precision
    networks = load_networks(config, str(checkpoint), weights)
    if args.input_path:
        masks, photos = args.input_path, args.img_path
    else:
        height, width = config.data.height, config.data.width
        folder = DATA / f"{width}x{height}-{args.pictures}"
        write_dataset(folder, train=args.pictures, test=args.pictures, width=width, height=height, seed=SEED)
        masks, photos = folder / "test", folder / "train"
    cases = find_test(masks, photos)[:args.pictures]
    check_test(cases, config.data)
    return config, (networks.encode, networks.decode, networks.unet), cases, networks.schedule


def each_setting(steps):
    """(sampler, spacing, steps) of every run but the config's own."""
    return [(sampler, spacing, n) for sampler in SOLVERS for spacing in SPACINGS for n in steps]


def variant(round_, sampler, spacing, steps):
    """A round from the same start by another way."""
    steps = steps if round_.t_start else 1                  # t = 0 has nothing below it
    return dataclasses.replace(round_, sampler=sampler, spacing=spacing, steps=steps, timesteps=[], eta=0.0)


class Run:
    """One batch of pictures: the noised start of any round, and where denoising from there ends."""

    def __init__(self, networks, schedule, sampling, references, labels, names, latent_channels, progress):
        self.encode, self.decode, self.model = networks
        self.schedule, self.sampling, self.references, self.names = schedule, sampling, references, names
        self.shape, self.labels = (latent_channels, *labels.shape[1:]), jt.array(labels)
        self.progress = progress

    def start(self, k, images):
        """z_T of round k, made from the images of the round before."""
        with jt.no_grad():
            if k > 0:
                images = recoloured(images, self.references, self.sampling)
            eps = jt.array(normal(self.sampling.seed, self.names, k, self.shape, "start"))
            z_T = noised(self.encode, images, self.sampling.rounds[k], self.schedule, eps)
            z_T.sync()
        return z_T

    def end(self, k, round_, z_T):
        """(z_0 (B, C, h, w), decoded image (B, 3, H, W) clipped to [-1, 1]) of a round of k's place, arrays."""
        noise = lambda i: normal(self.sampling.seed, self.names, k, self.shape, i)
        with jt.no_grad():
            model = guided_in(self.model, round_)
            z_0 = denoise(model, z_T, self.labels, points_of(round_, self.schedule), round_.sampler, round_.eta, noise,
                          self.progress)
            return z_0.numpy(), np.clip(self.decode(z_0).numpy(), -1, 1)


class Result:
    """What one way through a round came to, a value per picture."""

    def __init__(self, round_):
        self.round_, self.psnr, self.rms = round_, [], []

    def add(self, found, converged):
        """found, converged: (z_0, image) of Run.end."""
        axes = (1, 2, 3)
        self.rms += np.sqrt(((found[0] - converged[0]) ** 2).mean(axes)).tolist()
        self.psnr += psnr(((found[1] - converged[1]) ** 2).mean(axes)).tolist()

    def row(self, schedule):
        """As JSON holds it."""
        round_ = self.round_
        return {"sampler": round_.sampler, "spacing": round_.spacing, "steps": round_.steps,
                "evaluations": calls(round_, schedule), "median_psnr": float(np.median(self.psnr)),
                "median_latent_rms": float(np.median(self.rms)), "psnr": self.psnr, "latent_rms": self.rms}


def psnr(mse):
    """dB from the mean square difference of images in [-1, 1]; 126 where they are the same."""
    return 10 * np.log10(4 / np.maximum(mse, 1e-12))


def cheapest(results, schedule):
    """The Result of fewest evaluations that is good enough and stays so with more steps of its kind, or None."""
    good = []
    for sampler in SOLVERS:
        for spacing in SPACINGS:
            kind = [r for r in results if (r.round_.sampler, r.round_.spacing) == (sampler, spacing)]
            fails = [r.round_.steps for r in kind if np.median(r.psnr) < ENOUGH]
            good += [r for r in kind if r.round_.steps > max(fails, default=0)]
    return min(good, key=lambda r: (calls(r.round_, schedule), -np.median(r.psnr)), default=None)


def whole_recipe(networks, schedule, sampling, rounds, references, labels, cases, converged, latent_channels, batch_size):
    """The PSNR of each final image of a recipe, its rounds one after the other, to the recipe with every round converged."""
    sampling, found = dataclasses.replace(sampling, rounds=rounds), []
    for first in range(0, len(cases), batch_size):
        rows = slice(first, first + batch_size)
        images, _ = synthesise(*networks, references[rows], labels[rows], [case.stem for case in cases[rows]], sampling,
                               schedule, latent_channels)
        found.append(images)
    difference = (np.concatenate(found).astype(np.float64) - converged) / 127.5
    return {"evaluations": sum(calls(round_, schedule) for round_ in rounds),
            "psnr": psnr((difference ** 2).mean((1, 2, 3))).tolist()}


# What is written.

def report(args, config, schedule, rounds, found, ddim, chosen, whole, painted):
    """Writes and prints what was measured."""
    lines, record = [], []
    for k, round_ in enumerate(rounds):
        own, kinds = found[k][-1], {}
        for result in found[k][:-1]:
            kinds.setdefault((result.round_.sampler, result.round_.spacing), []).append(result)
        lines += ["", f"Round {k + 1}, {heading(round_, schedule)}", "",
                  "| solver | spacing | " + " | ".join(map(str, args.steps)) + " |", "|---|---|" + "---|" * len(args.steps)]
        for (sampler, spacing), results in kinds.items():
            cells = [f"**{cell(r)}**" if np.median(r.psnr) >= ENOUGH else cell(r) for r in results]
            lines.append(f"| {sampler} | {spacing} | " + " | ".join(cells) + " |")
        lines += ["", f"The config's own, {describe(round_)}, {calls(round_, schedule)} evaluations: {cell(own)}."]
        record.append({"round": k + 1, "config": dataclasses.asdict(round_), "own": own.row(schedule),
                       "results": [r.row(schedule) for r in found[k][:-1]]})
    if ddim.psnr:
        lines += ["", f"DDIM with {args.reference} log-SNR steps, round 1, {len(ddim.psnr)} pictures: {cell(ddim)} from the "
                  f"solution of DPM-Solver++(2M)."]
    lines += ["", f"Cheapest with a median of at least {ENOUGH:g} dB:", ""]
    lines += [f"* round {k + 1}: " + (f"{describe(r.round_)}, {calls(r.round_, schedule)} evaluations, {cell(r)}" if r else
                                      f"none of these steps reaches {ENOUGH:g} dB") for k, r in enumerate(chosen)]
    for name, result in whole.items():
        low, middle = min(result["psnr"]), np.median(result["psnr"])
        lines.append(f"* the whole recipe, {name}: {result['evaluations']} evaluations, final image {middle:.1f} dB from the "
                     f"converged recipe's (lowest of the pictures {low:.1f})")
    head = [f"{args.checkpoint or MINI[0]}, rounds of {args.config or ('its own' if args.checkpoint else 'mini')}, "
            f"{painted} pictures of {config.data.width}x{config.data.height}, on the {DEVICE}. Median PSNR in dB of the "
            f"decoded image to the converged one, in brackets the median distance of the latents; steps across."]
    text = "\n".join(head + lines) + "\n"
    write_bytes(args.output / "solvers.md", text.encode())
    write_json(args.output / "solvers.json", {
        "checkpoint": str(args.checkpoint or MINI[0]), "pictures": painted, "reference": args.reference,
        "ddim_converged": ddim.row(schedule) if ddim.psnr else None, "rounds": record,
        "fast": [r.row(schedule) if r else None for r in chosen], "whole": whole})
    draw(args.output, rounds, found, schedule)
    print(text + f"\n{args.output}/solvers.md, solvers.json, solvers.png")


def heading(round_, schedule):
    """Where a round starts."""
    return f"t = {round_.t_start} of {len(schedule)}, guidance {round_.guidance:g}"


def describe(round_: RoundConfig):
    """A round's way, as a table has it."""
    return f"{round_.sampler}, {round_.spacing}, {round_.steps} steps"


def cell(result):
    """Median PSNR and latent distance."""
    return f"{np.median(result.psnr):.1f} ({np.median(result.rms):.3f})"


def draw(folder, rounds, found, schedule):
    """solvers.png: for each round and spacing the median difference to the converged image over the steps."""
    grey, rows = lambda decibels: 255 * 10 ** (-decibels / 20), []
    for k, round_ in enumerate(rounds):
        row = []
        for spacing in SPACINGS:
            series = {}
            for sampler in SOLVERS:
                kind = [r for r in found[k][:-1] if (r.round_.sampler, r.round_.spacing) == (sampler, spacing)]
                steps = [r.round_.steps for r in kind]
                series[sampler] = (steps, [grey(np.median(r.psnr)) for r in kind])
            sides = [min(steps), max(steps)]
            series[f"{ENOUGH:g} dB"] = (sides, [grey(ENOUGH)] * 2)
            own = grey(np.median(found[k][-1].psnr))
            series[f"config: {round_.sampler}, {round_.steps} steps"] = (sides, [own] * 2)
            path = folder / f".{k}-{spacing}.png"
            pictures.loss_curve(path, series, log_y=True,
                                title=f"Round {k + 1}, {heading(round_, schedule)}, {spacing}: difference in grey levels")
            row.append(np.asarray(Image.open(path)))
            path.unlink()
        rows.append(row)
    pictures.save(folder / "solvers.png", pictures.grid(rows, scale=0.7))


if __name__ == "__main__":
    run_script(main)
