"""An image as Inception sees it: 299 x 299, by the rule of the library that a FID is to be compared with.

    pytorch   pytorch-fid 0.3.0: bilinear, pixel centres aligned, no smoothing before shrinking; x / 127.5 - 1
    clean     clean-fid 0.1.35 (Parmar et al. 2022): bicubic with smoothing (Pillow), in float32, clipped; (x - 128) / 128
    tf        torch-fidelity 0.4.0, as TensorFlow 1 did: bilinear, corners (0, 0) aligned, no smoothing; (x - 128) / 128

The rule changes the FID (Parmar et al. measure by how much), so it belongs to the number. How near these come to what the
libraries compute: tests/data/metrics/README.md.
"""
import numpy as np
from PIL import Image

SIZE = 299


def inception_input(image, mode="pytorch"):
    """A uint8 RGB image (H, W, 3) of any size -> float32 (3, 299, 299), -1 to 1. mode: one of MODES.

    Raises ValueError on another mode or array.
    """
    if mode not in MODES:
        raise ValueError(f"resize: found {mode!r}, expected one of {', '.join(MODES)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"resize: found an array {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    return np.ascontiguousarray(MODES[mode](image.astype(np.float32)).transpose(2, 0, 1))


def pytorch(image):
    """The mode of that name. image (H, W, 3) float32, 0 to 255 -> (299, 299, 3)."""
    return 2 * bilinear(image / 255, half_pixel=True) - 1


def clean(image):
    """The mode of that name. image (H, W, 3) float32, 0 to 255 -> (299, 299, 3)."""
    bands = [np.asarray(Image.fromarray(image[..., band]).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
             for band in range(3)]
    return (np.stack(bands, axis=2).clip(0, 255) - 128) / 128


def tf(image):
    """The mode of that name. image (H, W, 3) float32, 0 to 255 -> (299, 299, 3)."""
    return (bilinear(image, half_pixel=False) - 128) / 128


MODES = {"pytorch": pytorch, "clean": clean, "tf": tf}


def bilinear(image, half_pixel):
    """Bilinear interpolation of (H, W, 3) float32 at 299 x 299 points, borders repeated, in float32 as the libraries do it."""
    for axis in (1, 0):
        low, high, share = neighbours(image.shape[axis], half_pixel)
        share = share.reshape((-1, 1) if axis else (-1, 1, 1))
        below, above = np.take(image, low, axis), np.take(image, high, axis)
        image = below + (above - below) * share
    return image


def neighbours(size, half_pixel):
    """Where the 299 points lie along an axis of `size` pixels: index of the pixel before, of the one after, share of the
    latter (float32). half_pixel: pixel centres are at 0.5, 1.5, ...; else they are at 0, 1, ..."""
    point, scale = np.arange(SIZE, dtype=np.float32), np.float32(size / SIZE)
    if half_pixel:
        point = np.maximum((point + np.float32(0.5)) * scale - np.float32(0.5), 0)
    else:
        point = point * scale
    low = np.minimum(point.astype(np.int64), size - 1)
    return low, np.minimum(low + 1, size - 1), point - low.astype(np.float32)
