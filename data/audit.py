"""Finds the training photos that people remove by hand, shows them on a sheet, writes a list of them to edit.

Nothing is removed: training leaves out what the edited list names, with --set data.exclude=[audit/exclude.txt].
"""
import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from configs.classes import CHALLENGE
from configs.reading import class_set
from data import suspects
from data.images import read_image, read_labels
from data.landscape import find_train
from runtime import pictures
from runtime.errors import UserError, run_script
from runtime.files import write_bytes

HEIGHT, WIDTH = 384, 512             # photos are judged at the challenge's size, cut as training cuts them
LIST, SHEET, PER_SHEET, COLUMNS = "exclude.txt", "sheet.png", 40, 4
EXAMPLES = """examples:
  python -m data.audit train_resized                       looks at every pair; seconds for a hundred, minutes for 10,000
  python -m data.audit train_resized --segmenter FILE      also where the mask shows something else than the photo
  python train.py --input_path train_resized --set data.exclude=[audit/exclude.txt]

Look at audit/sheet.png, delete from audit/exclude.txt the lines of photos to keep, then train with it."""


@dataclass
class Look:
    """What was seen in one pair: reasons to leave it out, and the signature that duplicates are found by."""
    pair: object
    reasons: list = field(default_factory=list)
    signature: np.ndarray = None
    detail: float = 0.0              # how sharp the photo is
    like: object = None              # the Pair this photo repeats


def look_at(pair, segment=None, classes=CHALLENGE):
    """The Look of a training pair. segment(image) -> ids (H, W) of a network, or None; classes: the ClassSet of the mask."""
    look = Look(pair)
    try:
        image, labels = read_image(pair.image, HEIGHT, WIDTH), read_labels(pair.labels, HEIGHT, WIDTH, classes)
    except UserError as error:
        look.reasons = [f"not readable: {error.problems[0]}"]
        return look
    look.signature, look.detail = suspects.signature(image), suspects.detail(image)
    bits, colour, (share, largest) = suspects.entropy(image), suspects.colour(image), suspects.largest_class(labels)
    if bits < suspects.ENTROPY:
        look.reasons.append(f"hardly anything on it, {bits:.1f} bits")
    elif colour < suspects.COLOUR:                       # a black photo is not called grey too
        look.reasons.append(f"grey or toned, colour {colour:.1f}")
    if suspects.frame(image):
        look.reasons.append("frame")
    if suspects.caption(image):
        look.reasons.append("caption")
    if share >= suspects.ONE_CLASS:
        look.reasons.append(f"mask of {100 * share:.0f} % {classes.names[largest]}")
    if segment is not None:
        same = agreement(segment(image), labels, classes)
        if same is not None and same < suspects.AGREEMENT:
            look.reasons.append(f"mask and photo agree on {100 * same:.0f} %")
    return look


def agreement(found, labels, classes=CHALLENGE):
    """Share of the pixels that both name a class at where it is the same one; None where they name hardly any."""
    other = classes.names.index("other") if "other" in classes.names else -1
    named = (found != other) & (labels != other) & (labels >= 0)
    return float((found == labels)[named].mean()) if named.mean() >= 0.1 else None


def audit(pairs, segment=None, progress=True, classes=CHALLENGE):
    """A Look for every pair, in their order, duplicates among them found."""
    workers = 1 if segment else os.cpu_count() or 1      # networks are not called from several threads
    with ThreadPoolExecutor(workers) as pool:
        looks = list(tqdm(pool.map(lambda pair: look_at(pair, segment, classes), pairs), "looking at pairs", total=len(pairs),
                          delay=2, disable=not progress, leave=False))
    whole = sorted((look for look in looks if look.signature is not None), key=lambda look: -look.detail)
    if whole:                                            # of several copies the one with most detail stays
        for i, j, score in suspects.near_duplicates(np.stack([look.signature for look in whole])):
            whole[j].like = whole[i].pair
            whole[j].reasons.append(f"repeats {whole[i].pair.stem}, {score:.2f}")
    return looks


