"""The paper's Table 1 on any data: IIDM, its DM, and the GANs that it is compared with, painted and scored by
one harness.

Every --row NAME=CHECKPOINT is a file that test.py takes: a U-Net, a GAN that was trained here, or a published
generator. Each paints every mask once; evaluate.py scores the rows: M, A, FID, S and T as far as their
networks are given. Stopped and started again it goes on. A row called DM paints from pure noise, the
reference unused.
"""
import argparse
import json
import re
import sys
import time
from pathlib import Path

import yaml

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.ablation import sampling_of
from runtime.errors import UserError, run_script
from runtime.files import write_bytes, write_json

EXAMPLES = """examples:
  python -m benchmarks.table1 --input_path TEST --img_path TRAIN --row SEAN=sean.safetensors --row SCGAN=scgan.safetensors \\
      --row GauGAN=gaugan.safetensors --row CLADE=clade.safetensors --row DM=best.safetensors --row IIDM=ensemble.safetensors \\
      --segformer segformer.bin --inception pt_inception.pth --nima nima.npz"""

PAPER = {"SEAN": (76.03, 47.72, 75.36, 68.38, 35.82), "SCGAN": (87.74, 49.14, 56.13, 30.66, 45.06),
         "GauGAN": (89.54, 49.59, 43.39, 54.42, 54.96), "CLADE": (92.09, 50.98, 40.63, 48.14, 57.18),
         "DM": (91.01, 49.12, 35.41, 27.90, 55.79), "IIDM": (94.15, 50.43, 30.75, 63.76, 65.27)}       # Table 1
SCORES = "M", "A", "FID", "S", "T"
COST = "parameters", "GFLOP", "seconds"
EVALUATION = "segformer", "inception", "nima", "segmenter", "fid_stats", "hist", "fid_resize"


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table1", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_path", required=True, metavar="TEST", help="masks and label_to_img.json")
    parser.add_argument("--img_path", required=True, metavar="TRAIN", help="the reference images")
    parser.add_argument("--row", required=True, action="append", metavar="NAME=CHECKPOINT", help="a row; repeatable")
    parser.add_argument("--config", help="a yaml whose `sampling` gives the rounds of IIDM and DM (default: the checkpoint's)")
    parser.add_argument("--limit", type=int, help="only the first so many masks; then nothing is scored")
    parser.add_argument("--output", default="table1", help="folder of the images and of table.md, .json")
    for name in EVALUATION:
        parser.add_argument(f"--{name}", help="for evaluate.py, see there")
    return parser.parse_args(argv)


def main(argv):
    args = parse(argv)
    rows, output = rows_of(args.row), Path(args.output)
    import evaluate
    costs = {}
    for name, checkpoint in rows.items():
        print(f"\n== {name}", flush=True)
        costs[name] = paint(name, checkpoint, args, output)
    if args.limit:
        print(f"{args.limit} masks painted by each row into {output}; without --limit they are scored")
        return
    options = [part for name in EVALUATION if getattr(args, name) for part in (f"--{name}", getattr(args, name))]
    evaluate.main(["--input_path", args.input_path, "--img_path", args.img_path, "--json", str(output / "scores.json"),
                   *(part for name in rows for part in ("--gen", f"{name}={folder(output, name)}")), *options])
    scores = json.loads((output / "scores.json").read_text())
    table = markdown(scores, costs)
    write_bytes(output / "table.md", table.encode())
    write_json(output / "table.json", {"rows": {row["name"]: {**row, **costs[row["name"]]} for row in scores["rows"]},
                                       "paper": {name: dict(zip(SCORES, PAPER[name])) for name in rows if name in PAPER}})
    print(f"\n{table}\n{output}/table.md, table.json, side-by-side.png")


def rows_of(given):
    """{name: checkpoint} of the --row options. UserError for what is none."""
    rows, problems = {}, []
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not name or not Path(path).is_file():
            problems.append(f"--row {text}: expected NAME=CHECKPOINT with a file that is there")
        if name in rows:
            problems.append(f"--row {text}: found the name {name} twice, expected another")
        rows[name] = path
    if problems:
        raise UserError(problems)
    return rows


