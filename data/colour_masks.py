"""Masks in colour: every colour is a class, exactly; a nearest one only where that was asked for."""
import numpy as np

from configs.classes import IGNORED
from runtime.errors import UserError


def ids_of_colours(rgba, classes, where):
    """Class ids uint8 (H, W) of a picture uint8 (H, W, 4), IGNORED where it has the ignored colour.

    classes: a configs.classes.ClassSet. Raises UserError that names `where`, for transparent pixels and colours of no class.
    """
    if (rgba[..., 3] < 255).any():
        raise UserError(f"{where}: found transparent pixels, expected every pixel in a class's colour")
    known = np.array([*classes.colours, *([classes.ignore_colour] if classes.ignore_colour else [])], np.int64)     # (K, 3)
    ids = np.arange(len(known))
    ids[len(classes):] = IGNORED
    found, inverse = np.unique(packed(rgba), return_inverse=True)                               # few: masks are flat
    order = np.argsort(packed(known))
    place = order[np.searchsorted(packed(known)[order], found).clip(max=len(known) - 1)]
    wrong = packed(known)[place] != found
    if wrong.any() and classes.nearest_colour:
        place[wrong] = [((known - unpacked(colour)) ** 2).sum(1).argmin() for colour in found[wrong]]
    elif wrong.any():
        pixels = int(wrong[inverse].sum())
        shown = ", ".join(f"#{colour:06x}" for colour in found[wrong][:3]) + (", ..." if wrong.sum() > 3 else "")
        raise UserError(f"{where}: found {pixels} pixels in colours of no class ({shown}), expected the legend's, such as "
                        f"#{packed(known)[min(1, len(classes) - 1)]:06x} for {classes.names[min(1, len(classes) - 1)]}, "
                        "or grey class ids")
    return ids[place][inverse].reshape(rgba.shape[:2]).astype(np.uint8)


def packed(rgb):
    """Colours (..., 3 or 4) as one number each, 0xrrggbb."""
    rgb = np.asarray(rgb).astype(np.int64)
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


def unpacked(colour):
    """(r, g, b) of 0xrrggbb."""
    return np.array([colour >> 16, colour >> 8 & 255, colour & 255])
