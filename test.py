"""Paints every mask in the style of its reference (Algorithm 2) and packs the submission."""
import argparse
import time
from pathlib import Path

import numpy as np

from runtime.distributed import process, shard
from runtime.errors import UserError, run_script

EXAMPLES = """examples:
  python test.py --input_path TEST --img_path TRAIN --output_path ./results
  python test.py --input_path TEST --img_path TRAIN --checkpoint runs/try/checkpoints/ensemble.safetensors --limit 4
  python test.py --input_path TEST --img_path TRAIN --config iidm_paper --output_path ./results-paper

--input_path holds val_*_labels*/ (or labels/, or is that folder) and label_to_img.json; --img_path holds imgs/ or is it.
One <mask stem>.jpg per mask, result.zip with the same files, contact_sheet.png. Stopped and started again it goes on.
Several GPUs: mpirun -np 4 python test.py ...  shares the masks out; the images are the same."""


def parse(argv):
    parser = argparse.ArgumentParser(prog="test.py", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_path", required=True, metavar="TEST", help="masks and label_to_img.json")
    parser.add_argument("--img_path", required=True, metavar="TRAIN", help="the reference images")
    parser.add_argument("--output_path", default="./results", help="folder of the images (default: ./results)")
    parser.add_argument("--checkpoint", help="U-Net weights (default: checkpoints/iidm.safetensors, else the newest run's)")
    parser.add_argument("--weights", default="ema", choices=["ema", "raw"], help="which set of a training checkpoint")
    parser.add_argument("--autoencoder", metavar="FILE", help="its weights (default: the path in the checkpoint's config)")
    parser.add_argument("--config", help="a yaml whose `sampling` and `output` are used instead of the checkpoint's")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="overrides an option; repeatable")
    parser.add_argument("--rounds", type=int, help="only the first so many rounds")
    parser.add_argument("--seed", type=int, help="of the noise (default: sampling.seed)")
    parser.add_argument("--batch_size", type=int, help="masks at a time; does not change the images (default: the config's)")
    parser.add_argument("--limit", type=int, help="only the first so many masks, by name")
    parser.add_argument("--candidates", type=int, default=1, metavar="N", help="paint N a mask and keep the best (default: 1)")
    parser.add_argument("--select", default="s", choices=["s", "m"],
                        help="by style similarity, or by mask accuracy with --segmenter (default: s)")
    parser.add_argument("--segmenter", metavar="FILE", help="for --select m: as for evaluate.py")
    parser.add_argument("--overwrite", action="store_true", help="replace what another run left in --output_path")
    return parser.parse_args(argv)


def overrides(args):
    """--set and the options that stand for one."""
    short = {"sampling.seed": args.seed, "sampling.batch_size": args.batch_size, "autoencoder.path": args.autoencoder}
    for name in ("rounds", "limit", "candidates"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name} is {getattr(args, name)}, expected at least 1")
    return args.set + [f"{name}={value}" for name, value in short.items() if value is not None]


def main(argv):
    args, (rank, size, _) = parse(argv), process()
    given = overrides(args)
    if args.overwrite and size > 1:
        raise UserError(f"--overwrite with {size} processes: one could remove what another painted; remove the folder first")
    from data.landscape import check_test, find_test, read_image, read_labels
    from sampling.submission import Submission, input_hash
    cases = find_test(args.input_path, args.img_path)[:args.limit]

    from configs.schema import config_dict
    from evaluation.metrics.style import style_similarity
    from ldm.algorithm2 import evaluations
    from runtime import pictures
    from runtime.backend import DEVICE
    from runtime.files import sha256
    from runtime.log import progress_bar
    from sampling.best_of import selection_score
    from sampling.networks import find_checkpoint, load_networks, settings
    from sampling.painting import Painter
    checkpoint = find_checkpoint(args.checkpoint)
    config, weights = settings(checkpoint, args.config, given, args.weights)
    config.sampling.rounds = config.sampling.rounds[:args.rounds]
    check_test(cases, config.data)
    height, width = config.data.height, config.data.width
    encode, decode, model, schedule, hashes = load_networks(config, checkpoint, weights)

    sampling = config_dict(config)["sampling"]
    batch_size = sampling.pop("batch_size")  # images do not depend on this and the next two
    for name in ("spade_cache_gb", "autoencoder_gb"):
        sampling.pop(name)
    manifest_settings, score = {"weights": hashes, "precision": sampling.pop("precision"), "sampling": sampling}, None
    if args.candidates > 1:
        score = selection_score(args.select, args.segmenter)
        manifest_settings["candidates"] = {"n": args.candidates, "select": args.select,
                              "segmenter": args.segmenter and sha256(args.segmenter)}
    results = Submission(args.output_path, manifest_settings, {c.name: input_hash(c) for c in cases},
                         height, width, config.output, args.overwrite, first=rank == 0,
                         timesteps=config.diffusion.timesteps)
    ours = shard(cases, rank, size)
    missing = [case for case in ours if not results.has(case.stem)]
    steps = sum(round_.steps for round_ in config.sampling.rounds)
    numbers = "" if config.sampling.precision == "float32" else f" in {config.sampling.precision}"
    print(f"{checkpoint} at step {weights.header.step} on the {DEVICE}{numbers}: {len(missing)} of {len(ours)} images to "
          f"paint, {steps} steps and {evaluations(config.sampling, schedule)} network evaluations each", flush=True)

    painter = Painter((encode, decode, model, schedule), config, results, args.candidates, score)
    start = time.monotonic()
    with progress_bar(total=len(missing) * steps * args.candidates, label="sampling", unit="step") as progress:
        painter.run(missing, batch_size, progress.update)
    taken = time.monotonic() - start
    if missing:
        print(f"{len(missing)} images in {taken:.0f} s, {taken / len(missing):.2f} s each")
    if painter.gained:
        print(f"best of {args.candidates} by {args.select.upper()}: {np.mean(painter.gained):+.2f} on average over the first")
    if rank:
        return
    results.wait([case.stem for case in cases])

    archive = results.finish([case.stem for case in cases])
    shown = cases[:8]
    rows, similarity = [], []
    for case in cases:
        image, reference = (read_image(path, height, width) for path in (results.path(case.stem), case.reference))
        similarity.append(style_similarity(image, reference))
        if case in shown:
            rows.append([pictures.colour_labels(read_labels(case.mask, height, width)), reference, image])
    pictures.save(Path(args.output_path) / "contact_sheet.png", pictures.grid(rows, captions=["mask", "reference", "result"]))
    print(f"{len(cases)} images of {width}x{height}, all valid, in {archive}; "
          f"style similarity S {100 * np.mean(similarity):.2f} %")


if __name__ == "__main__":
    run_script(main)
