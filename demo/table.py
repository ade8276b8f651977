"""The paper's Table 2 in miniature: the demo's networks on synthetic masks, mask accuracy by the demo's small segmenter.

A, FID and T stay empty: their networks have to be downloaded. Stopped and started again it goes on.
"""
import argparse
from pathlib import Path

from data import synthetic
from demo.__main__ import RUN, step
from runtime.errors import UserError, run_script

TABLE = RUN / "table"
SEED = 5     # of landscapes that neither the demo nor its weights have seen


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m demo.table", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=48, help="landscapes that are references (default: 48)")
    parser.add_argument("--test", type=int, default=48, help="masks that every row paints (default: 48)")
    args = parser.parse_args(argv)
    if not Path("demo/__main__.py").exists():
        raise UserError("expected the repository's folder as the working directory; cd there first")
    import demo.__main__ as whole
    from benchmarks import ablation
    from models.weights.ranking import ranked
    training, data = RUN / "training", TABLE / "data"
    if not (training / "checkpoints" / "ensemble.safetensors").is_file():
        whole.main([])
    step("Landscapes with their masks", "-m data.synthetic", synthetic.main,
         ["--output", data, "--train", args.train, "--test", args.test, "--width", 512, "--height", 384, "--seed", SEED])
    step("The rows of Table 2", "-m benchmarks.ablation", ablation.main,
         ["--input_path", data / "test", "--img_path", data / "train", "--checkpoint", ranked(training)[0][0], "--ensemble",
          training / "checkpoints" / "ensemble.safetensors", "--segmenter", "demo/weights/segmenter.safetensors",
          "--output", TABLE / "rows"])


if __name__ == "__main__":
    run_script(main)
