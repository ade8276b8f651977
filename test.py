"""Paints every mask in the style of its reference (Algorithm 2) and packs the submission."""
import argparse
import dataclasses

from data.images import image_size
from runtime.distributed import process, shard
from runtime.errors import UserError, run_script
from sampling.shards import asked

EXAMPLES = """examples:
  python test.py --input_path TEST --img_path TRAIN --output_path ./results
  python test.py --input_path TEST --img_path TRAIN --checkpoint runs/try/checkpoints/ensemble.safetensors --limit 4
  python test.py --input_path TEST --img_path TRAIN --config iidm_paper --output_path ./results-paper

--input_path holds val_*_labels*/ (or labels/, or is that folder) and label_to_img.json; --img_path holds imgs/ or is it.
One <mask stem>.jpg per mask, result.zip with the same files, contact_sheet.png. Stopped and started again it goes on.
Many masks, many machines: test.py ... --shard 0/8, 1/8, ... into one folder, then python -m sampling.merge RESULTS.
Several GPUs: mpirun -np 4 python test.py ...  shares the masks out; the images are the same."""


def parse(argv):
    parser = argparse.ArgumentParser(prog="test.py", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_path", required=True, metavar="TEST", help="masks and label_to_img.json")
    parser.add_argument("--img_path", required=True, metavar="TRAIN", help="the reference images")
    parser.add_argument("--output_path", default="./results",
                        help="folder of the images (default: ./results)")
    parser.add_argument("--checkpoint",
                        help="weights of a U-Net (default: checkpoints/iidm.safetensors, else the newest run's) or of a "
                             "GAN of Table 1, trained here or published")
    parser.add_argument("--weights", default="ema", choices=["ema", "raw"],
                        help="which set of a training checkpoint")
    parser.add_argument("--autoencoder", metavar="FILE",
                        help="its weights (default: the path in the checkpoint's config)")
    parser.add_argument("--config",
                        help="a yaml whose `sampling` and `output` are used instead of the checkpoint's")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c",
                        help="overrides an option; repeatable")
    parser.add_argument("--rounds", type=int, help="only the first so many rounds")
    parser.add_argument("--seed", type=int, help="of the noise (default: sampling.seed)")
    parser.add_argument("--batch_size", type=int,
                        help="masks at a time; does not change the images (default: the config's)")
    parser.add_argument("--size", type=image_size, metavar="WIDTHxHEIGHT",
                        help="of the images, multiples of 32: a second pass over what was painted at the trained size, the "
                             "default; masks may have either's shape")
    parser.add_argument("--limit", type=int, help="only the first so many masks, by name")
    parser.add_argument("--shard", metavar="I/N",
                        help="process I of N that share the masks out in units (default: a Slurm job array's place)")
    parser.add_argument("--unit", type=int, metavar="MASKS", help="of a unit of --shard (default: 64, or the folder's)")
    parser.add_argument("--tar", action="store_true", help="with --shard: the images of each unit as one tar file")
    parser.add_argument("--candidates", type=int, default=1, metavar="N",
                        help="paint N a mask and keep the best (default: 1)")
    parser.add_argument("--select", default="s", choices=["s", "m"],
                        help="by style similarity, or by mask accuracy with --segmenter (default: s)")
    parser.add_argument("--segmenter", metavar="FILE", help="for --select m: as for evaluate.py")
    parser.add_argument("--overwrite", action="store_true",
                        help="replace what another run left in --output_path")
    return parser.parse_args(argv)


def overrides(args, processes):
    """--set and the options that stand for one. UserError for options that cannot be."""
    for name, most in (("rounds", 100), ("limit", 10 ** 9), ("candidates", 1000), ("unit", 10 ** 6)):
        value = getattr(args, name)
        if value is not None and not 1 <= value <= most:
            raise UserError(f"--{name} is {value}, expected at least 1" + (f" and at most {most}" if value > 0 else ""))
    if args.overwrite and processes > 1:
        raise UserError(f"--overwrite with {processes} processes: one could remove what another painted; "
                        "remove the folder first")
    short = {"sampling.seed": args.seed, "sampling.batch_size": args.batch_size,
             "autoencoder.path": args.autoencoder}
    if args.size:
        short["sampling.large.width"], short["sampling.large.height"] = args.size
    return args.set + [f"{name}={value}" for name, value in short.items() if value is not None]


