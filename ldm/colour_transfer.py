"""Colour transfer between images, Eq. (6): CT(X_G, X_R) gives X_G the colour statistics of the reference.

Reinhard et al. 2001, "Color Transfer between Images", moves mean and standard deviation of each channel of a
decorrelated colour space. The winning entry did so in 8-bit CIELAB (`cielab8`); `reinhard` is the cited paper's own.
Those that take the full covariance, or each class by itself, are in ldm/class_transfer.py.
"""
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from ldm.class_transfer import by_class, covariance_map, deviation_map, monge_kantorovich
from runtime.errors import UserError

KINDS = ("cielab8", "reinhard", "monge_kantorovich", "class_cielab", "class_monge_kantorovich", "none")
BY_CLASS = {"class_cielab": deviation_map, "class_monge_kantorovich": covariance_map}    # these need both masks


def transfer(kind, source, reference, labels=None, reference_labels=None):
    """`source` with the colours of `reference`, both uint8 (H, W, 3) RGB -> uint8 like source.

    kind: one of KINDS; labels, reference_labels: the masks of both, ids (h, w), for those BY_CLASS.
    """
    if kind == "none":
        return source
    if kind in BY_CLASS:
        if labels is None or reference_labels is None:
            raise UserError(f"sampling.colour_transfer is {kind!r}, which needs the references' masks; expected labels/ beside "
                            "imgs/, or another kind")
        check_rgb8(source, reference)
        return by_class(source, reference, labels, reference_labels, BY_CLASS[kind])
    if kind not in KINDS:
        raise UserError(f"sampling.colour_transfer is {kind!r}, expected {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    check_rgb8(source, reference)
    return {"cielab8": cielab8, "reinhard": reinhard, "monge_kantorovich": monge_kantorovich}[kind](source, reference)


def transfer_all(kind, sources, references, labels=None, reference_labels=None):
    """transfer() of every pair of a batch, uint8 (B, H, W, 3), in as many threads as there are cores: a GPU waits for it."""
    masks = [[None] * len(sources) if ids is None else ids for ids in (labels, reference_labels)]
    with ThreadPoolExecutor(min(len(sources), os.cpu_count() or 1)) as pool:
        return np.stack(list(pool.map(lambda each: transfer(kind, *each), zip(sources, references, *masks))))


def cielab8(source, reference):
    """Mean and deviation transfer in OpenCV's 8-bit CIELAB, byte for byte that of the published code.

    source, reference: uint8 (H, W, 3) RGB, sizes may differ -> uint8 like source. Quantised twice and with statistics
    rounded to two decimals, so an image transferred to itself may move by a few grey levels.
    """
    check_rgb8(source, reference)
    lab = cv2.cvtColor(source, cv2.COLOR_RGB2LAB)                                   # (H, W, 3) uint8
    mean_s, std_s = rounded_statistics(lab)
    mean_r, std_r = rounded_statistics(cv2.cvtColor(reference, cv2.COLOR_RGB2LAB))
    # A channel that rounds to flat has no deviation to scale; it moves to the reference's mean. (Published: 0/0.)
    ratio = np.where(std_s > 0, std_r / np.where(std_s > 0, std_s, 1), 1)
    moved = (lab.astype(np.float32) - mean_s.astype(np.float32)) * ratio.astype(np.float32) + mean_r.astype(np.float32)
    return cv2.cvtColor(np.clip(np.round(moved), 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def rounded_statistics(image):
    """Mean and population standard deviation of each channel, to two decimals: uint8 (H, W, 3) -> (3,), (3,)."""
    mean, std = cv2.meanStdDev(image)
    return np.round(mean[:, 0], 2), np.round(std[:, 0], 2)


# Reinhard et al. 2001: RGB to cone responses LMS, Eq. (4); log LMS to l (light), alpha (yellow-blue), beta (red-green),
# Eq. (6).
LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
LAB = np.diag([3 ** -0.5, 6 ** -0.5, 2 ** -0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
BLACK = 0.4 / 255  # stands for 0, which has no logarithm; rounds back to 0


def reinhard(source, reference):
    """Mean and deviation transfer in l alpha beta; source, reference: uint8 (H, W, 3) RGB -> uint8 like source."""
    check_rgb8(source, reference)
    s, r = l_alpha_beta(source), l_alpha_beta(reference)                            # (H, W, 3) float64
    std_s, std_r = s.std(axis=(0, 1)), r.std(axis=(0, 1))
    ratio = np.where(std_s > 1e-6, std_r / np.where(std_s > 1e-6, std_s, 1), 1)     # flat channels only move
    moved = (s - s.mean(axis=(0, 1))) * ratio + r.mean(axis=(0, 1))                 # Eqs. (10), (11)
    rgb = 10 ** np.minimum(moved @ np.linalg.inv(LAB).T, 8) @ np.linalg.inv(LMS).T  # 8: far beyond white, still finite
    return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)


def l_alpha_beta(image):
    """uint8 (H, W, 3) RGB -> float64 (H, W, 3), channels l, alpha, beta."""
    return np.log10(np.maximum(image / 255, BLACK) @ LMS.T) @ LAB.T


def check_rgb8(*images):
    """Raises ValueError unless every image is uint8 (H, W, 3)."""
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"colour transfer: found {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
