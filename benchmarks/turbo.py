"""What fewer network calls cost a picture: students of distillation beside their teacher with fewer steps, on the same masks,
references and noise.

Every row paints all masks: the teacher converged (DPM-Solver++(2M), 24 steps a round, levels even in log-SNR), by UniPC in 8, 6
and 4 guided steps a round, and each student by the rounds it was taught. S is the similarity to the reference's colours; M,
with --segmenter, the share of the mask that it finds again; fid_latents FID's stand-in against the pairs' own pictures
(training/validation.py); LPIPS, with --lpips, and PSNR are to the converged picture. Seconds are an image's, networks and
autoencoder together, the first batch, which compiles, painted twice. Writes turbo.md, turbo.json, turbo.png (quality over
evaluations) and strip.png.
"""
import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from configs.schema import PRECISIONS
from data.landscape import find_test, read_image, read_labels
from evaluation.metrics.fid import Statistics, fid
from evaluation.metrics.style import style_similarity
from ldm.algorithm2 import calls, evaluations, synthesise
from runtime import pictures
from runtime.errors import UserError, run_script
from runtime.files import write_bytes, write_json
from runtime.log import progress_bar
from sampling.networks import load_networks, settings
from sampling.painting import reference_labels
from training.validation import latent_features

CONVERGED, STEPS = 24, (8, 6, 4)
SHOWN = 4                                  # masks in the strip


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turbo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_path", required=True, metavar="TEST", help="masks and label_to_img.json")
    parser.add_argument("--img_path", required=True, metavar="TRAIN", help="the references; real to FID's stand-in")
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="the teacher")
    parser.add_argument("--config", help="a yaml whose `sampling` gives the teacher's rounds (default: the checkpoint's)")
    parser.add_argument("--student", action="append", default=[], metavar="NAME=FILE",
                        help="what train.py --stage distil made; repeatable")
    parser.add_argument("--segmenter", metavar="FILE", help="for M; as for evaluate.py")
    parser.add_argument("--lpips", nargs=2, metavar=("SQUEEZENET", "HEADS"), help="for LPIPS to the converged picture")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS, help="of all rows (default: float32)")
    parser.add_argument("--limit", type=int, help="only so many masks")
    parser.add_argument("--output", type=Path, default=Path("turbo"), help="folder of what is written (default: turbo)")
    args = parser.parse_args(argv)
    students = [named(text) for text in args.student]
    cases = find_test(args.input_path, args.img_path)[:args.limit]
    teacher = opened(args.checkpoint, args.precision, args.config)
    config = teacher[0]
    references = np.stack([read_image(case.reference, config.data.height, config.data.width) for case in cases])
    size = config.data.height // config.label_factor, config.data.width // config.label_factor
    labels = np.stack([read_labels(case.mask, *size, config.data.class_set) for case in cases])
    rows = {}
    for name, sampling in teacher_rows(config.sampling):
        rows[name] = paint(name, teacher, sampling, cases, references, labels)
    for name, path in students:
        student = opened(path, args.precision)
        student[0].sampling.colour_transfer = config.sampling.colour_transfer
        rows[name] = paint(name, student, student[0].sampling, cases, references, labels)
    score(rows, cases, references, config, teacher[1].encode, args)
    write(args.output, rows, cases, references, config)


def named(text):
    """(name, path) of NAME=FILE."""
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise UserError(f"--student {text}: expected NAME=FILE")
    return name, path


def opened(path, precision, config=None):
    """(Config, Networks) of a checkpoint."""
    config, weights = settings(path, config, [f"sampling.precision={precision}"])
    return config, load_networks(config, path, weights)


def teacher_rows(sampling):
    """[(name, SamplingConfig)] of the teacher, the converged one first."""
    with_rounds = lambda **change: dataclasses.replace(
        sampling, rounds=[dataclasses.replace(r, timesteps=[], eta=0.0, **change) for r in sampling.rounds])
    rows = [(f"converged, {CONVERGED} steps", with_rounds(sampler="dpm++2m", spacing="logsnr", steps=CONVERGED))]
    return rows + [(f"UniPC, {n} steps", with_rounds(sampler="unipc", spacing="uniform", steps=n)) for n in STEPS]


def paint(name, networks, sampling, cases, references, labels):
    """{"images" uint8 (N, H, W, 3), "seconds" an image, "evaluations", "calls" of each round} of a row."""
    config, net = networks
    size, stems, images, taken = sampling.batch_size, [case.stem for case in cases], [], []
    with progress_bar(total=len(cases), label=name, unit="image") as progress:
        for first in [0, *range(0, len(cases), size)]:                             # the first batch twice: it compiles
            part, begun = slice(first, first + size), time.perf_counter()
            found, _ = synthesise(net.encode, net.decode, net.unet, references[part], labels[part], stems[part], sampling,
                                  net.schedule, config.unet.latent_channels, latent_size=config.latent_size,
                                  reference_labels=reference_labels(cases[part], config))
            taken.append((time.perf_counter() - begun) / len(found))
            images.append(found)
            progress.update(len(found) if len(images) > 1 else 0)
    return {"images": np.concatenate(images[1:]), "seconds": float(np.median(taken[1:])),
            "evaluations": evaluations(sampling, net.schedule), "calls": [calls(r, net.schedule) for r in sampling.rounds]}


