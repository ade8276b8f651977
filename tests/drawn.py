"""Inputs of the metrics' tests that are drawn, so that only outputs need files. NumPy alone: reference libraries read it, too.

RandomState gives the same numbers in every version of NumPy.
"""
import numpy as np

IMAGES = {"large": (384, 512), "small": (41, 30), "odd": (299, 301)}       # shrunk, enlarged, nearly the size
SHOWN = np.s_[:, ::17, ::13]                                               # of (3, 299, 299), what the file keeps


def noise_image(shape):
    """A uint8 image (*shape, 3) whose every pixel differs from its neighbours: the hardest to interpolate alike."""
    return np.random.RandomState(shape[0]).randint(0, 256, (*shape, 3)).astype(np.uint8)


def feature_sets():
    """{name: two feature arrays (N, D), (M, D)} for Frechet distances."""
    rng = np.random.RandomState(7)
    n = lambda *shape: rng.standard_normal(shape)
    a, b = n(400, 64) @ (0.2 * n(64, 64)) + 0.3, n(300, 64) @ (0.25 * n(64, 64)) - 0.1
    few = n(40, 256), n(30, 256) * 1.3 + 0.2                               # fewer vectors than features
    constant = np.tile(n(1, 16), (10, 1)), np.tile(n(1, 16), (8, 1))
    return {"full_rank": (a, b), "identical": (a, a), "few": few, "constant": constant}
