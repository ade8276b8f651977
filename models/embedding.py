"""Sinusoidal timestep embedding (Vaswani et al. 2017, section 3.5; Ho et al. 2020), computed in float64 NumPy.

In float32 with fast-math sines, as a GPU kernel would have it, the angle of t near 1000 is off in the fourth digit.
"""
import numpy as np

MAX_PERIOD = 10000


def timestep_embedding(t, width):
    """t: one number for all rows or (R,) numbers, 0..999, fractions allowed -> (R, width) float32, [cos | sin]."""
    half = width // 2
    frequency = np.exp(-np.log(MAX_PERIOD) * np.arange(half) / half)
    angle = np.atleast_1d(np.asarray(t, dtype=np.float64))[:, None] * frequency
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