def exclude_list(found):
    """The list as text: a stem and its reasons a line."""
    width = max((len(look.pair.stem) for look in found), default=0)
    lines = ["# Training pairs that look unfit. Delete the lines of those to keep; data.exclude reads the others."]
    lines += [f"{look.pair.stem:{width}}  # {'; '.join(look.reasons)}" for look in found]
    return "\n".join(lines) + "\n"


def write_sheets(found, folder, classes=CHALLENGE):
    """Writes the sheets of the Looks to a folder, 40 pairs each; returns their paths."""
    for old in (folder / SHEET, *folder.glob("sheet_*.png")):
        old.unlink(missing_ok=True)
    pages = [found[i:i + PER_SHEET] for i in range(0, len(found), PER_SHEET)]
    paths = [folder / (SHEET if len(pages) == 1 else f"sheet_{n + 1}.png") for n in range(len(pages))]
    for path, page in zip(paths, pages):
        tiles = [tile(look, classes) for look in page]
        pictures.save(path, pictures.grid([tiles[i:i + COLUMNS] for i in range(0, len(tiles), COLUMNS)]))
    return paths


def tile(look, classes=CHALLENGE, height=120, width=160, text=12):
    """One Look as a picture: its photo, beside it its mask or the photo it repeats, below them its stem and reasons."""
    picture = pictures.Image.new("RGB", (2 * width, height + 2 * (text + 5)), pictures.PAPER)
    if look.signature is not None:
        beside = read_image(look.like.image, height, width) if look.like else \
            pictures.colour_labels(read_labels(look.pair.labels, height, width, classes), classes.colours)
        both = np.concatenate([read_image(look.pair.image, height, width), beside], axis=1)
        picture.paste(pictures.Image.fromarray(both), (0, 0))
    for line, words in enumerate(("; ".join(look.reasons), look.pair.stem)):
        words = pictures.shorten(words, text, 2 * width - 4)
        pictures.write(picture, (2, height + 2 + line * (text + 4)), words, text)
    return np.asarray(picture)


def segmenter(path, lenient, classes=CHALLENGE):
    """The function from an image to its ids that a segmenter's file holds; evaluate.py's own."""
    from evaluation.scorers import open_segmenter
    return open_segmenter(path, lenient, classes).measure


def main(argv):
    """Writes the sheet and the list. argv: the words after the command."""
    parser = argparse.ArgumentParser(prog="python -m data.audit", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input_path", metavar="TRAIN", help="folder with imgs/ and labels/")
    parser.add_argument("--output", default="audit", metavar="FOLDER", help="of the list and the sheet (default: audit)")
    parser.add_argument("--segmenter", metavar="FILE", help="also compare masks with what it sees; as for evaluate.py")
    parser.add_argument("--classes", metavar="FILE", help="of the masks, a yaml (default: the challenge's 29)")
    parser.add_argument("--lenient", action="store_true", help="its classes become the masks' by the lenient rule")
    parser.add_argument("--overwrite", action="store_true", help="replace a list that is there, edited or not")
    args = parser.parse_args(argv)
    folder = Path(args.output)
    if (folder / LIST).exists() and not args.overwrite:
        raise UserError(f"{folder / LIST}: is there already, and may have been edited; expected none, another --output, "
                        "or --overwrite")
    pairs = find_train(args.input_path)
    classes = class_set(args.classes) if args.classes else CHALLENGE
    looks = audit(pairs, segmenter(args.segmenter, args.lenient, classes) if args.segmenter else None, classes=classes)
    found = [look for look in looks if look.reasons]
    write_bytes(folder / LIST, exclude_list(found).encode())
    sheets = write_sheets(found, folder, classes)
    for look in found:
        print(f"{look.pair.stem}: {'; '.join(look.reasons)}")
    print(f"{len(found)} of {len(pairs)} pairs look unfit; {folder / LIST} names them"
          + (f", {', '.join(map(str, sheets))} shows them" if sheets else ""))


if __name__ == "__main__":
    run_script(main)
