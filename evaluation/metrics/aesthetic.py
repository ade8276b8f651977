"""Aesthetic score A: the mean of a predicted distribution of marks (Talebi and Milanfar 2018, "Neural Image Assessment")."""
import numpy as np

MARKS = np.arange(1, 11)  # people gave 1 to 10


def mean_and_spread(distribution):
    """Mean and standard deviation of the marks 1 .. 10 by their shares (..., 10) -> two float64 arrays (...).

    Raises ValueError for anything but distributions: not negative, sum 1 within 0.001.
    """
    shares = np.asarray(distribution, dtype=np.float64)
    if shares.ndim < 1 or shares.shape[-1] != len(MARKS):
        raise ValueError(f"aesthetic score: found an array of shape {shares.shape}, expected (..., {len(MARKS)})")
    if not (np.isfinite(shares).all() and (shares >= 0).all() and (abs(shares.sum(-1) - 1) < 1e-3).all()):
        raise ValueError("aesthetic score: found shares that are no distribution, expected none negative and sum 1")
    mean = (shares * MARKS).sum(-1)
    return mean, np.sqrt((shares * (MARKS - mean[..., None]) ** 2).sum(-1))


def aesthetic_score(means):
    """A in percent from the mean mark (N,) of each image: ten times their mean.

    The rule says only "normalised to 0..1"; that this is a tenth of the mark is inferred from a published entry of the
    challenge of 2022, whose M 0.8334, mark 5.0361, FID 37.9765 and total 0.4683 fit T = M / 2 (A + 1 - FID / 100) so.
    A is thus 10 to 100; published entries have about 50.
    """
    means = np.asarray(means, dtype=np.float64)
    if means.size == 0 or not ((means >= 1) & (means <= 10)).all():
        raise ValueError("aesthetic score: found no marks or marks outside of 1 to 10, expected the mean mark of each image")
    return float(10 * means.mean())
