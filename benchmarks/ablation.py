"""The paper's Table 2 on any data: what each part of IIDM brings.

    DM     from pure noise, the reference unused            one checkpoint
    I2I    from the reference's noised latent, one round    the same
    +RF    refinement: all rounds                           the same
    +CT    colour transfer between rounds                   the same
    +ME    with the ensemble's weights, Eq. (7)             --ensemble

Paints every mask once per row with test.py and scores the rows with evaluate.py: M, A, FID, S and T as far as their networks
are given. Stopped and started again it goes on.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from runtime.errors import run_script
from runtime.files import write_bytes, write_json

EXAMPLES = """examples:
  python -m benchmarks.ablation --input_path TEST --img_path TRAIN --checkpoint best.safetensors \\
      --ensemble ensemble.safetensors --segformer segformer.bin --inception pt_inception.pth --nima nima.npz
  make demo-table            on the demo's synthetic masks, with a small segmenter trained there"""

ROWS = ("DM", "I2I", "+RF", "+CT", "+ME")
PAPER = {"DM": (91.01, 49.12, 35.41, 27.90, 55.79), "I2I": (93.76, 49.61, 32.98, 62.68, 63.60),
         "+RF": (94.57, 50.43, 30.63, 49.24, 63.51), "+CT": (94.11, 49.78, 31.38, 66.03, 65.09),
         "+ME": (94.15, 50.43, 30.75, 63.76, 65.27)}         # Table 2
SCORES = "M", "A", "FID", "S", "T"
SHOWN = 4                                                    # masks in the picture


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_path", required=True, metavar="TEST", help="masks and label_to_img.json")
    parser.add_argument("--img_path", required=True, metavar="TRAIN", help="the reference images")
    parser.add_argument("--checkpoint", required=True, help="the U-Net of the first four rows")
    parser.add_argument("--ensemble", help="the average of the last row; left out without it")
    parser.add_argument("--config", help="a yaml whose `sampling` gives the rounds (default: the checkpoint's)")
    parser.add_argument("--output", default="ablation", help="folder of the images and of table.md, .json, .png")
    for name in ("segformer", "inception", "nima", "segmenter", "fid_stats", "hist", "fid_resize"):
        parser.add_argument(f"--{name}", help="for evaluate.py, see there")
    return parser.parse_args(argv)


def main(argv):
    args = parse(argv)
    import evaluate
    import test
    from configs.reading import config_dict, load_config
    from models.weights.loading import open_weights
    from runtime import pictures
    output = Path(args.output)
    given = (config_dict(load_config(args.config)) if args.config else open_weights(args.checkpoint, "unet").header.config)
    rows = [name for name in ROWS if name != "+ME" or args.ensemble]
    for name in rows:
        config = output / f"{name.strip('+')}.yaml"
        sampling = sampling_of(name, given["sampling"], given["diffusion"]["timesteps"])
        write_bytes(config, yaml.safe_dump({"sampling": sampling}).encode())
        print(f"\n== {name}", flush=True)
        test.main(["--input_path", args.input_path, "--img_path", args.img_path, "--config", str(config), "--output_path",
                   str(folder(output, name)), "--checkpoint", args.ensemble if name == "+ME" else args.checkpoint])
    options = [part for name in ("segformer", "inception", "nima", "segmenter", "fid_stats", "hist", "fid_resize")
               if getattr(args, name) for part in (f"--{name}", getattr(args, name))]
    evaluate.main(["--input_path", args.input_path, "--img_path", args.img_path, "--json", str(output / "scores.json"),
                   *(part for name in rows for part in ("--gen", f"{name}={folder(output, name)}")), *options])
    scores = json.loads((output / "scores.json").read_text())
    table = markdown(scores)
    write_bytes(output / "table.md", table.encode())
    write_json(output / "table.json", {"rows": {row["name"]: row for row in scores["rows"]},
                                       "paper": {name: dict(zip(SCORES, PAPER[name])) for name in rows}})
    pictures.save(output / "table.png", sheet(output, rows, args))
    print(f"\n{table}\n{output}/table.md, table.json, table.png")


def sampling_of(name, sampling, timesteps=1000):
    """The `sampling` section of a row, from the whole recipe's; timesteps: diffusion.timesteps."""
    rounds, transfer = [dict(round_) for round_ in sampling["rounds"]], sampling["colour_transfer"]
    if name == "DM":
        rounds = [from_noise(rounds[0], timesteps)]
    if name == "I2I":
        rounds = rounds[:1]
    return {**sampling, "rounds": rounds, "colour_transfer": transfer if name in ("+CT", "+ME") else "none"}


def from_noise(round_, timesteps):
    """A round from pure noise, with timesteps as far apart as in the round given."""
    stride = round_["t_start"] / max(round_["steps"] - 1, 1) or timesteps
    steps = int((timesteps - 1) / stride) + 1
    return {**round_, "t_start": round(stride * (steps - 1)), "steps": steps, "timesteps": [], "from_noise": True, "t_noise": 0}


def folder(output, name):
    """Where a row's images are."""
    return output / name.strip("+")


def markdown(scores):
    """Table 2 as Markdown: what was measured, the paper's figures of its own data beside it, and why a score is missing."""
    rows = scores["rows"]
    stand_ins = [column for column in rows[0] if "(" in column]
    columns = [column for score in SCORES for column in (score, *(name for name in stand_ins if name.startswith(score + "(")))]
    shown = lambda value: "-" if value is None else f"{value:.2f}"
    lines = [f"| | {' | '.join(columns)} | the paper's M, A, FID, S, T |", "|---" * (len(columns) + 2) + "|"]
    lines += [f"| {row['name']} | {' | '.join(shown(row[column]['value']) for column in columns)} | "
              f"{', '.join(shown(value) for value in PAPER[row['name']])} |" for row in rows]
    missing = {f"{column} not measured: {row[column]['reason']}" for row in rows for column in columns
               if row[column]["value"] is None}
    return "\n".join([*lines, "", f"{rows[0]['n']} masks. " + "; ".join(sorted(missing)), ""])


def sheet(output, rows, args):
    """Some masks, their references, and what every row made of them."""
    from data.landscape import find_test, read_image, read_labels
    from runtime import pictures
    cases = find_test(args.input_path, args.img_path)
    lines = []
    for case in [cases[int((i + 0.5) * len(cases) / SHOWN)] for i in range(SHOWN)] if len(cases) > SHOWN else cases:
        images = [np.asarray(Image.open(folder(output, name) / f"{case.stem}.jpg").convert("RGB")) for name in rows]
        height, width = images[0].shape[:2]
        lines.append([pictures.colour_labels(read_labels(case.mask, height, width)), read_image(case.reference, height, width),
                      *images])
    return pictures.grid(lines, captions=["mask", "reference", *rows])


if __name__ == "__main__":
    run_script(main)
