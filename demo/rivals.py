"""The paper's Table 1 in miniature: GauGAN, CLADE, SEAN, SCGAN and IIDM's U-Net, each trained from nothing on the same
synthetic landscapes of 128x96 for the same processor time, then painted and scored by one harness (benchmarks/table1.py).

A short trial says what a step of each costs; the budget divided by it is that network's number of steps. The GANs are a
quarter as wide as published, the U-Net is that of configs/mini.yaml; its autoencoder is given. A, FID and T stay empty
without the weights of their networks. Stopped and started again it goes on.
"""
import argparse
import json
import shutil
import time
from pathlib import Path

from data import synthetic
from demo.__main__ import step
from runtime.errors import run_script
from runtime.files import write_json

PLACE = Path("demo/run/table1")
SEED = 7                               # of landscapes that no weights here have seen
WIDTH = 16                             # of GANs that are published with 64 channels
GANS = {"SEAN": "sean", "SCGAN": "scgan", "GauGAN": "gaugan", "CLADE": "clade"}
TRIAL, MORE = 4, 16                    # steps of the trial; so many more in its longer form


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m demo.rivals", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="processor time that each network trains for (default: 20)")
    parser.add_argument("--train", type=int, default=1200, help="landscapes to learn from (default: 1200)")
    parser.add_argument("--test", type=int, default=48, help="masks that every row paints (default: 48)")
    parser.add_argument("--inception", metavar="FILE", help="Inception weights, for FID; see evaluate.py")
    args = parser.parse_args(argv)
    import ensemble
    import train
    from benchmarks import table1
    from models.weights.ranking import ranked
    data = PLACE / f"data-{args.train}-{args.test}"
    step("Landscapes with their masks", "-m data.synthetic", synthetic.main,
         ["--output", data, "--train", args.train, "--test", args.test, "--width", 128, "--height", 96, "--seed", SEED])
    place = PLACE / f"{args.minutes:g}-minutes"
    checkpoints = {}
    for name in (*GANS, "U-Net"):
        steps, seconds = steps_for(name, 60 * args.minutes, data, place, train)
        step(f"{name}: {steps:,} steps of {seconds:.2f} s of processor time", "train.py", train.main,
             command(name, data, place / file_name(name), steps))
        checkpoints[name] = ranked(place / file_name(name), "gan" if name in GANS else "unet")[0][0]
    averaged = place / "unet" / "checkpoints" / "ensemble.safetensors"
    if not averaged.is_file():
        step("Model ensemble, Eq. (7)", "ensemble.py", ensemble.main, ["--run", place / "unet", "--top", 2])
    step("A segmenter, to measure M with", "train.py", train.main,
         ["--input_path", data / "train", "--config", "mini", "--stage", "segmenter", "--resume", "--set",
          f"train.run={PLACE / 'segmenter'}"])
    rows = {**{name: checkpoints[name] for name in GANS}, "DM": checkpoints["U-Net"], "IIDM": averaged}
    step("Table 1", "-m benchmarks.table1", table1.main,
         ["--input_path", data / "test", "--img_path", data / "train", "--output", place / "table1",
          "--segmenter", ranked(PLACE / "segmenter", "segmenter")[0][0],
          *(["--inception", args.inception] if args.inception else []),
          *(part for name, path in rows.items() for part in ("--row", f"{name}={path}"))])


def steps_for(name, budget, data, place, train):
    """(steps, seconds of a step): what a trial says that the budget of seconds is enough for, kept for the next call."""
    kept = place / f"{file_name(name)}.json"
    if not kept.is_file():
        print(f"\n== {name}: what does a step cost?", flush=True)
        taken = [trial(name, data, steps, train) for steps in (TRIAL, TRIAL, TRIAL + MORE)]    # the first one compiles
        seconds = (taken[2] - taken[1]) / MORE
        write_json(kept, {"budget": budget, "seconds_a_step": seconds, "steps": max(2, round(budget / seconds))})
    found = json.loads(kept.read_text())
    return found["steps"], found["seconds_a_step"]


def trial(name, data, steps, train):
    """Processor time in seconds of so many steps, start and end included."""
    shutil.rmtree(PLACE / "trial", ignore_errors=True)
    before = time.process_time()
    train.main([str(part) for part in command(name, data, PLACE / "trial", steps)])
    return time.process_time() - before


def command(name, data, run, steps):
    """Arguments of train.py for a row of Table 1."""
    stage = "gan" if name in GANS else "unet"
    options = {"train.run": run, f"train.{stage}.steps": steps, f"train.{stage}.save_every": -(-steps // 4),
               f"train.{stage}.sample_every": -(-steps // 4), f"train.{stage}.ema": 0.995, "data.validation": 16}
    if name in GANS:
        options |= {"data.height": 96, "data.width": 128, "gan.generator.channels": WIDTH, "gan.encoder.channels": WIDTH,
                    "gan.discriminator.channels": WIDTH}
        if name == "SCGAN":
            options |= {"gan.generator.first_channels": WIDTH, "gan.generator.routing_channels": WIDTH,
                        "train.gan.batch_size": 4}
    else:
        options |= {"train.unet.init_from": "", "train.unet.lr": 6.0e-4, "train.unet.warmup": 100, "train.unet.decay": "true",
                    "autoencoder.path": "demo/weights/mini/autoencoder.safetensors", "data.cache": PLACE / "latents"}
    return ["--input_path", data / "train", "--config", GANS.get(name, "mini"), "--resume",
            *(["--stage", "unet"] if stage == "unet" else []),
            *(part for key, value in options.items() for part in ("--set", f"{key}={value}"))]


def file_name(name):
    """A row's name as a folder's."""
    return name.lower().replace("-", "")


if __name__ == "__main__":
    run_script(main)
