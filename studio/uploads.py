"""Pictures that come from outside: recognised by their bytes, measured before they are decoded, read as data/ reads files."""
import io
import warnings

import numpy as np
from PIL import Image

from configs.classes import NAMES_AND_COLOURS
from data.images import read_image, read_labels
from runtime.errors import UserError
from runtime.pictures import PALETTE

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


def mask(data, height, width, what="the mask"):
    """Class ids uint8 (height, width) of an uploaded mask: grey ids, or the exact colours of runtime.pictures.PALETTE."""
    columns, rows = measured(data, what, ("PNG",))
    if abs(columns - rows * width / height) > 1 and abs(rows - columns * height / width) > 1:
        shape = np.gcd(width, height)
        raise UserError(f"{what}: found {columns}x{rows} pixels, expected {width}x{height} or another size of shape "
                        f"{width // shape}:{height // shape}")
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        coloured = picture.mode in ("P", "RGB", "RGBA")
    if not coloured:
        return read_labels(Upload(data, what), height, width)
    ids = ids_of_colours(colours(data, what), what)
    return np.asarray(Image.fromarray(ids).resize((width, height), Image.Resampling.NEAREST))


def colours(data, what):
    """The pixels of a colour PNG, uint8 (H, W, 3). Raises UserError where some are transparent, or where it is broken."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            rgba = np.asarray(picture.convert("RGBA"))
    except Exception as error:
        raise UserError(f"{what}: cannot be read ({str(error) or type(error).__name__}), expected a whole PNG") from None
    if (rgba[..., 3] < 255).any():
        raise UserError(f"{what}: found transparent pixels, expected every pixel in a class's colour")
    return rgba[..., :3]


def ids_of_colours(rgb, what):
    """Class ids uint8 (H, W) of colours (H, W, 3). Raises UserError that names colours of no class."""
    table = np.full(1 << 24, 255, np.uint8)
    table[packed(PALETTE)] = np.arange(len(PALETTE))
    ids = table[packed(rgb)]
    if (ids == 255).any():
        wrong = rgb[ids == 255]
        shown = ", ".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in np.unique(wrong[:100_000], axis=0)[:3])
        first = NAMES_AND_COLOURS[1]
        raise UserError(f"{what}: found {len(wrong)} pixels in colours of no class ({shown}), expected the legend's, "
                        f"such as #{packed(np.array(first[1], np.uint8)):06x} for {first[0]}, or grey class ids")
    return ids


def packed(rgb):
    """Colours (..., 3) as one number each, 0xrrggbb."""
    rgb = np.asarray(rgb).astype(np.int64)
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


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
