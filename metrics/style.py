"""Style similarity S: the Pearson correlation of the colour histograms of an image and its reference (paper, section 3.1)."""
import numpy as np

BINS = 8  # per channel


def histogram(image, bins=BINS):
    """Joint colour histogram of a uint8 image (H, W, 3) -> counts (bins ** 3,) float64."""
    index = image.astype(np.int64) * bins // 256                                        # (H, W, 3), 0 .. bins - 1
    return np.bincount((index[..., 0] * bins + index[..., 1]).ravel() * bins + index[..., 2].ravel(),
                       minlength=bins ** 3).astype(np.float64)


def style_similarity(image, reference, bins=BINS):
    """S of two uint8 images (H, W, 3), -1 to 1 ("rgb8": 8 x 8 x 8 joint RGB bins). Equal images give 1; where a histogram is
    the same in every bin the correlation is undefined, and S is 0 unless both are."""
    a, b = histogram(image, bins), histogram(reference, bins)
    a, b = a / a.sum() - 1 / len(a), b / b.sum() - 1 / len(b)
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else float(np.array_equal(a, b))