def paint(name, checkpoint, args, output):
    """Paints one row with test.py; {cost: number or None}, seconds being those of an image of this call."""
    import test
    from baselines.weights import is_gan
    from benchmarks.flops import counting
    place = folder(output, name)
    command = ["--input_path", args.input_path, "--img_path", args.img_path, "--output_path", str(place),
               "--checkpoint", checkpoint, *(["--limit", str(args.limit)] if args.limit else [])]
    gan = is_gan(checkpoint)
    if not gan:
        command += ["--config", str(sampling_file(name, checkpoint, args.config, output))]
    before = len(list(place.glob("*.jpg")))
    start = time.monotonic()
    with counting() as found:
        test.main(command)
    taken, images = time.monotonic() - start, len(list(place.glob("*.jpg"))) - before
    kept = output / f"{file_name(name)}-cost.json"
    if images:                                       # otherwise all were there: what they cost was written down
        write_json(kept, {"seconds": taken / images, "GFLOP": sum(found.values()) / images / 1e9})
    measured = json.loads(kept.read_text()) if kept.is_file() else {"seconds": None, "GFLOP": None}
    return {**measured, **gan_cost(checkpoint)} if gan else {**measured, "parameters": unet_parameters(checkpoint)}


def sampling_file(name, checkpoint, given, output):
    """A yaml with the `sampling` of a diffusion row; DM begins with noise alone and takes one round."""
    from configs.reading import config_dict, load_config
    from models.weights.loading import open_weights
    tree = config_dict(load_config(given)) if given else open_weights(checkpoint, "unet").header.config
    sampling = sampling_of("DM" if name == "DM" else "+CT", tree["sampling"], tree["diffusion"]["timesteps"])
    path = output / f"{file_name(name)}.yaml"
    write_bytes(path, yaml.safe_dump({"sampling": sampling}).encode())
    return path


def gan_cost(checkpoint):
    """Parameters and GFLOP per image of a GAN's generator."""
    from baselines.gan import trained
    from baselines.networks import build_generator
    from baselines.weights import open_gan
    from benchmarks.gan_flops import generator_flops
    config, _ = open_gan(checkpoint)
    generator = build_generator(config.gan.generator)
    count = sum(int(var.numel()) for var in trained(generator).values())
    return {"parameters": count, "GFLOP": generator_flops(generator, (config.data.height, config.data.width)) / 1e9}


def unet_parameters(checkpoint):
    """Numbers in a U-Net's tensors."""
    import math

    from models.weights.loading import open_weights
    return sum(math.prod(tensor.shape) for tensor in open_weights(checkpoint, "unet").tensors.values())


def file_name(name):
    """A row's name as a file's."""
    return re.sub(r"[^\w.]+", "-", name)


def folder(output, name):
    """Where a row's images are."""
    return output / file_name(name)


def markdown(scores, costs):
    """Table 1 as Markdown: what was measured, the paper's figures of its own data beside it, and why a score
    is missing."""
    rows = scores["rows"]
    stand_ins = [column for column in rows[0] if "(" in column]
    columns = [column for score in SCORES
               for column in (score, *(name for name in stand_ins if name.startswith(score + "(")))]
    shown = lambda value, form=".2f": "-" if value is None else f"{value:{form}}"
    lines = [f"| | {' | '.join(columns)} | parameters | GFLOP / image | s / image | the paper's M, A, FID, S, T |",
             "|---" * (len(columns) + 5) + "|"]
    for row in rows:
        cost = costs[row["name"]]
        cells = [*(shown(row[column]["value"]) for column in columns), shown(cost["parameters"], ","),
                 shown(cost["GFLOP"], ".1f"), shown(cost["seconds"]),
                 ", ".join(shown(value) for value in PAPER.get(row["name"], ())) or "-"]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    missing = {f"{column} not measured: {row[column]['reason']}" for row in rows for column in columns
               if row[column]["value"] is None}
    return "\n".join([*lines, "", f"{rows[0]['n']} masks. " + "; ".join(sorted(missing)), ""])


if __name__ == "__main__":
    run_script(main)