def main(argv):
    args, (rank, size, _) = parse(argv), process()
    given = overrides(args, size)
    part = asked(args.shard)
    if part:
        return paint_shard(args, part, given, size)
    if args.unit or args.tar:
        raise UserError("--unit and --tar are of --shard, expected that too")
    from data.landscape import check_test, find_test
    cases = find_test(args.input_path, args.img_path)[:args.limit]
    from sampling.best_of import selection
    from sampling.contact_sheet import write_contact_sheet
    from sampling.hand_in import confirm
    from sampling.networks import find_checkpoint
    from sampling.painting import needs_masks
    from sampling.submission import Submission, claim, input_hash, manifest_settings, not_an_input
    not_an_input(args.output_path, {part.parent for case in cases for part in (case.mask, case.reference) if part})
    checkpoint = find_checkpoint(args.checkpoint)
    Painter, load_networks, settings = way_of(checkpoint)
    config, weights = settings(checkpoint, args.config, given, args.weights)
    config.sampling.rounds = config.sampling.rounds[:args.rounds]
    height, width = config.image_size
    by_class = needs_masks(config.sampling)
    check_test(cases, config.data, reference_masks=by_class, size=config.image_size)
    if rank == 0:
        claim(args.output_path)                                                # before the long work, not after it
    networks = load_networks(config, checkpoint, weights)

    selected = selection(args.candidates, args.select, args.segmenter, config.data.class_set)
    results = Submission(args.output_path, manifest_settings(config, networks.hashes, selected.settings()),
                         {case.name: input_hash(case, by_class) for case in cases}, height, width, config.output,
                         args.overwrite, first=rank == 0, timesteps=config.diffusion.timesteps)
    ours = shard(cases, rank, size)
    missing = [case for case in ours if not results.has(case.stem)]
    painter = Painter(networks, config, results, selected)
    introduce(f"{checkpoint} at step {weights.header.step}", painter, missing, ours)
    painter.run(missing)                                                       # Algorithm 2: ldm/algorithm2.py
    if rank:
        return
    stems = [case.stem for case in cases]
    results.wait(stems)
    archive = results.finish(stems)
    confirm(results.folder, stems, (width, height))
    similarity = write_contact_sheet(cases, results, height, width, config.data.class_set)
    print(f"{len(cases)} images of {width}x{height}, all valid, in {archive}; "
          f"style similarity S {similarity:.2f} %")


def paint_shard(args, part, given, processes):
    """main() where many processes share a million masks out: none of them lists, checks or hashes more than its own."""
    if args.limit or args.overwrite or processes > 1:
        raise UserError("--shard: goes with neither --limit, --overwrite nor mpirun")
    from sampling import shards
    from sampling.best_of import selection
    from sampling.networks import find_checkpoint
    from sampling.painting import needs_masks
    from sampling.submission import manifest_settings, not_an_input
    shards.not_foreign(args.output_path)
    checkpoint = find_checkpoint(args.checkpoint)
    Painter, load_networks, settings = way_of(checkpoint)
    config, weights = settings(checkpoint, args.config, given, args.weights)
    config.sampling.rounds = config.sampling.rounds[:args.rounds]
    plan = shards.opened_plan(args.output_path, args.input_path, args.img_path, args.unit)
    not_an_input(args.output_path, {plan.masks, plan.references})
    networks = load_networks(config, checkpoint, weights)
    selected = selection(args.candidates, args.select, args.segmenter, config.data.class_set)
    shards.claim(args.output_path, {**manifest_settings(config, networks.hashes, selected.settings()),
                                    **dataclasses.asdict(config.output), "tar": args.tar})
    print(f"shard {part[0]} of {part[1]}: {plan.count} masks in {len(plan)} units of {plan.unit}", flush=True)
    painted = shards.paint(plan, args.output_path, part, lambda unit: Painter(networks, config, unit, selected), config,
                           args.tar, needs_masks(config.sampling))
    print(f"all {len(plan)} units are done, {painted} of them here; python -m sampling.merge {args.output_path} checks them")


def way_of(checkpoint):
    """(Painter, load_networks, settings) for the weights in a file: IIDM's, or those of a GAN of Table 1."""
    from baselines.weights import is_gan
    if is_gan(checkpoint):
        from baselines.painting import Painter, load_networks, settings
    else:
        from sampling.networks import load_networks, settings
        from sampling.painting import Painter
    return Painter, load_networks, settings


def introduce(what, painter, missing, ours):
    """Prints what is about to be painted with what."""
    from runtime.backend import DEVICE
    numbers = "" if painter.config.sampling.precision == "float32" else f" in {painter.config.sampling.precision}"
    print(f"{what} on the {DEVICE}{numbers}: {len(missing)} of {len(ours)} images to paint, {painter.effort()}", flush=True)


if __name__ == "__main__":
    run_script(main)
