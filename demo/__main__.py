"""The whole of IIDM in miniature, on this machine: synthetic landscapes, a short training of both networks from the weights
in demo/weights, the two best checkpoints averaged, three rounds of Algorithm 2, and a contact sheet to look at."""
import argparse
import shutil
import time
from pathlib import Path

from data import synthetic
from runtime.errors import UserError, run_script

RUN = Path("demo/run")
SHEET = Path("demo/contact_sheet.png")


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--train", type=int, default=96, help="synthetic training pairs (default: 96)")
    parser.add_argument("--test", type=int, default=16, help="synthetic test masks (default: 16)")
    args = parser.parse_args(argv)
    if not Path("demo/__main__.py").exists():
        raise UserError("expected the repository's folder as the working directory; cd there first")
    import ensemble
    import test
    import train
    start = time.monotonic()
    for folder in ("training", "results"):  # the landscapes and Jittor's operators are kept, the run is made anew
        shutil.rmtree(RUN / folder, ignore_errors=True)
    (RUN / "autoencoder.safetensors").unlink(missing_ok=True)

    data = RUN / "data"
    step("Landscapes with their masks", "-m data.synthetic", synthetic.main,
         ["--output", data, "--train", args.train, "--test", args.test])
    step("Both networks, trained a little further from demo/weights", "train.py", train.main,
         ["--input_path", data / "train", "--config", "demo"])
    step("Model ensemble, Eq. (7)", "ensemble.py", ensemble.main, ["--run", RUN / "training", "--top", 2])
    step("Three rounds of Algorithm 2 for every mask", "test.py", test.main,
         ["--input_path", data / "test", "--img_path", data / "train", "--output_path", RUN / "results",
          "--checkpoint", RUN / "training/checkpoints/ensemble.safetensors"])
    shutil.copy(RUN / "results" / "contact_sheet.png", SHEET)
    print(f"\n{SHEET}: mask, reference, result. The whole demo took {time.monotonic() - start:.0f} s.")


def step(title, name, run, arguments):
    """Says what comes next and the command that does it by hand, and runs it in this process: Jittor starts once."""
    arguments = [str(argument) for argument in arguments]
    print(f"\n== {title}\n   python {name} {' '.join(arguments)}", flush=True)
    run(arguments)


if __name__ == "__main__":
    run_script(main)
