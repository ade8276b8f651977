"""Mask accuracy of pictures whose masks are known: how much of M a segmenter leaves to be reached.

    python -m benchmarks.mask_accuracy --segmenter FILE PAIRS CASES ...

A folder is either in the training layout, imgs/ and labels/, and its photos are measured by their own masks; or it holds
NAME_gen.jpg and NAME_label.png, images painted from masks. The control is the same with the next image's mask: what an
image scores that has nothing to do with its mask.
"""
import argparse
import json
import sys
import zlib
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from configs.schema import DataConfig
from data.landscape import Case, check_test, find_train, read_labels
from evaluation.measure import Job, image_size, measure
from evaluation.metrics.mask_accuracy import MaskAccuracy
from evaluation.scorers import open_segformer, open_segmenter
from runtime.errors import UserError, run_script


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mask_accuracy", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="imgs/ and labels/, or NAME_gen.jpg and NAME_label.png")
    parser.add_argument("--segformer", metavar="FILE", help="as for evaluate.py")
    parser.add_argument("--segmenter", metavar="FILE", help="as for evaluate.py")
    parser.add_argument("--lenient", action="store_true", help="classes with alike names count too")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each folder")
    args = parser.parse_args(argv)
    if bool(args.segformer) == bool(args.segmenter):
        raise UserError("expected --segformer FILE or --segmenter FILE")
    segmenter = open_segformer(args.segformer, args.lenient) if args.segformer else open_segmenter(args.segmenter, args.lenient)
    column = f"M({segmenter.name})" if segmenter.name else "M"
    print(f"{column}: {segmenter.what}")
    for folder in map(Path, args.folders):
        cases, paths = pairs(folder)
        size = image_size(cases)
        job = Job(cases, size, references=False, segmenters={column: segmenter})
        row, _, found = measure(folder.name, folder, paths, job)
        control = MaskAccuracy()
        for case, following in zip(cases, cases[1:] + cases[:1]):
            ids = np.frombuffer(zlib.decompress(found[case.stem]), dtype=np.uint8).reshape(size)
            control.update(case.stem, read_labels(following.mask, *size), ids)
        result = {"folder": folder.name, "n": len(cases), column: row.scores[column].value, "control": control.score(),
                  "images_per_second": len(cases) / row.seconds}
        text = [f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}" for name, value in result.items()]
        print(json.dumps(result) if args.json else "  ".join(text), flush=True)


def pairs(folder):
    """([Case], {stem: image}) of a folder in either layout."""
    images = sorted(folder.glob("*_gen.jpg"))
    stems = [path.name[:-len("_gen.jpg")] for path in images]
    found = list(zip(stems, images, (folder / f"{stem}_label.png" for stem in stems)))
    if not found:
        found = [(pair.stem, pair.image, pair.labels) for pair in find_train(folder)]
    cases = [Case(mask.name, stem, mask, image) for stem, image, mask in found]
    height, width = image_size(cases)
    check_test(cases, DataConfig(height=height, width=width))
    return cases, {case.stem: case.reference for case in cases}


if __name__ == "__main__":
    run_script(main)
