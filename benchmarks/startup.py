"""How long it takes from the command to the first picture: test.py, its operators compiled, against a bare PyTorch script.

    python -m benchmarks.startup --torch_python torch/bin/python

Both load the small networks of demo/weights/mini and paint one 128x96 picture in three rounds of DDIM, in turns, each run a
process of its own: the interpreter's start, imports, weights and the first call of everything are the better part of it. The
script (benchmarks/torch_paint.py) transfers no colours, checks nothing and writes no manifest. Prints a line of JSON: seconds
(medians) until the picture's file is there, and how long each took to end.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.torch_twin import ROOT, cores, find_torch
from configs.reading import config_dict, load_config
from data.landscape import find_test
from data.synthetic import write_dataset
from ldm.schedule import make_schedule, spaced
from models.weights.checkpoint import read_tensors
from runtime.errors import RunError, run_script

MINI = ROOT / "demo/weights/mini"


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", default=os.environ.get("TORCH_PYTHON"), metavar="PYTHON",
                        help="a Python that has PyTorch, NumPy and Pillow (default: $TORCH_PYTHON, else this one)")
    parser.add_argument("--steps", type=int, default=8, help="of each round (default: 8)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, taken in turns (default: 5)")
    args = parser.parse_args(argv)
    python = find_torch(args.torch_python)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours, torch = commands(folder, args.steps, python)
        runs = {"ours": [], "torch": []}
        for name, (command, picture) in {"ours": ours, "torch": torch}.items():
            measure(name, command, picture, folder)                                    # operators and files are warm
        for _ in range(args.repeats):
            for name, (command, picture) in {"ours": ours, "torch": torch}.items():
                runs[name].append(measure(name, command, picture, folder))
    threads = int(os.environ.get("OMP_NUM_THREADS", cores()))
    row = {"threads": threads, "steps": 3 * args.steps, "load_average": os.getloadavg()[0]}
    for name, taken in runs.items():
        row[f"{name}_seconds"], row[f"{name}_ended_seconds"] = (statistics.median(times) for times in zip(*taken))
    print(json.dumps({**row, "ratio": row["ours_seconds"] / row["torch_seconds"]}))


def commands(folder, steps, python):
    """((command, picture) of test.py, the same of the script): one mask in the style of one reference."""
    config = load_config("mini")
    write_dataset(folder / "data", train=1, test=1, width=config.data.width, height=config.data.height, progress=False)
    case = find_test(folder / "data/test", folder / "data/train")[0]
    tree, schedule = config_dict(config), make_schedule("linear", 1000)
    for round_ in tree["sampling"]["rounds"]:
        round_.update(sampler="ddim", steps=steps)
    tree["autoencoder"]["path"] = str(MINI / "autoencoder.safetensors")
    (folder / "few.yaml").write_text(yaml.safe_dump(tree))
    ours = [sys.executable, "test.py", "--input_path", folder / "data/test", "--img_path", folder / "data/train", "--config",
            folder / "few.yaml", "--checkpoint", MINI / "unet.safetensors", "--autoencoder",
            MINI / "autoencoder.safetensors", "--output_path", folder / "results"]
    job = {"unet": {name: value for name, value in tree["unet"].items() if name != "mask_resampling"},
           "autoencoder": tree["autoencoder"], "reference": str(case.reference), "mask": str(case.mask),
           "picture": str(folder / "torch.jpg"), "latent_height": config.latent_size[0], "rounds": []}
    for name in ("unet", "autoencoder"):
        job[f"{name}_weights"] = str(folder / f"{name}.npz")
        np.savez(job[f"{name}_weights"], **{key: np.asarray(array, np.float32) for key, array in
                                            read_tensors(MINI / f"{name}.safetensors").items()})
    for round_ in config.sampling.rounds:
        levels = spaced(schedule, round_.t_start, steps)
        job["rounds"].append({"t": levels.timesteps[::-1].tolist(), "alpha_bar": levels.alpha_bar[::-1].tolist(),
                              "alpha_bar_prev": levels.alpha_bar_prev[::-1].tolist(), "guidance": round_.guidance})
    (folder / "job.json").write_text(json.dumps(job))
    return (ours, folder / "results" / f"{case.stem}.jpg"), ([python, "-m", "benchmarks.torch_paint", folder / "job.json"],
                                                            folder / "torch.jpg")


def measure(name, command, picture, folder):
    """(seconds until the picture is there, seconds until the process has ended) of one run."""
    picture.unlink(missing_ok=True)
    if name == "ours":
        command = [*command, "--overwrite"]
    with open(folder / "log", "w") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None and not picture.exists():
            time.sleep(0.002)
        there = time.perf_counter() - start
        process.wait()
        ended = time.perf_counter() - start
    if process.returncode or not picture.exists():
        raise RunError(f"{name}: ended with status {process.returncode}: {(folder / 'log').read_text()[-400:]}")
    return there, ended


if __name__ == "__main__":
    run_script(main)
