"""Procedural landscapes in the challenge's layout: a data set for demonstrations and tests.

    python -m data.synthetic --output DIR --train 240 --test 24 --width 128 --height 96

A scene is drawn from its own random numbers, keyed by (seed, index): what it shows fixes the mask, and a palette drawn
apart from it (hour, season, weather) fixes the colours. The same mask can thus look in many ways, and a style reference
says something that the mask does not.
"""
import argparse
import json
import multiprocessing
import os
import re
import shutil
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from data.landscape import CLASSES
from data.scenery.palettes import PALETTES, palette_for
from data.scenery.places import desert, forest_path, village
from data.scenery.terrain import Picture
from data.scenery.waters import mountain_lake, river_valley, seashore, waterfall
from runtime.errors import UserError, run_script
from runtime.files import write_json
from runtime.pictures import save

FAMILIES = (mountain_lake, seashore, river_valley, village, desert, forest_path, waterfall)
VERSION = 1                           # of the drawings: raise it when the same seed gives other pictures
FEW = 32                              # scenes that are drawn before processes of their own would have started
LARGER = 2                            # a scene is drawn so many times larger, then averaged
FIRST_TEST = 1_000_000                # index of the first test scene: far from every training scene
SETTINGS = "synthetic.json"
FOLDERS = ("train/imgs", "train/labels", "test/val_labels_resized", "test_images")
OURS = re.compile(r"(train|test)_\d{5,}\.(jpg|png)")


def scene(seed, index, height, width, palette=None):
    """Scene `index` of a seed: image uint8 (height, width, 3) RGB and class ids uint8 (height, width).

    `palette`: one of data.scenery.palettes.PALETTES, None for the scene's own; it changes the colours, never the ids.
    Raises ValueError on an unknown palette or a size below 16 pixels.
    """
    if min(height, width) < 16:
        raise ValueError(f"scene: found {width}x{height}, expected at least 16x16 pixels")
    land, rng = _land(seed, index)
    return paint(land, palette_for(_colours(seed, index), palette), rng, height, width)


def palette_of(seed, index):
    """The name of the palette that scene(seed, index) has by itself."""
    return palette_for(_colours(seed, index)).name


def family_of(seed, index):
    """The name of the kind of landscape that scene(seed, index) is."""
    return FAMILIES[np.random.default_rng([seed, index, 0]).integers(len(FAMILIES))].__name__


def _land(seed, index):
    rng = np.random.default_rng([seed, index, 0])
    return FAMILIES[rng.integers(len(FAMILIES))](rng), rng


def _colours(seed, index):
    return np.random.default_rng([seed, index, 1])


def paint(land, palette, rng, height, width):
    """A landscape in a palette: image uint8 (height, width, 3), ids (height, width); drawn larger, averaged."""
    picture = Picture(height * LARGER, width * LARGER, palette, land.horizon, land.eye)
    picture.paint_sky(rng)
    picture.paint_ground(land, rng)
    things = sorted(land.things, key=lambda thing: -thing[0])         # far ones first
    for z, draw in things:
        if z >= land.split:
            draw(picture)
    picture.paint_water(rng)                                           # mirrors what has been painted
    for z, draw in things:
        if z < land.split:
            draw(picture)
    return picture.finish(LARGER)


def references(seed, train, test):
    """A training scene for each test scene, of another palette where there is one, none twice while others are left."""
    rng = np.random.default_rng([seed, 2])
    palettes, chosen, left = [palette_of(seed, i) for i in range(train)], [], []
    for i in range(test):
        left = left or list(rng.permutation(train))
        own = palette_of(seed, FIRST_TEST + i)
        pick = next((k for k in left if palettes[k] != own), left[0])
        left.remove(pick)
        chosen.append(int(pick))
    return chosen


def write_dataset(output, train=240, test=24, width=128, height=96, seed=0, overwrite=False, progress=True,
                  processes=None):
    """Writes DIR/train, DIR/test and DIR/test_images (the test scenes' own images, to evaluate with) and says so.

    processes: that draw, None for one a core; the files are the same, byte for byte, however many.
    A second call with the same settings does nothing, or goes on where the first was stopped.
    Raises UserError for impossible numbers and for a folder that holds something else.
    """
    output = Path(output)
    settings = dict(version=VERSION, seed=seed, train=train, test=test, width=width, height=height)
    _check(settings)
    if _prepare(output, settings, overwrite):
        print(f"{output}: already holds {train} training and {test} test scenes of {width}x{height} with seed {seed}")
        return
    write_json(output / SETTINGS, dict(settings, complete=False))
    for folder in FOLDERS:
        (output / folder).mkdir(parents=True, exist_ok=True)
    jobs = [(i, f"train_{i:05d}", "train/imgs", "train/labels") for i in range(train)]
    jobs += [(FIRST_TEST + i, f"test_{i:05d}", "test_images", "test/val_labels_resized") for i in range(test)]
    start = time.time()
    drawings = [(seed, index, height, width, output / images / f"{stem}.jpg", output / labels / f"{stem}.png")
                for index, stem, images, labels in jobs]
    drawings = [drawing for drawing in drawings if not (drawing[-2].exists() and drawing[-1].exists())]
    # The bar appears after two seconds: a small data set is done by then.
    with drawers(processes, len(drawings)) as draw_all, \
            tqdm(total=len(jobs), initial=len(jobs) - len(drawings), desc="landscapes", unit=" scenes", delay=2,
                 disable=not progress) as bar:
        for _ in draw_all(draw, drawings):
            bar.update()
    table = {f"test_{i:05d}.png": f"train_{k:05d}.jpg" for i, k in enumerate(references(seed, train, test))}
    write_json(output / "test" / "label_to_img.json", table)
    write_json(output / SETTINGS, dict(settings, complete=True))
    print(f"{output}: wrote {train} training and {test} test scenes of {width}x{height} with seed {seed} "
          f"in {time.time() - start:.0f} s")


