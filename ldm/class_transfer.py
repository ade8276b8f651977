"""Colour transfer by full covariance, and class by class: kinds of Eq. (6) beyond the paper's.

Pitie and Kokaram 2007, "The Linear Monge-Kantorovitch Linear Colour Mapping for Example-Based Colour Transfer": of all linear
maps that give the source the reference's mean and covariance, the one that moves colours least. Class by class, sky takes
the reference's sky and grass its grass: at test time the reference is a training photo, whose own mask is known.
"""
import cv2
import numpy as np

GAIN = 2.0           # a colour's deviation grows or shrinks by so much at most: flat skies would show their noise
NOISE = 1.0          # added to variances, CIELAB units squared: what JPEG and 8 bits make of one flat colour
SHARE = 0.005        # of both pictures that a class has to cover to have statistics of its own
RADIUS = 0.03        # of the height: how far class borders are blended
EDGE = 1e-3          # variance of lightness, 0 to 1, above which a border follows the picture's edge


def monge_kantorovich(source, reference):
    """The linear Monge-Kantorovich transfer in CIELAB; uint8 (H, W, 3) RGB, sizes may differ -> uint8 like source."""
    x, y = lab(source), lab(reference)
    return rgb(apply(covariance_map(x.reshape(-1, 3), y.reshape(-1, 3)), x))


def by_class(source, reference, labels, reference_labels, mapping):
    """The transfer of every class that both masks have enough of, and of the whole pictures elsewhere, blended smoothly.

    source, reference: uint8 (H, W, 3) RGB; labels, reference_labels: their ids (h, w) of any size, -1 where there is no mask;
    mapping: deviation_map or covariance_map -> uint8 like source.
    """
    x, y = lab(source), lab(reference)
    ids, ids_y = (sized(ids, picture) for ids, picture in ((labels, x), (reference_labels, y)))
    out = np.zeros_like(x)
    left = np.ones(x.shape[:2], np.float32)                                         # share of a pixel no class has taken
    for c in shared_classes(ids, ids_y):
        inside = ids == c
        weight = along_edges(inside.astype(np.float32), x[..., 0] / 100)            # (H, W); over all ids they sum to 1
        out += weight[..., None] * apply(mapping(x[inside], y[ids_y == c]), x)
        left -= weight
    return rgb(out + left[..., None] * apply(mapping(x.reshape(-1, 3), y.reshape(-1, 3)), x))


def along_edges(weight, guide):
    """A guided filter (He et al. 2010, "Guided Image Filtering", Eqs. (5), (6), (8)): weight (H, W) smoothed, except where
    guide (H, W) has an edge. Linear in the weight, so that weights that sum to 1 still do."""
    side = 2 * max(1, round(RADIUS * len(guide))) + 1
    mean = lambda image: cv2.blur(image, (side, side))
    mean_g, mean_w = mean(guide), mean(weight)
    a = (mean(guide * weight) - mean_g * mean_w) / (mean(guide * guide) - mean_g ** 2 + EDGE)
    return mean(a) * guide + mean(mean_w - a * mean_g)


def shared_classes(ids, ids_y):
    """The ids that cover at least SHARE of both masks; -1 is none."""
    counts = [np.bincount(mask[mask >= 0].ravel(), minlength=256) / mask.size for mask in (ids, ids_y)]
    return np.flatnonzero(np.minimum(*counts) >= SHARE)


def deviation_map(x, y):
    """Mean and deviation of each channel, as Reinhard et al.: colours (N, 3), (M, 3) -> (matrix (3, 3), from (3,), to (3,))."""
    gain = np.sqrt((y.var(axis=0) + NOISE) / (x.var(axis=0) + NOISE))
    return np.diag(np.clip(gain, 1 / GAIN, GAIN)), x.mean(axis=0), y.mean(axis=0)


def covariance_map(x, y):
    """Mean and covariance, least movement: S^-1/2 (S^1/2 R S^1/2)^1/2 S^-1/2 of covariances S and R."""
    s, r = (np.cov(colours, rowvar=False) + NOISE * np.eye(3) for colours in (x, y))
    root = power(s, 0.5)
    inverse = power(s, -0.5)
    matrix = inverse @ power(root @ r @ root, 0.5) @ inverse                        # symmetric, all gains positive
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.clip(values, 1 / GAIN, GAIN) @ vectors.T, x.mean(axis=0), y.mean(axis=0)


def power(matrix, exponent):
    """A symmetric positive matrix to a power."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.maximum(values, 1e-12) ** exponent @ vectors.T


def apply(mapping, x):
    """x (H, W, 3) through (matrix, from, to)."""
    matrix, mean_x, mean_y = mapping
    return ((x - mean_x) @ matrix.T + mean_y).astype(np.float32)


def lab(image):
    """uint8 (H, W, 3) RGB -> float32 CIELAB, L 0 to 100."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def rgb(image):
    """float32 CIELAB (H, W, 3) -> uint8 RGB."""
    return np.clip(np.rint(cv2.cvtColor(image, cv2.COLOR_LAB2RGB) * 255), 0, 255).astype(np.uint8)


def sized(ids, picture):
    """A mask at a picture's size, to the nearest pixel."""
    return cv2.resize(np.asarray(ids).astype(np.int16), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
