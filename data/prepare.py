"""Brings a folder of photos and a folder of masks, of any size, into the layout that train.py reads.

A photo and its mask are paired by stem and cut alike. Masks are PNG files of their photo's shape: grey class ids, or what the
yaml of one's own classes says. What cannot be used is left out, and dropped.txt beside the result says why; the files given
are never changed. Masks are written as grey ids, 255 where there is no class, and with own classes classes.yaml, which
data.classes takes, and legend.png, a picture of what the colours mean.
"""
import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from tqdm import tqdm

from configs.classes import CHALLENGE, IGNORED
from configs.reading import class_set, read_yaml
from data.images import image_problem, image_size, read_image, read_labels
from data.landscape import find_images
from data.legend import legend
from runtime import pictures
from runtime.errors import UserError, run_script
from runtime.files import replacing, write_bytes

CROPS = {"cover": "scaled until both sides are filled, then the middle is kept", "stretch": "scaled each way by itself"}
DROPPED, CLASSES, LEGEND = "dropped.txt", "classes.yaml", "legend.png"
EXAMPLES = """examples:
  python -m data.prepare --images PHOTOS --labels MASKS --output train_own
  python -m data.prepare --images PHOTOS --labels MASKS --output train_own --size 256x192 --crop stretch --max_upscale 1
  python -m data.prepare --images PHOTOS --labels MASKS --output train_own --classes classes.yaml"""


def prepare(image_path, mask_path, output, size, crop, max_upscale, classes=CHALLENGE):
    """Writes output/imgs/<stem>.jpg and output/labels/<stem>.png; returns None, or one line that says why not."""
    if mask_path is None:
        return "no mask of this stem"
    if image_path is None:
        return "no photo of this stem"
    problem = image_problem(image_path)
    if problem:
        return problem
    width, height = size
    with Image.open(image_path) as picture:
        own = picture.size if picture.getexif().get(274, 1) < 5 else picture.size[::-1]       # 5 to 8: the camera was turned
    scale = max(width / own[0], height / own[1])
    if scale > max_upscale:
        return f"{own[0]}x{own[1]} is too small, {scale:.2f} times enlarged would be {width}x{height}"
    try:
        with Image.open(mask_path) as mask:
            mask_size = mask.size
        ids = read_labels(mask_path, own[1], own[0], classes).astype(np.uint8)                 # -1 is 255
    except (UserError, OSError) as error:
        return str(error)
    if abs(mask_size[0] * own[1] - mask_size[1] * own[0]) > max(own):
        return f"a mask of {mask_size[0]}x{mask_size[1]} for a photo of {own[0]}x{own[1]}, another shape"
    image = read_image(image_path, own[1], own[0])
    box = window(own, size) if crop == "cover" else (0, 0, *own)
    stem = image_path.stem
    with replacing(output / "labels" / f"{stem}.png") as temporary:
        Image.fromarray(ids).resize(size, Image.Resampling.NEAREST, box=box).save(temporary)
    with replacing(output / "imgs" / f"{stem}.jpg") as temporary:
        Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box=box).save(temporary, quality=95, subsampling="4:4:4")
    return None


def classes_yaml(path):
    """The yaml of classes as text, for masks that are now grey ids, 255 where there is no class; colours are read as before."""
    tree = read_yaml(path)
    if tree.get("ignore_colour") or tree.get("ignore_id", -1) >= 0:
        tree["ignore_id"] = IGNORED
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def window(own, size):
    """The middle of a picture that has the shape of `size`, (left, top, right, bottom); sizes are (width, height)."""
    scale = min(own[0] / size[0], own[1] / size[1])                    # picture pixels per pixel asked for
    left, top = (own[0] - size[0] * scale) / 2, (own[1] - size[1] * scale) / 2
    return max(0, left), max(0, top), min(own[0], left + size[0] * scale), min(own[1], top + size[1] * scale)


def main(argv):
    """Writes the layout and the report. argv: the words after the command."""
    parser = argparse.ArgumentParser(prog="python -m data.prepare", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="the folder of photos: .jpg, .jpeg, .png")
    parser.add_argument("--labels", required=True, help="the folder of masks: .png, grey class ids")
    parser.add_argument("--classes", metavar="FILE", help="what the masks are made of, a yaml (default: the challenge's 29)")
    parser.add_argument("--output", required=True, help="a new or empty folder")
    parser.add_argument("--size", type=image_size, default=(512, 384), help="of the result (default: 512x384)")
    parser.add_argument("--crop", choices=CROPS, default="cover",
                        help="; ".join(f"{name}: {what}" for name, what in CROPS.items()) + " (default: cover)")
    parser.add_argument("--max_upscale", type=float, default=2.0, help="smaller photos are left out (default: 2)")
    args = parser.parse_args(argv)
    output = Path(args.output)
    missing = [f"{option} {folder}: no such folder" for option, folder in (("--images", args.images), ("--labels", args.labels))
               if not Path(folder).is_dir()]
    if missing:
        raise UserError(missing)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output {output}: holds something already, expected a new or empty folder")
    photos, masks = find_images(args.images), find_images(args.labels)
    stems = sorted(set(photos) | set(masks))
    if not stems:
        raise UserError(f"--images {args.images}: found no .jpg, .jpeg or .png, expected photos")
    classes = class_set(args.classes) if args.classes else CHALLENGE
    for name in ("imgs", "labels"):
        (output / name).mkdir(parents=True)
    each = lambda stem: prepare(photos.get(stem), masks.get(stem), output, args.size, args.crop, args.max_upscale, classes)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = list(tqdm(pool.map(each, stems), "preparing", total=len(stems), delay=2, leave=False))
    dropped = [f"{stem}: {reason}" for stem, reason in zip(stems, found) if reason]
    write_bytes(output / DROPPED, ("\n".join(dropped) + "\n" if dropped else "").encode())
    print("\n".join(dropped[:20] + [f"{len(stems) - len(dropped)} pairs of {args.size[0]}x{args.size[1]} in {output}, "
                                    f"{len(dropped)} left out ({output / DROPPED})"]))
    if args.classes:
        write_bytes(output / CLASSES, classes_yaml(args.classes).encode())
        pictures.save(output / LEGEND, legend(classes))
        print(f"train with --set data.classes={output / CLASSES}; the colours are in {output / LEGEND}")
    if len(dropped) == len(stems):
        raise UserError(f"{output}: every pair was left out; {output / DROPPED} says why")


if __name__ == "__main__":
    run_script(main)
