"""Between 8-bit images and what the autoencoder sees."""
import io

import numpy as np
from PIL import Image

from runtime.backend import jt
from runtime.errors import RunError


def from_uint8(images):
    """uint8 (B, H, W, 3) -> x, float32 Var (B, 3, H, W) in [-1, 1]."""
    images = np.asarray(images)
    assert images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3, (images.dtype, images.shape)
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1)
    return jt.array(np.ascontiguousarray(x))


def to_uint8(x, truncate=False):
    """x (B, 3, H, W), Var or array -> uint8 (B, H, W, 3), rounded; values beyond -1 .. 1 become 0 or 255.

    `truncate` cuts the fraction off instead, as the published code does. Raises RunError where x is not finite.
    """
    x = np.asarray(x if isinstance(x, np.ndarray) else x.numpy(), dtype=np.float32)
    if not np.isfinite(x).all():
        bad = ", ".join(str(b) for b in np.flatnonzero(~np.isfinite(x).all(axis=(1, 2, 3))))
        raise RunError(f"decoded images are not finite (batch rows {bad}), expected values near [-1, 1]")
    grey = np.clip((x + np.float32(1)) * np.float32(127.5), 0, 255)
    grey = np.trunc(grey) if truncate else np.rint(grey)
    return np.ascontiguousarray(grey.astype(np.uint8).transpose(0, 2, 3, 1))


def through_jpeg(images, quality):
    """Images as they come back from JPEG files with halved colour resolution (4:2:0). uint8 (B, H, W, 3), both."""
    found = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="JPEG", quality=quality, subsampling="4:2:0")
        found.append(np.asarray(Image.open(file).convert("RGB")))
    return np.stack(found)
