"""What each colour transfer of Eq. (6) gains in style and what it costs in structure, on photos in the layout of a test.

Every mask's own photo is given the colours of the photo that label_to_img.json names. S is how like the reference's
colours it then is; structure is the contrast and structure part of SSIM between the photo before and after; LPIPS, with
--lpips, how far from the photo before it looks; M, with --segmenter, how much of the mask is still seen. Photos stand in
for the images between two rounds: no network paints here.
"""
import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from data.landscape import find_test, read_image, read_labels
from evaluation.metrics.style import style_similarity
from ldm.colour_transfer import KINDS, transfer
from runtime import pictures
from runtime.errors import UserError, run_script

HEIGHT, WIDTH, LATENT = 384, 512, (96, 128)      # masks are known at the latents' size between rounds
STYLES = ("rgb8", "rgb16", "hsv72")
SHOWN, BETWEEN = 6, ("none", *[kind for kind in KINDS if kind != "none"])


def structure(a, b):
    """The contrast and structure part of SSIM of two images' grey levels (Wang et al. 2004), 11-pixel Gaussian window."""
    a, b = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) for image in (a, b))
    mean = lambda image: cv2.GaussianBlur(image, (11, 11), 1.5)
    mean_a, mean_b, c = mean(a), mean(b), (0.03 * 255) ** 2
    variances = mean(a * a) - mean_a ** 2 + mean(b * b) - mean_b ** 2
    return float(((2 * (mean(a * b) - mean_a * mean_b) + c) / (variances + c)).mean())


def load(case):
    """(photo, its mask at the latents' size and at full size, reference, its mask) of a case of a training folder."""
    photo = case.reference.parent / f"{case.stem}{case.reference.suffix}"
    return (read_image(photo, HEIGHT, WIDTH), read_labels(case.mask, *LATENT), read_labels(case.mask, HEIGHT, WIDTH),
            read_image(case.reference, HEIGHT, WIDTH), read_labels(case.reference_mask, *LATENT))


def distance_by(trunk, heads):
    """(distance of two uint8 images, its name): LPIPS on the SqueezeNet of a file, with the linear heads of another."""
    from evaluation.networks.lpips import open_lpips
    network = open_lpips(trunk, heads)
    return lambda a, b: float(network.predict([(a, b)])[0]), "LPIPS" if network.published else "LPIPS on a Caffe trunk"


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.colour_transfer", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="imgs/, labels/ and label_to_img.json, which pairs masks with other photos")
    parser.add_argument("--segmenter", metavar="FILE", help="also measure M; as for evaluate.py")
    parser.add_argument("--lpips", nargs=2, metavar=("SQUEEZENET", "HEADS"), help="also measure LPIPS to the photo before")
    parser.add_argument("--kinds", nargs="+", choices=BETWEEN, default=BETWEEN, help="which (default: all)")
    parser.add_argument("--picture", help="draw some photos in all ways")
    args = parser.parse_args(argv)
    cases = find_test(args.folder, args.folder)
    if not cases or any(case.reference is None for case in cases):
        raise UserError(f"{args.folder}: found masks without a reference, expected one for each")
    segment = None
    if args.segmenter:
        from evaluation.scorers import open_segmenter
        segment = open_segmenter(args.segmenter, lenient=True).measure
    distance, distance_name = distance_by(*args.lpips) if args.lpips else (None, "")
    photos = [load(case) for case in cases]
    print(f"{len(cases)} pairs of {WIDTH}x{HEIGHT}")
    columns = ["transfer", *(f"S {name}" for name in STYLES), "structure", *(["M"] if segment else []),
               *([distance_name] if distance else []), "ms"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    rows = [[pictures.colour_labels(full), photo, reference] for photo, _, full, reference, _ in photos[:SHOWN]]
    for kind in args.kinds:
        begun = time.perf_counter()
        images = [transfer(kind, photo, reference, m, theirs) for photo, m, _, reference, theirs in photos]
        seconds = (time.perf_counter() - begun) / len(photos)
        values = [f"{100 * np.mean([style_similarity(image, p[3], name) for image, p in zip(images, photos)]):.1f}"
                  for name in STYLES]
        values.append(f"{np.mean([structure(image, p[0]) for image, p in zip(images, photos)]):.3f}")
        if segment:
            values.append(f"{100 * np.mean([np.mean(segment(image) == p[2]) for image, p in zip(images, photos)]):.1f}")
        if distance:
            values.append(f"{np.mean([distance(image, p[0]) for image, p in zip(images, photos)]):.3f}")
        print(f"| {kind} | {' | '.join(values)} | {1000 * seconds:.0f} |", flush=True)
        for row, image in zip(rows, images):
            row.append(image)
    if args.picture:
        pictures.save(args.picture, pictures.grid(rows, ["mask", "photo", "reference", *args.kinds], scale=0.4))


if __name__ == "__main__":
    run_script(main)
