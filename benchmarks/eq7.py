"""Eq. (7): the two best checkpoints of a run and their mean, scored as in training's validation, on its held-out pairs.

    python -m benchmarks.eq7 RUN --input_path TRAIN             after: python ensemble.py --run RUN --top 2

FID's stand-in (or FID), S and M as training/validation.py measures them; train.unet.segmenter and inception may be set here.
"""
import argparse
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from configs.reading import load_config
from data.batches import train_val_split
from data.landscape import find_train, read_labels
from ldm.schedule import make_schedule
from models.unet import build_unet
from models.weights.checkpoint import load_checkpoint
from models.weights.loading import load_autoencoder
from models.weights.ranking import ranked
from runtime.errors import run_script
from training.validation import Painted


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="a run's folder with checkpoints/ensemble.safetensors")
    parser.add_argument("--input_path", required=True, metavar="TRAIN", help="the training folder that the run had")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c")
    args = parser.parse_args(argv)
    config = load_config(Path(args.run) / "config.yaml", args.set)
    autoencoder, config.autoencoder, _ = load_autoencoder(config.autoencoder)
    pairs = sorted(find_train(args.input_path, config.data.exclude), key=lambda pair: pair.stem)
    held = train_val_split(pairs, config.data.validation)[1][:config.train.unet.validate_images]
    size = (config.data.height // config.label_factor, config.data.width // config.label_factor)
    labels = np.stack([read_labels(pair.labels, *size, config.data.class_set) for pair in held])
    schedule = make_schedule(config.diffusion.schedule, config.diffusion.timesteps)
    painted, model = Painted(autoencoder, held, labels, schedule, config), build_unet(config.unet)
    best, second = (path for path, _ in ranked(args.run)[:2])
    for what, path in (("best", best), ("second", second), ("mean", Path(args.run) / "checkpoints" / "ensemble.safetensors")):
        load_checkpoint(model, path)
        scores = painted.scores(model)
        print(f"{what:7} {path.name:32} " + "  ".join(f"{name} {value:.5g}" for name, value in scores.items()), flush=True)


if __name__ == "__main__":
    run_script(main)
