"""Noise levels to walk down: any number of them, from any point of a schedule, evenly in t or in log-SNR.

Levels between two points of the schedule are interpolated: log(alpha_bar / (1 - alpha_bar)), the log of the signal-to-noise
ratio, is linear in t there, and the network is told a t with a fraction. NumPy float64, as in ldm/schedule.py.
"""
import numpy as np

from ldm.schedule import Schedule, respace
from runtime.errors import UserError


def walk(schedule, round_):
    """The points that a round denoises along, from the last, its start level, down to t = 0. -> Schedule

    round_: RoundConfig. Its grid of `steps` and its `start` on it say where every spacing begins.
    """
    grid = respace(schedule, round_.steps)
    if round_.spacing == "published":
        return head(grid, round_.start)
    return spaced(schedule, grid.timesteps[round_.start - 1], round_.levels or round_.start, round_.spacing)


def head(grid, points):
    """The first `points` of a Schedule."""
    return Schedule(grid.betas[:points], grid.alpha_bar[:points], grid.timesteps[:points])


def spaced(schedule, t, points, spacing):
    """`points` levels from t down to 0 of a full schedule, evenly spaced, as a Schedule that ends at t.

    spacing: uniform, in t, or logsnr, in the log of the signal-to-noise ratio. One point is t itself. Raises UserError where
    there is no room for more.
    """
    assert 0 <= t <= len(schedule) - 1 and points >= 1, (t, len(schedule), points)
    if points > 1 and t == 0:
        raise UserError(f"sampling.rounds: levels is {points} from t = 0, expected 1: there is no lower level to space towards")
    if spacing == "uniform":
        times = np.linspace(0, t, points)
    elif spacing == "logsnr":
        known = log_snr(schedule.alpha_bar)
        high, low = known[0], np.interp(t, np.arange(len(known)), known)
        times = np.interp(-np.linspace(high, low, points), -known, np.arange(len(known)))  # np.interp wants rising values
        times[0] = 0
    else:
        raise UserError(f"sampling.rounds: spacing is {spacing!r}, expected uniform or logsnr")
    times[-1] = t  # rounding left it, or the one point asked for
    alpha_bar = alpha_bar_at(schedule, times)
    return Schedule(1 - alpha_bar / np.append(1.0, alpha_bar[:-1]), alpha_bar, times)


def alpha_bar_at(schedule, t):
    """alpha_bar at times t, fractions allowed, of a full schedule: exactly its own at whole ones. float64 like t."""
    t = np.asarray(t, dtype=np.float64)
    known = np.interp(t, np.arange(len(schedule)), log_snr(schedule.alpha_bar))
    return np.where(t == np.rint(t), schedule.alpha_bar[np.rint(t).astype(int)], 1 / (1 + np.exp(-known)))


def log_snr(alpha_bar):
    """log(alpha_bar / (1 - alpha_bar)), twice the lambda of the solvers' papers."""
    return np.log(alpha_bar) - np.log1p(-alpha_bar)