def draw(job):
    """Writes one scene: (seed, index, height, width, image file, mask file)."""
    seed, index, height, width, image_file, mask_file = job
    image, ids = scene(seed, index, height, width)
    save(image_file, image)
    save(mask_file, ids)


@contextmanager
def drawers(processes, scenes):
    """Yields map or the same of so many processes, None for one a core; a few scenes are drawn in this one."""
    processes = min(processes or len(os.sched_getaffinity(0)), max(1, scenes // FEW))
    if processes == 1:
        yield map
        return
    # Spawned, not forked: this process may hold threads of Jittor or OpenCV.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=begin_drawing) as pool:
        yield lambda function, jobs: pool.map(function, jobs, chunksize=4)


def begin_drawing():
    """What a drawing process does first: one thread is its share, and it ends with its parent, however that ends."""
    cv2.setNumThreads(1)
    threading.Thread(target=end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def end_with(process):
    """Waits until a process is gone, and ends this one."""
    process.join()
    os._exit(1)


def _check(settings):
    problems = [f"--{name}: found {settings[name]}, expected at least {least}"
                for name, least in (("seed", 0), ("train", 1), ("test", 0), ("width", 16), ("height", 16))
                if settings[name] < least]
    if settings["train"] > FIRST_TEST:
        problems.append(f"--train: found {settings['train']}, expected at most {FIRST_TEST}")
    if problems:
        raise UserError(problems)


def _prepare(output, settings, overwrite):
    """True when `output` is complete; else leaves it ready for writing or raises UserError."""
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: found a file, expected a folder")
    if not output.exists() or not any(output.iterdir()):
        return False
    found = _settings(output / SETTINGS)
    complete = found.pop("complete", False) if found else False
    if found == settings and not overwrite:
        counts = all(_count(output / folder) == settings["train" if folder.startswith("train") else "test"]
                     for folder in FOLDERS)
        return complete and counts and (output / "test" / "label_to_img.json").is_file()
    if not overwrite:
        what = "other files" if not found else "scenes with " + ", ".join(
            f"{key} {found.get(key)} (asked: {value})" for key, value in settings.items() if found.get(key) != value)
        raise UserError(f"--output {output}: found {what}, expected an empty or new folder; "
                        "name another one, or add --overwrite")
    _clear(output)
    return False


def _clear(output):
    """Removes the files this module wrote; stops before touching any other in the folders it writes to."""
    files = [file for folder in FOLDERS if (output / folder).is_dir() for file in sorted((output / folder).iterdir())]
    others = [file for file in files if not OURS.fullmatch(file.name) and not file.name.startswith(".")]
    if others:
        raise UserError([f"{file}: found a file that is not of this data set, expected none; "
                         "--overwrite removes only its own" for file in others])
    (output / SETTINGS).unlink(missing_ok=True)
    for folder in FOLDERS:
        shutil.rmtree(output / folder, ignore_errors=True)
    (output / "test" / "label_to_img.json").unlink(missing_ok=True)


def _count(folder):
    return sum(bool(OURS.fullmatch(file.name)) for file in folder.iterdir()) if folder.is_dir() else 0


def _settings(path):
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    except (OSError, ValueError):
        return {}


def parser():
    """The command line of `python -m data.synthetic`."""
    text = argparse.ArgumentParser(
        prog="python -m data.synthetic", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Draws landscapes with their segmentation masks, in the layout that train.py and test.py read.",
        epilog=f"""It writes
  DIR/train/imgs/<stem>.jpg, DIR/train/labels/<stem>.png   pairs of an image and its mask
  DIR/test/val_labels_resized/<stem>.png                   masks of other scenes
  DIR/test/label_to_img.json                               the training image each of them takes its style from
  DIR/test_images/<stem>.jpg                               what those masks were drawn from, to evaluate with
for
  python train.py --input_path DIR/train
  python test.py --input_path DIR/test --img_path DIR/train --output_path ./results
Masks are grey, one of {len(CLASSES)} class ids per pixel.
Kinds of landscape: {', '.join(f.__name__ for f in FAMILIES)}.
Palettes: {', '.join(PALETTES)}.
The same seed gives the same scenes, however many are asked for.""")
    text.add_argument("--output", metavar="DIR", required=True, help="folder to write, new or empty")
    text.add_argument("--train", type=int, default=240, help="training pairs (default 240)")
    text.add_argument("--test", type=int, default=24, help="test masks (default 24)")
    text.add_argument("--width", type=int, default=128, help="pixels (default 128; the challenge has 512)")
    text.add_argument("--height", type=int, default=96, help="pixels (default 96; the challenge has 384)")
    text.add_argument("--seed", type=int, default=0, help="which landscapes (default 0)")
    text.add_argument("--overwrite", action="store_true", help="replace an earlier data set of this command in DIR")
    return text


def main(argv):
    """`python -m data.synthetic`: see --help."""
    write_dataset(**vars(parser().parse_args(argv)))


if __name__ == "__main__":
    run_script(main)
