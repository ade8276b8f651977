"""The demo's U-Net fine-tuned on photos: crops of them are learnt from, and masks of photos that were held out are painted in
the style of others that were held out too.

    python -m demo.photos --photos DIR --held_out STEM [STEM ...] --styles STEM [STEM ...]

DIR is in the challenge's layout (imgs/, labels/). configs/demo_photos.yaml says how it is trained; killed and started again,
it goes on.
"""
import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from configs.reading import load_config
from data.landscape import find_train, read_image, read_labels
from demo.__main__ import RUN, step
from ldm.noise import generator
from runtime.errors import UserError, run_script
from runtime.files import write_json

CONFIG = "demo_photos"
WORK = RUN / "photos"
ENLARGED = 1.6                      # a crop shows at least 1 / ENLARGED of the photo's width


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m demo.photos", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Other options are train.py's: --set train.precision=bfloat16 where a CPU has AMX.")
    parser.add_argument("--photos", required=True, help="folder with imgs/ and labels/")
    parser.add_argument("--held_out", nargs="+", required=True, metavar="STEM", help="photos whose masks are painted and that "
                        "are not learnt from")
    parser.add_argument("--styles", nargs="+", required=True, metavar="STEM", help="photos in whose style each is painted, not "
                        "learnt from either")
    parser.add_argument("--crops", type=int, default=12, help="crops of a photo, the whole among them (default: 12)")
    args, more = parser.parse_known_args(argv)                 # the rest is for train.py
    if not Path("demo/__main__.py").exists():
        raise UserError("expected the repository's folder as the working directory; cd there first")
    import test
    import train
    from models.weights.ranking import ranked
    config = load_config(CONFIG)
    pairs = {pair.stem: pair for pair in find_train(args.photos)}
    unseen = {*args.held_out, *args.styles}
    unknown = sorted(unseen - set(pairs))
    if unknown:
        raise UserError([f"{args.photos}: found no photo {stem}" for stem in unknown])

    write_crops([pair for stem, pair in pairs.items() if stem not in unseen], WORK / "train", args.crops, config.data)
    write_masks([pairs[stem] for stem in args.held_out], [pairs[stem] for stem in args.styles], WORK / "test")
    step("The U-Net, fine-tuned on the photos' crops", "train.py", train.main,
         ["--input_path", WORK / "train", "--config", CONFIG, "--stage", "unet", "--resume", *more])
    step("The masks held out", "test.py", test.main,
         ["--input_path", WORK / "test", "--img_path", args.photos, "--output_path", WORK / "results",
          "--checkpoint", ranked(config.train.run)[0][0]])


def write_crops(pairs, folder, crops, data):
    """Crops of photos (data.landscape.Pair) and of their label maps at the size of a DataConfig, as a training folder.

    The first of a photo is the whole; another shows 1 to 1 / ENLARGED of its width at a place drawn from (stem, number).
    """
    height, width = data.height, data.width
    for name in ("imgs", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for pair in tqdm(pairs, desc="crops", unit="photo", leave=False):
        image, labels = np.asarray(Image.open(pair.image).convert("RGB")), np.asarray(Image.open(pair.labels))
        if image.shape[:2] != labels.shape:
            image, labels = read_image(pair.image, height, width), read_labels(pair.labels, height, width).astype(np.uint8)
        for crop in range(crops):
            name = f"{pair.stem}_{crop:02d}.png"
            if (folder / "labels" / name).is_file():
                continue
            rng = generator(0, "crop", pair.stem, crop)
            share = 1.0 if crop == 0 else 1 / rng.uniform(1, ENLARGED)
            h, w = (round(share * n) for n in labels.shape)
            y, x = (int(rng.integers(n - part + 1)) for n, part in zip(labels.shape, (h, w)))
            part = cv2.resize(image[y:y + h, x:x + w], (width, height), interpolation=cv2.INTER_CUBIC)
            ids = cv2.resize(labels[y:y + h, x:x + w], (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            Image.fromarray(part).save(folder / "imgs" / name)
            Image.fromarray(ids).save(folder / "labels" / name)                        # the last: a pair is whole


def write_masks(pairs, styles, folder):
    """A test folder with the masks of pairs, each once in the style of every photo of styles."""
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    references = {}
    for pair in pairs:
        for k, style in enumerate(styles):
            name = f"{pair.stem}-{k}.png"
            (folder / "labels" / name).write_bytes(pair.labels.read_bytes())
            references[name] = style.image.name
    write_json(folder / "label_to_img.json", references)


if __name__ == "__main__":
    run_script(main)
