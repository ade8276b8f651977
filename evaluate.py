"""Measures images as the challenge does: mask accuracy M, aesthetic score A, FID, style similarity S, and T of Eq. (8)."""
import argparse
from pathlib import Path

from runtime.errors import UserError, run_script
from runtime.files import check_writable

EXAMPLES = """examples:
  python evaluate.py --gen ./results --input_path TEST --img_path TRAIN
  python evaluate.py --gen IIDM=./results --gen GauGAN=./gaugan --input_path TEST --img_path TRAIN --segformer SEGFORMER \\
      --nima NIMA --inception INCEPTION --json scores.json --per_image images.csv
  python evaluate.py --gen ./results --input_path TEST --img_path TRAIN --segmenter SEGMENTER

--input_path and --img_path are those of test.py. Each --gen has one image per entry of label_to_img.json, <mask stem>.jpg (or
.jpeg, .png), all of one size; anything missing, extra, unreadable or of another size ends the run with a list of all of it.
A score is measured where its inputs are there, else it is null, with the reason. Scores are in percent as in the paper.
  M    --segformer: a SegFormer as published (Hugging Face or NVlabs; of ADE20K's 150 classes, or of the 29). Which one the
       challenge used is not known. NVIDIA's weights are for research and evaluation only.
       --segmenter: a stand-in, either a checkpoint of train.py --stage segmenter or DeepLabV3+ on MobileNetV2 (npz). What it
       measures is M(own-segformer) or M(deeplab-mnv2), never M; T is then null.
  A    --nima: MobileNet of idealo or titu1994 (HDF5 or npz). Ten times the mean mark.
  FID  --inception: pytorch-fid's pt_inception-2015-12-05-6726825d.pth. Against all images in --img_path, brought to the size
       of the others, or --fid_stats.
  S    the correlation of colour histograms (--hist) of image and reference.
  T    when M, A, FID and S are all measured.
The JSON, sheets of the ten worst images of every score, and with several --gen all of them side by side with close-ups, go to
the folder of --json."""


def parse(argv):
    from evaluation.metrics.resize import MODES
    from evaluation.metrics.style import DEFINITIONS
    parser = argparse.ArgumentParser(prog="evaluate.py", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gen", required=True, action="append", metavar="[NAME=]DIR",
                        help="images to measure; repeatable")
    parser.add_argument("--input_path", required=True, metavar="TEST", help="masks and label_to_img.json")
    parser.add_argument("--img_path", metavar="TRAIN",
                        help="the training images: references, and the real side of FID")
    parser.add_argument("--segformer", metavar="FILE", help="weights for M")
    parser.add_argument("--segmenter", metavar="FILE", help="weights for M(stand-in)")
    parser.add_argument("--nima", metavar="FILE", help="weights for A")
    parser.add_argument("--inception", metavar="FILE", help="weights for FID")
    parser.add_argument("--fid_stats", metavar="FILE",
                        help="npz with mu and sigma in place of --img_path's images")
    parser.add_argument("--save_stats", action="store_true",
                        help="write such files of the training images and of every --gen")
    parser.add_argument("--kid", action="store_true",
                        help="the kernel distance too, among FID's details in the JSON")
    parser.add_argument("--hist", default="rgb8", choices=list(DEFINITIONS),
                        help="histogram of S (default: rgb8)")
    parser.add_argument("--fid_resize", default="pytorch", choices=list(MODES),
                        help="as which library (default: pytorch)")
    parser.add_argument("--nima_resize", default="nearest", choices=["nearest", "bilinear"],
                        help="(default: nearest)")
    parser.add_argument("--classes", metavar="FILE",
                        help="of the masks: a yaml, or a checkpoint that has them (default: those of --segmenter, or of the "
                             "painted folder's manifest, else the 29)")
    parser.add_argument("--class_map", default="strict", choices=["strict", "lenient"],
                        help="a segmenter's classes to the masks': equal names, or also alike ones (default: strict)")
    parser.add_argument("--size", default="", metavar="WIDTHxHEIGHT",
                        help="of the images (default: that of the masks)")
    parser.add_argument("--batch_size", type=int, default=16,
                        help="images at a time; does not change the scores")
    parser.add_argument("--json", default="scores/scores.json", metavar="OUT",
                        help="(default: scores/scores.json)")
    parser.add_argument("--per_image", metavar="CSV", help="write every image's M, A and S")
    return parser.parse_args(argv)