def score(rows, cases, references, config, encode, args):
    """Adds to every row its scores."""
    converged = next(iter(rows.values()))["images"]
    real = Statistics()
    real.update(latent_features(encode, np.stack([read_image(path, config.data.height, config.data.width)
                                                  for path in photographs(args.img_path)])))
    distance, segment = None, None
    if args.lpips:
        from benchmarks.colour_transfer import distance_by
        distance, _ = distance_by(*args.lpips)
    if args.segmenter:
        from evaluation.scorers import open_segmenter
        segment = open_segmenter(args.segmenter, classes=config.data.class_set).measure
        masks = [read_labels(case.mask, config.data.height, config.data.width, config.data.class_set) for case in cases]
    for i, row in enumerate(rows.values()):
        images, found = row["images"], Statistics()
        found.update(latent_features(encode, images))
        row["S"] = 100 * float(np.mean([style_similarity(image, theirs) for image, theirs in zip(images, references)]))
        row["M"] = (100 * float(np.mean([np.mean(segment(image) == mask) for image, mask in zip(images, masks)]))
                    if segment else None)
        row["fid_latents"] = float(fid(real, found))
        row["LPIPS"] = float(np.mean([distance(*pair) for pair in zip(images, converged)])) if distance and i else None
        row["PSNR"] = float(np.median(psnr(images, converged))) if i else None


def photographs(folder):
    """The image files of a training folder."""
    inside = Path(folder) / "imgs"
    return sorted(path for path in (inside if inside.is_dir() else Path(folder)).iterdir() if path.suffix in (".jpg", ".png"))


def psnr(images, others):
    """dB of each image to another, uint8 (N, H, W, 3)."""
    error = ((images.astype(np.float64) - others) ** 2).mean((1, 2, 3))
    return 10 * np.log10(255 ** 2 / np.maximum(error, 1e-9))


def write(folder, rows, cases, references, config):
    """The table, the numbers, the plot and the strip."""
    names = [name for name in ("S", "M", "fid_latents", "LPIPS", "PSNR") if any(row[name] is not None for row in rows.values())]
    digits = {"LPIPS": 3, "fid_latents": 1, "PSNR": 1}
    cell = lambda row, name: "" if row[name] is None else f"{row[name]:.{digits.get(name, 2)}f}"
    lines = [f"| | calls a round | evaluations | seconds | {' | '.join(names)} |", "|---" * (4 + len(names)) + "|"]
    lines += [f"| {title} | {', '.join(map(str, row['calls']))} | {row['evaluations']} | {row['seconds']:.2f} | "
              f"{' | '.join(cell(row, name) for name in names)} |" for title, row in rows.items()]
    text = "\n".join([*lines, "", f"{len(cases)} masks of {config.data.width}x{config.data.height}.", ""])
    write_bytes(folder / "turbo.md", text.encode())
    write_json(folder / "turbo.json", {title: {key: value for key, value in row.items() if key != "images"}
                                       for title, row in rows.items()})
    kinds = {"UniPC": [row for title, row in rows.items() if title.startswith("UniPC")],
             "students": [row for title, row in rows.items() if not title.startswith(("UniPC", "converged"))]}
    series = {kind: tuple(zip(*sorted((row["evaluations"], row["PSNR"]) for row in found)))
              for kind, found in kinds.items() if found}
    pictures.loss_curve(folder / "turbo.png", series, title="PSNR to the converged picture, dB, over network evaluations")
    chosen = [int((i + 0.5) * len(cases) / SHOWN) for i in range(SHOWN)] if len(cases) > SHOWN else range(len(cases))
    masks = [pictures.colour_labels(read_labels(cases[i].mask, config.data.height, config.data.width, config.data.class_set),
                                    config.data.class_set.colours) for i in chosen]
    strip = [[mask, references[i], *(row["images"][i] for row in rows.values())] for mask, i in zip(masks, chosen)]
    captions = ["mask", "reference", *(f"{title}: {row['evaluations']}" for title, row in rows.items())]
    pictures.save(folder / "strip.png", pictures.grid(strip, captions=captions, scale=0.6))
    print(f"\n{text}\n{folder}/turbo.md, turbo.json, turbo.png, strip.png")


if __name__ == "__main__":
    run_script(main)
