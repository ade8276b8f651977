"""The whole of IIDM in miniature, on this machine: synthetic landscapes, a short training of the U-Net from the weights in
demo/weights, the two best checkpoints averaged, three rounds of Algorithm 2, pictures to look at and a table of scores."""
import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from data import synthetic
from data.scenery.palettes import PALETTES
from runtime.errors import UserError, run_script

RUN = Path("demo/run")
PICTURES = Path("demo/pictures")
STYLES = 6                          # in which one mask is painted
NEXT = """What this leaves out: the networks are {parameters:.0f} million parameters, trained for {steps} steps on a CPU, on \
drawn landscapes.
With the challenge's photos and the full recipe (configs/iidm.yaml, 501.5 million, 270,000 steps) on a GPU, the same commands
make photographs; published weights are read as they are (README.md)."""


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--train", type=int, default=64, help="synthetic training pairs (default: 64)")
    parser.add_argument("--test", type=int, default=12, help="synthetic test masks (default: 12)")
    args = parser.parse_args(argv)
    if not Path("demo/__main__.py").exists():
        raise UserError("expected the repository's folder as the working directory; cd there first")
    import ensemble
    import evaluate
    import test
    import train
    start = time.monotonic()
    for folder in ("training", "results", "styles", "styles-results", "scores"):
        shutil.rmtree(RUN / folder, ignore_errors=True)  # the landscapes and Jittor's operators are kept, the run is made anew

    data = RUN / f"data-{args.train}-{args.test}-512x384"      # landscapes of another length or version stay
    averaged = RUN / "training/checkpoints/ensemble.safetensors"
    step("Landscapes with their masks", "-m data.synthetic", synthetic.main,
         ["--output", data, "--train", args.train, "--test", args.test, "--width", 512, "--height", 384])
    step("The U-Net, trained a little further from demo/weights", "train.py", train.main,
         ["--input_path", data / "train", "--config", "demo"])
    step("Model ensemble, Eq. (7)", "ensemble.py", ensemble.main, ["--run", RUN / "training", "--top", 2])
    paint = lambda masks, results: ["--input_path", masks, "--img_path", data / "train", "--output_path", results,
                                    "--checkpoint", averaged]
    step("Three rounds of Algorithm 2 for every mask", "test.py", test.main, paint(data / "test", RUN / "results"))
    write_styles(data, RUN / "styles", args.train)
    step(f"One mask in {STYLES} styles", "test.py", test.main, paint(RUN / "styles", RUN / "styles-results"))
    step("Scores", "evaluate.py", evaluate.main,
         ["--gen", RUN / "results", "--input_path", data / "test", "--img_path", data / "train",
          "--segmenter", "demo/weights/segmenter.safetensors", "--json", RUN / "scores/scores.json"])
    draw(data, averaged)
    print(f"\n{closing(averaged)}\n\nThe whole demo took {time.monotonic() - start:.0f} s.")


def step(title, name, run, arguments):
    """Says what comes next and the command that does it by hand, and runs it in this process: Jittor starts once."""
    arguments = [str(argument) for argument in arguments]
    print(f"\n== {title}\n   python {name} {' '.join(arguments)}", flush=True)
    run(arguments)


def write_styles(data, folder, train):
    """A test folder with the first test mask once for each of so many references, each of another palette."""
    names = list(PALETTES)
    palettes = [synthetic.palette_of(0, i) for i in range(train)]
    references = [palettes.index(name) for name in names if name in palettes][:STYLES]
    (folder / "labels").mkdir(parents=True)
    for k in range(len(references)):
        shutil.copy(data / "test/val_labels_resized/test_00000.png", folder / "labels" / f"style_{k}.png")
    pairs = {f"style_{k}.png": f"train_{i:05d}.jpg" for k, i in enumerate(references)}
    (folder / "label_to_img.json").write_text(json.dumps(pairs, indent=1))


def draw(data, checkpoint):
    """The three pictures."""
    from data.landscape import find_test, read_labels
    from demo.strip import strip
    from runtime import pictures
    PICTURES.mkdir(exist_ok=True)
    shutil.copy(RUN / "results" / "contact_sheet.png", PICTURES / "contact_sheet.png")
    cases = find_test(RUN / "styles", data / "train")
    read = lambda path: np.asarray(Image.open(path).convert("RGB"))
    columns = [[read(case.reference), read(RUN / "styles-results" / f"{case.stem}.jpg")] for case in cases]
    mask = read_labels(cases[0].mask, *columns[0][0].shape[:2])
    rows = [[pictures.colour_labels(mask), *(column[0] for column in columns)], [None, *(column[1] for column in columns)]]
    pictures.save(PICTURES / "styles.png", pictures.grid(rows, captions=["one mask", *(len(columns) * ["reference, result"])],
                                                         scale=0.5))
    strip(checkpoint, data / "test", data / "train", PICTURES / "strip.png")
    print(f"\n{PICTURES}/contact_sheet.png: mask, reference, result\n{PICTURES}/styles.png: one mask in {len(cases)} styles\n"
          f"{PICTURES}/strip.png: one picture on its way, round by round")


def closing(checkpoint):
    """What would be different with the real weights."""
    from models.weights.checkpoint import open_checkpoint, read_header
    header = read_header(checkpoint, "unet")
    with open_checkpoint(checkpoint) as file:
        parameters = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys() if not name.startswith("raw."))
    trained = read_header(Path("demo/weights/unet.safetensors"), "unet").step
    return NEXT.format(parameters=parameters / 1e6, steps=f"{trained + header.step:,}")


if __name__ == "__main__":
    run_script(main)
