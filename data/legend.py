"""A picture of what the colours of masks mean: every class with its id, its name and its colour, #rrggbb.

Names are the English ones: Pillow's own font, which makes pictures the same on every machine, has no Chinese letters.
"""
import argparse
import math

import numpy as np

from configs.classes import CHALLENGE, hexed
from configs.reading import class_set
from runtime import pictures
from runtime.errors import run_script

ROWS, HEIGHT, WIDTH, TEXT = 15, 22, 230, 13              # entries in a column; of an entry, pixels; of its text


def legend(classes=CHALLENGE):
    """The legend of a ClassSet, uint8 (H, W, 3)."""
    entries = [(f"{i}  {name}  {hexed(colour)}", colour)
               for i, (name, colour) in enumerate(zip(classes.names, classes.colours))]
    if classes.ignores:
        ids = f"{classes.ignore_id}  " if classes.ignore_id >= 0 else ""
        colour = f"  {hexed(classes.ignore_colour)}" if classes.ignore_colour else ""
        entries.append((f"{ids}no class{colour}", classes.ignore_colour or None))
    rows = min(ROWS, len(entries))
    columns = math.ceil(len(entries) / rows)
    picture = pictures.Image.new("RGB", (columns * WIDTH, rows * HEIGHT + 6), pictures.PAPER)
    hatch = pictures.colour_labels(np.full((HEIGHT - 4, 30), -1))
    for k, (text, colour) in enumerate(entries):
        left, top = k // rows * WIDTH + 6, k % rows * HEIGHT + 5
        patch = hatch if colour is None else np.tile(np.array(colour, np.uint8), (HEIGHT - 4, 30, 1))
        picture.paste(pictures.Image.fromarray(patch), (left, top))
        pictures.write(picture, (left + 38, top + 2), pictures.shorten(text, TEXT, WIDTH - 48), TEXT)
    return np.asarray(picture)


def main(argv):
    """Writes the legend. argv: the words after the command."""
    parser = argparse.ArgumentParser(prog="python -m data.legend", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", metavar="FILE", help="a yaml of classes (default: the challenge's 29)")
    parser.add_argument("--output", default="legend.png", help="(default: legend.png)")
    args = parser.parse_args(argv)
    pictures.save(args.output, legend(class_set(args.classes) if args.classes else CHALLENGE))
    print(args.output)


if __name__ == "__main__":
    run_script(main)
