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
import dataclasses
import json
from pathlib import Path

import numpy as np
import yaml

from runtime.errors import UserError, run_script
from runtime.files import write_bytes, write_json

EXAMPLES = """examples:
  python -m benchmarks.ablation --input_path TEST --img_path TRAIN --checkpoint best.safetensors --ensemble ensemble.safetensors \\
      --output ablation --segformer segformer.bin --inception pt_inception.pth --nima nima.npz
  make demo-table            on the demo's synthetic masks, with a small segmenter trained there"""

ROWS = ("DM", "I2I", "+RF", "+CT", "+ME")
PAPER = {"DM": (91.01, 49.12, 35.41, 27.90, 55.79), "I2I": (93.76, 49.61, 32.98, 62.68, 63.60),
         "+RF": (94.57, 50.43, 30.63, 49.24, 63.51), "+CT": (94.11, 49.78, 31.38, 66.03, 65.09),
         "+ME": (94.15, 50.43, 30.75, 63.76, 65.27)}         # Table 2
METRICS = "MAFST"
NAMES = {"M": "M", "A": "A", "F": "FID", "S": "S", "T": "T"}


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_path", required=True, metavar="TEST", help="masks and label_to_img.json")
    parser.add_argument("--img_path", required=True, metavar="TRAIN", help="the reference images")
    parser.add_argument("--checkpoint", required=True, help="the U-Net of the first four rows")
    parser.add_argument("--ensemble", help="the average of the last row; left out without it")
    parser.add_argument("--config", help="a yaml whose `sampling` gives the rounds (default: the checkpoint's)")
    parser.add_argument("--output", default="ablation", help="folder of the images and of table.md, .json, .png")
    parser.add_argument("--limit", type=int, help="only the first so many masks; S is then the only metric")
    for name in ("segformer", "inception", "nima", "segmenter", "fid_stats", "hist", "fid_resize"):
        parser.add_argument(f"--{name}", help="for evaluate.py, see there")
    return parser.parse_args(argv)


def main(argv):
    args = parse(argv)
    import evaluate
    import test
    from configs.schema import config_dict, load_config
    from models.weights import open_weights
    from runtime import pictures
    output = Path(args.output)
    given = (config_dict(load_config(args.config)) if args.config else open_weights(args.checkpoint, "unet").header.config)
    rows = [name for name in ROWS if name != "+ME" or args.ensemble]
    for name in rows:
        config = output / f"{name.strip('+')}.yaml"
        write_bytes(config, yaml.safe_dump({"sampling": sampling_of(name, given["sampling"])}).encode())
        print(f"\n== {name}", flush=True)
        test.main(["--input_path", args.input_path, "--img_path", args.img_path, "--config", str(config), "--output_path",
                   str(folder(output, name)), "--checkpoint", args.ensemble if name == "+ME" else args.checkpoint,
                   *(["--limit", str(args.limit)] if args.limit else [])])
    options = [part for name in ("segformer", "inception", "nima", "segmenter", "fid_stats", "hist", "fid_resize")
               if getattr(args, name) for part in (f"--{name}", getattr(args, name))]
    if args.limit:
        raise UserError(f"--limit {args.limit}: the rows are painted; scores are over whole submissions, so there is no table")
    evaluate.main(["--input_path", args.input_path, "--img_path", args.img_path, "--json", str(output / "scores.json"),
                   *(part for name in rows for part in ("--gen", f"{name}={folder(output, name)}")), *options])
    scores = json.loads((output / "scores.json").read_text())
    table = markdown(scores)
    write_bytes(output / "table.md", table.encode())
    write_json(output / "table.json", {"scores": scores, "paper": {name: dict(zip(NAMES.values(), PAPER[name])) for name in rows}})
    pictures.save(output / "table.png", sheet(output, rows, args))
    print(f"\n{table}\n{output}/table.md, table.json, table.png")


def sampling_of(name, sampling):
    """The `sampling` section of a row, from the whole recipe's."""
    rounds, transfer = [dict(round_) for round_ in sampling["rounds"]], sampling["colour_transfer"]
    if name == "DM":
        # The whole grid of the first round, from pure noise.
        rounds = [{**rounds[0], "start": rounds[0]["steps"], "from_noise": True, "published_offset": False}]
    if name == "I2I":
        rounds = rounds[:1]
    return {**sampling, "rounds": rounds, "colour_transfer": transfer if name in ("+CT", "+ME") else "none"}


def folder(output, name):
    """Where a row's images are."""
    return output / name.strip("+")
