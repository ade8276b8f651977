"""Pictures that come from outside: recognised by their bytes, measured before they are decoded, read as data/ reads files."""
import dataclasses
import io
import warnings

import numpy as np
from PIL import Image

from configs.classes import CHALLENGE
from data.images import read_image, read_labels
from runtime.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP")
PIXELS = 24_000_000                   # a decoded photo of that size is 72 MB
SIDE = 12_000


class Upload(io.BytesIO):
    """Bytes that readers of files take for one; in their errors it goes by what it is."""

    def __init__(self, data, what):
        super().__init__(data)
        self.what = what

    def __str__(self):
        return self.what


def measured(data, what, formats=FORMATS):
    """(width, height) of a picture from its header alone. Raises UserError for what is no picture, or too large a one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                            # of Pillow's own, laxer limit
            with Image.open(io.BytesIO(data), formats=formats) as picture:
                width, height = picture.size
    except Image.DecompressionBombError:                               # Pillow's own limit, beyond ours
        raise UserError(f"{what}: found a picture of too many pixels, expected at most {PIXELS // 1_000_000} million") from None
    except Exception:                                                  # a decoder may raise anything on foreign bytes
        raise UserError(f"{what}: found no picture, expected {' or '.join(formats)}") from None
    if width * height > PIXELS or max(width, height) > SIDE:
        raise UserError(f"{what}: found {width}x{height} pixels, expected at most {PIXELS // 1_000_000} million and "
                        f"{SIDE} a side")
    return width, height


def photo(data, height, width, what="the picture"):
    """An uploaded photo as uint8 (height, width, 3), by the rules of data.images.read_image."""
    measured(data, what)
    return read_image(Upload(data, what), height, width)


def mask(data, height, width, what="the mask", classes=CHALLENGE):
    """Class ids uint8 (height, width) of an uploaded mask, 255 where a pixel may be without a class and is: grey ids, or the
    exact colours of the ClassSet."""
    columns, rows = measured(data, what, ("PNG",))
    if abs(columns - rows * width / height) > 1 and abs(rows - columns * height / width) > 1:
        shape = np.gcd(width, height)
        raise UserError(f"{what}: found {columns}x{rows} pixels, expected {width}x{height} or another size of shape "
                        f"{width // shape}:{height // shape}")
    classes = dataclasses.replace(classes, colour_masks=True, ignore_colour=classes.nothing if classes.ignores else ())
    return read_labels(Upload(data, what), height, width, classes).astype(np.uint8)


def png(array):
    """A uint8 array, (H, W) or (H, W, 3), as PNG bytes."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def jpeg(array, quality=85):
    """A uint8 image (H, W, 3) as JPEG bytes for the page to show."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="JPEG", quality=quality, subsampling=0)
    return file.getvalue()
