"""FID of two sets of images as evaluate.py computes it: images a second, seconds, peak memory.

Without --inception the network has random weights of the same shapes, which cost the same; without --images the images are
drawn, 299x299 JPEG files in a temporary folder. Reading and resizing are part of the time.
"""
import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.measure import peak_mb, report
from data.landscape import find_images
from evaluation.measure import Job, training_features
from evaluation.metrics.fid import fid
from evaluation.networks.inception import SIDE, Inception
from evaluation.scorers import Scorer, features_of, open_inception
from models.layers import initialise, parameters_of
from runtime.errors import UserError, run_script


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fid_stream", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inception", metavar="FILE", help="weights (default: random ones)")
    parser.add_argument("--images", nargs=2, metavar="DIR", help="two folders of images (default: drawn ones)")
    parser.add_argument("--count", type=int, default=1000, help="images of each set (default: 1000)")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args(argv)
    job = Job([], (SIDE, SIDE), references=False, scorers={"FID": scorer(args.inception)}, batch_size=args.batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(folder) for folder in args.images] if args.images else drawn(Path(scratch), args.count)
        sets = [list(find_images(folder).values())[:args.count] for folder in folders]
        if min(map(len, sets)) < 2:
            raise UserError(f"found {' and '.join(str(len(paths)) for paths in sets)} images, expected at least 2 each")
        job.inception.measure([np.zeros((SIDE, SIDE, 3), np.uint8)])        # compiles
        before, start = peak_mb(), time.perf_counter()
        images, real = (training_features(paths, job, {}).statistics for paths in sets)
        features, start_distance = time.perf_counter() - start, time.perf_counter()
        distance = fid(images, real)
        report({"images": sum(map(len, sets)), "FID": distance, "images_per_second": sum(map(len, sets)) / features,
                "feature_seconds": features, "distance_seconds": time.perf_counter() - start_distance,
                "peak_mb_before": before, "peak_mb": peak_mb()}, args.json)


def scorer(path):
    """The Scorer of FID, with random weights where there is no file."""
    if path:
        return open_inception(path, "pytorch")
    model = Inception()
    initialise(model, seed=0)
    for name, var in parameters_of(model).items():
        if name.endswith("weight"):
            var.update(var * 6 ** 0.5)          # as He et al. 2015: else the features are as good as constant
    model.eval()
    return Scorer("--inception", "", "Inception v3 with random weights", features_of(model, "pytorch"))


def drawn(folder, count):
    """Two folders of `count` pictures of coloured clouds each."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir()
        for i in range(count):
            clouds = cv2.resize(rng.random((9, 9, 3), dtype=np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            Image.fromarray((255 * clouds.clip(0, 1)).astype(np.uint8)).save(folder / name / f"{i:05d}.jpg", quality=95)
    return folder / "a", folder / "b"


if __name__ == "__main__":
    run_script(main)
