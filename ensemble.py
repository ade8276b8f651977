"""Averages the weights of checkpoints, Eq. (7): theta* = (theta_a + theta_b) / 2."""
import argparse
from pathlib import Path

import numpy as np

from runtime.errors import UserError, run_script
from runtime.files import check_writable, not_an_input

EXAMPLES = """examples:
  python ensemble.py A.safetensors B.safetensors --output checkpoints/iidm.safetensors
  python ensemble.py A B C --ratios 0.5 0.3 0.2 --output C.safetensors
  python ensemble.py --run runs/iidm --greedy --input_path TRAIN    best first, each kept where the validation loss falls
  python ensemble.py --run runs/iidm --top 2            the two best of a run, as the paper does by FID
                                                        (train.unet.best_by says by what)

The result is an ordinary checkpoint that names its parents; test.py takes it."""


def parse(argv):
    parser = argparse.ArgumentParser(prog="ensemble.py", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT",
                        help="two or more checkpoints of one architecture")
    parser.add_argument("--output", metavar="FILE",
                        help="the average (default with --run: its checkpoints/ensemble)")
    parser.add_argument("--ratios", type=float, nargs="+", metavar="W",
                        help="one weight each (default: equal)")
    parser.add_argument("--shares", type=float, nargs="+", dest="ratios",
                        help=argparse.SUPPRESS)   # its former name
    parser.add_argument("--weights", default="ema", choices=["ema", "raw"],
                        help="which set to average (default: ema)")
    parser.add_argument("--run", metavar="RUN", help="a run's folder, to take the best checkpoints of")
    parser.add_argument("--top", type=int, default=2, metavar="K",
                        help="how many of the run's best (default: 2)")
    parser.add_argument("--greedy", action="store_true",
                        help="with --run: a greedy soup (Wortsman et al. 2022) of all that are kept, by validation loss")
    parser.add_argument("--input_path", metavar="TRAIN", help="with --greedy: the training folder that the run had")
    return parser.parse_args(argv)


def main(argv):
    args = parse(argv)
    from models.weights.average import average
    from models.weights.loading import open_weights
    from models.weights.ranking import ranked
    paths = [Path(path) for path in args.checkpoints]
    output = args.output
    if args.run:
        if paths:
            raise UserError("--run chooses the checkpoints itself, expected no others beside it")
        paths = [path for path, _ in ranked(args.run) or ranked(args.run, "distil")]
        if args.greedy:
            from training.soup import greedy
            if not args.input_path:
                raise UserError("--greedy: --input_path TRAIN is missing, the folder whose held-out images are validated on")
            paths = greedy(paths, args.input_path, args.weights)
            if len(paths) < 2:
                raise UserError(f"{args.run}: no checkpoint makes the best one, {paths[0]}, any better; nothing is written")
        else:
            paths = paths[:max(0, args.top)]
        if not args.greedy and len(paths) < args.top:
            raise UserError(f"{args.run}: found {len(paths)} checkpoints, expected at least {args.top} (--top)")
        output = output or Path(args.run) / "checkpoints" / "ensemble.safetensors"
    if args.top < 2:
        raise UserError(f"--top is {args.top}, expected at least 2")
    if len(paths) < 2:
        raise UserError(f"found {len(paths)} checkpoints, expected two or more, or --run RUN --top K")
    if not output:
        raise UserError("--output FILE is missing")
    ratios = np.array(args.ratios or [1] * len(paths), dtype=np.float64)
    if len(ratios) != len(paths) or not ((ratios > 0) & (ratios <= 1e6)).all():
        raise UserError(f"--ratios has {len(ratios)} numbers for {len(paths)} checkpoints, expected one number each, "
                        "above 0 and at most 1000000")
    ratios /= ratios.sum()
    not_an_input(output, paths)
    check_writable(Path(output).parent)
    for path, ratio in zip(paths, ratios):
        header = open_weights(path).header
        print(f"{ratio:.4f} x {path}  step {header.step}  " + "  ".join(f"{k} {v:.5g}" for k, v in header.metrics.items()))
    average(paths, ratios, output, args.weights)
    print(f"{output}: {Path(output).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_script(main)
