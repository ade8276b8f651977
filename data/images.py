"""Single image and mask files: whatever a picture's mode and size, read as RGB; masks as ids; broken files named."""
import argparse
import contextlib
import os
import re
import stat
import warnings

import numpy as np
from PIL import Image, ImageOps

from configs.classes import CHALLENGE, IGNORED
from data.colour_masks import ids_of_colours
from runtime.errors import UserError

# Pillow decodes these itself. Of others it may start programs: an EPS named .jpg would run Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
PIXELS = 120_000_000                  # of an image at most, 0.4 GB in memory; a camera's largest have 100 million
GREY16 = ("I", "I;16", "I;16L", "I;16B", "I;16N")             # Pillow's names for grey PNG files of 16 bits
MODES = {"P": "a palette", "PA": "a palette", "RGB": "colour", "RGBA": "colour with transparency",
               "1": "black and white of 1 bit", "LA": "grey with transparency"}


def read_image(path, height, width):
    """The picture in a file as uint8 (height, width, 3) RGB.

    Grey, palette, CMYK and 16-bit grey pictures become RGB, transparent ones lie on white, and the camera's orientation
    is applied. A picture of another size is scaled (Lanczos) to cover height x width, then cut to its middle; one of
    this size is left as it is. Raises UserError for a file that is not a whole picture.
    """
    picture = _rgb(_load(path, upright=True), path)
    if picture.size != (width, height):
        scale = min(picture.width / width, picture.height / height)   # picture pixels per pixel asked for
        left, top = (picture.width - width * scale) / 2, (picture.height - height * scale) / 2
        right, bottom = min(picture.width, left + width * scale), min(picture.height, top + height * scale)
        box = max(0, left), max(0, top), right, bottom
        picture = picture.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return np.asarray(picture)


def read_labels(path, height, width, classes=CHALLENGE):
    """The class ids in a mask file, (height, width), scaled from the file's own size to the nearest pixel: uint8; int16 with
    -1 where there is no class if `classes`, a ClassSet, may leave some out.

    For a 512x384 mask at 96x128 that is the pixel (4 i + 2, 4 j + 2), as in the published code.
    Raises UserError for a file that is not a mask of these classes.
    """
    ids = _ids(path, classes)
    problem = _id_problem(ids, path, classes)
    if problem:
        raise UserError(problem)
    return without_ignored(np.asarray(Image.fromarray(ids.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)),
                           classes)


def without_ignored(ids, classes):
    """8-bit ids as they are where every pixel has a class, else int16 with -1 for the IGNORED ones."""
    return np.where(ids == IGNORED, np.int16(-1), ids.astype(np.int16)) if classes.ignores else ids


def image_size(text):
    """512x384 as (512, 384), for argparse."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected WIDTHxHEIGHT")
    return int(match[1]), int(match[2])


def image_problem(path):
    """One line that says why read_image cannot read a file, or None."""
    try:
        _rgb(_load(path, upright=True), path)
    except UserError as error:
        return error.problems[0]
    return None


def mask_problem(path, height, width, classes=CHALLENGE):
    """One line that says what is wrong with a mask for images of height x width, or None. Its size may differ."""
    try:
        ids = _ids(path, classes)
    except UserError as error:
        return error.problems[0]
    problem = _id_problem(ids, path, classes)
    if problem:
        return problem
    rows, columns = ids.shape
    # A tenth of a size is the least at which both sides still tell the shape.
    if (rows, columns) != (height, width) and min(rows, columns) * 10 < min(height, width):
        return (f"{path}: found a mask of {columns}x{rows} pixels, expected {width}x{height} or at least a tenth of it")
    if abs(columns - rows * width / height) > 1 and abs(rows - columns * height / width) > 1:
        shape = np.gcd(width, height)
        return (f"{path}: found a mask of {columns}x{rows} pixels, expected {width}x{height} "
                f"or another size of shape {width // shape}:{height // shape}")
    return None


@contextlib.contextmanager
def open_image(path):
    """A picture in a file, or in what reads like one, opened; within the block its size and format are known, and what Pillow
    raises is a UserError.

    The one way an image file comes in: by an explicit list of formats, ordinary files only (a pipe would be waited for), and
    no larger than memory bears.
    """
    try:
        if not hasattr(path, "read") and not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path}: found no ordinary file, expected an image")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                            # Pillow's remarks on odd but readable files
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > PIXELS:
                    raise UserError(f"{path}: found {picture.width}x{picture.height} pixels, expected at most {PIXELS:,}")
                yield picture
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, expected an image") from None
    except Exception as error:                                         # a decoder may raise anything on broken bytes
        reason = str(error).split("/")[0].strip(" '\"") or type(error).__name__
        raise UserError(f"{path}: found a file that cannot be read ({reason}), expected a whole image") from None


def _load(path, upright=False):
    """A decoded picture. Raises UserError for a missing, foreign or truncated file."""
    with open_image(path) as picture:
        picture.load()                                                 # reads to the end: truncated files stop here
        return ImageOps.exif_transpose(picture) if upright else picture.copy()


def _rgb(picture, path):
    if picture.mode in GREY16:
        grey = np.asarray(picture).astype(np.float64)
        if grey.min() < 0 or grey.max() > 65535:
            raise UserError(f"{path}: found grey values {grey.min():.0f} to {grey.max():.0f}, expected 0 to 65535")
        return Image.fromarray(np.round(grey / 257).astype(np.uint8)).convert("RGB")   # 65535 is white
    if picture.mode == "F":
        raise UserError(f"{path}: found an image of real numbers (mode F), expected 8 or 16 bits per channel")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _ids(path, classes):
    """A mask's ids, integers (H, W) of the file's own size, IGNORED where a pixel may be without a class and is."""
    picture = _load(path)
    if classes.colour_masks and picture.mode in ("P", "RGB", "RGBA"):
        return ids_of_colours(np.asarray(picture.convert("RGBA")), classes, path)
    if picture.mode != "L" and picture.mode not in GREY16:
        what = MODES.get(picture.mode, "another kind of picture")
        colours = " or the exact colours of data.classes" if classes.colour_masks else ""
        raise UserError(f"{path}: found {what} (mode {picture.mode}), "
                        f"expected a grey mask of class ids 0 to {len(classes) - 1}{colours}")
    ids = np.asarray(picture)
    return np.where(ids == classes.ignore_id, IGNORED, ids) if classes.ignores else ids


def _id_problem(ids, path, classes):
    wrong = ids[((ids >= len(classes)) | (ids < 0)) & ~(classes.ignores & (ids == IGNORED))]
    if not len(wrong):
        return f"{path}: found no pixel of a class, all are ignored, expected some" if (ids == IGNORED).all() else None
    found = np.unique(wrong)
    shown = ", ".join(str(int(v)) for v in found[:5]) + (", ..." if len(found) > 5 else "")
    id_, pixel = "ids" if len(found) > 1 else "id", "pixels" if len(wrong) > 1 else "pixel"
    return f"{path}: found class {id_} {shown} in {len(wrong)} {pixel}, expected 0 to {len(classes) - 1}" + (
        f", or {classes.ignore_id} for no class" if classes.ignores else "")