def check(args):
    """Raises UserError for options that do not go together."""
    if args.batch_size < 1:
        raise UserError(f"--batch_size is {args.batch_size}, expected at least 1")
    if args.batch_size > 4096:
        raise UserError(f"--batch_size is {args.batch_size}, expected at most 4096")
    if args.fid_stats and not args.inception:
        raise UserError("--fid_stats without --inception: nothing would be compared with it, expected weights")
    if args.save_stats and not args.inception:
        raise UserError("--save_stats without --inception: there is nothing to save, expected weights")
    if args.kid and (args.fid_stats or not args.inception or not args.img_path):
        raise UserError("--kid needs the features of the training images, expected --inception and --img_path, "
                        "no --fid_stats")


def main(argv):
    args = parse(argv)
    check(args)
    from data.landscape import find_test
    from evaluation import measure, scorers, sheets
    from evaluation.masks_classes import masks_classes
    from evaluation.metrics import report
    rows, cases = measure.find_rows(args.gen), find_test(args.input_path, args.img_path)
    size = measure.image_size(cases, args.size)
    check_writable(*{Path(path).parent for path in (args.json, args.per_image) if path})
    for path in (args.json, args.per_image):
        if path and Path(path).is_dir():
            raise UserError(f"{path}: found a folder, expected the name of a file")
    classes = masks_classes(args.classes, args.segmenter, [folder for _, folder in rows])
    used = scorers.open_scorers(args.segformer, args.segmenter, args.nima, args.inception,
                                args.class_map == "lenient", args.nima_resize, args.fid_resize, classes.class_set)
    about = scorers.introduce(used)
    job = measure.Job(cases, size, bool(args.img_path), used, args.hist, args.kid, args.batch_size,
                      classes.class_set)
    made_with = {"resize": args.fid_resize, "network": about["FID"]["sha256"]} if job.inception else {}
    if args.fid_stats and job.inception:
        job.real = measure.Features.load(args.fid_stats, made_with)
    training = measure.real_images(job, args.img_path)                  # those that FID compares with
    paths = measure.check_all(rows, cases, size, job.references, training, classes)

    folder, measured = Path(args.json).parent, []
    if training:
        job.real = measure.training_features(training, job, made_with)
        if args.save_stats:
            job.real.save(folder, "training")
    for name, source in rows:
        row, features, found = measure.measure(name, source, paths[name], job)
        measured.append(row)
        sheets.save_worst(folder, row, job, paths[name], found)
        if args.save_stats:
            features.save(folder, name)
    if len(rows) > 1:
        sheets.save_side_by_side(folder, [name for name, _ in rows], paths, job)
    report.write(args.json, args.per_image, measured, facts(args, job, about))
    print(f"\n{report.table(measured)}\n\n{report.speeds(measured)}\n{args.json}; pictures beside it")


def facts(args, job, about):
    """{name: value} of the JSON besides the scores: what was measured, with what, against what."""
    from evaluation import measure
    from runtime.files import sha256
    real = job.real_side()
    if real and args.fid_stats:
        real.update(file=args.fid_stats, sha256=sha256(args.fid_stats))
    return {"unit": "percent", "masks": len(job.cases), "size": {"height": job.size[0], "width": job.size[1]},
            "instruments": about, "class_map": args.class_map,
            **({"classes": list(job.classes.names)} if job.classes.own else {}), "histogram": args.hist,
            "fid_resize": args.fid_resize, "nima_resize": args.nima_resize, "fid_real": real,
            "input_path": args.input_path, "img_path": args.img_path, "versions": measure.versions()}


if __name__ == "__main__":
    run_script(main)
