"""Noise schedules (Ho et al. 2020, "Denoising Diffusion Probabilistic Models") and the timesteps of a round on them.

The paper prints beta_t = 0.001 t, which is a misprint: it leaves alpha_bar_320 = 7e-26, so nothing of the reference
would survive Eq. (1). 2e-5 t gives alpha_bar_320 = 0.357; the winning entry used the linear schedule, 0.350.

Everything here is NumPy float64: Jittor would make it float32, where 1 - alpha_bar_t loses its digits.
"""
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from configs.schema import SCHEDULES, SPACINGS
from runtime.errors import UserError

PUBLISHED_STEPS = 1000  # the length that the constants of every schedule are printed for


@dataclass(frozen=True)
class Schedule:
    """A noise schedule, or some timesteps of one, rising. Every array is (T,) float64; index 0 is one noising step."""
    betas: np.ndarray         # beta_t, variance of the noise added since the timestep before
    alpha_bar: np.ndarray     # product of 1 - beta up to t
    timesteps: np.ndarray     # 0..999 on the full schedule, what the network is told; int where all are whole

    def __len__(self):
        return len(self.betas)

    @cached_property
    def alphas(self):
        return 1 - self.betas

    @cached_property
    def alpha_bar_prev(self):
        """alpha_bar_{t-1}; 1 before the first step."""
        return np.append(1.0, self.alpha_bar[:-1])

    @cached_property
    def posterior_variance(self):
        """sigma_t^2 = beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t), Eq. (5) corrected; 0 at t = 0."""
        return self.betas * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)

    @cached_property
    def posterior_log_variance(self):
        """log of posterior_variance; at t = 0, where that is log 0, the value of t = 1."""
        variance = self.posterior_variance
        return np.log(np.append(variance[1] if len(variance) > 1 else self.betas[0], variance[1:]))

    @cached_property
    def posterior_z_0(self):
        """Factor of z_0 in the mean of q(z_{t-1} | z_t, z_0)."""
        return self.betas * np.sqrt(self.alpha_bar_prev) / (1 - self.alpha_bar)

    @cached_property
    def posterior_z_t(self):
        """Factor of z_t in the mean of q(z_{t-1} | z_t, z_0)."""
        return np.sqrt(self.alphas) * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)


def make_schedule(kind="linear", timesteps=PUBLISHED_STEPS):
    """The full schedule of a kind: linear, cosine, scaled_linear or constant_slope. Raises UserError if beta reaches 1.

    linear          beta from 1e-4 to 0.02 in equal steps (Ho et al. 2020; the published weights)
    cosine          alpha_bar = cos^2 of a quarter turn (Nichol & Dhariwal 2021, "Improved DDPM", Eq. (17))
    scaled_linear   sqrt(beta) in equal steps from sqrt(0.00085) to sqrt(0.012) (Rombach et al. 2022, Stable Diffusion)
    constant_slope  beta_t = 2e-5 t for t = 1..1000, what the paper's beta_t = 0.001 t must have meant

    At other lengths than 1000 betas grow by 1000 / timesteps, as in guided-diffusion: alpha_bar ends nearly the same.
    """
    if timesteps < 1:
        raise UserError(f"diffusion.timesteps is {timesteps}, expected at least 1")
    scale = PUBLISHED_STEPS / timesteps
    if kind == "linear":
        betas = np.linspace(scale * 1e-4, scale * 0.02, timesteps)
    elif kind == "scaled_linear":
        betas = scale * np.linspace(0.00085 ** 0.5, 0.012 ** 0.5, timesteps) ** 2
    elif kind == "constant_slope":
        betas = scale ** 2 * 2e-5 * np.arange(1, timesteps + 1)
    elif kind == "cosine":
        fraction = np.arange(timesteps + 1) / timesteps
        alpha_bar = np.cos((fraction + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)  # the last one would be 1
    else:
        raise UserError(f"diffusion.schedule is {kind!r}, expected {', '.join(SCHEDULES[:-1])} or {SCHEDULES[-1]}")
    if betas.max() >= 1:
        raise UserError(f"diffusion.timesteps is {timesteps}, too short for the {kind} schedule: "
                        f"beta reaches {betas.max():.3g}, expected below 1")
    return Schedule(betas, np.cumprod(1 - betas), np.arange(timesteps))


def spaced(schedule, t_start, steps, spacing="uniform"):
    """`steps` evenly spaced timesteps of a full schedule, 0 to t_start, as a Schedule.

    spacing: uniform, in t, or logsnr, in the log of the signal-to-noise ratio; timesteps may have fractions. One
    step is t_start itself. The published ddim500 and ddim50 are uniform: 0, 2, ..., 998 and 0, 20, ..., 980.
    """
    assert 0 <= t_start <= len(schedule) - 1 and steps >= 1, (t_start, len(schedule), steps)
    assert steps == 1 or t_start > 0, (t_start, steps)
    if spacing == "uniform":
        t = np.linspace(0, t_start, steps)
    elif spacing == "logsnr":
        known = log_snr(schedule.alpha_bar)
        high, low = known[0], np.interp(t_start, np.arange(len(known)), known)
        t = np.interp(-np.linspace(high, low, steps), -known, np.arange(len(known)))  # it wants rising values
        t[0] = 0
    else:
        raise UserError(f"sampling.rounds: spacing is {spacing!r}, expected {' or '.join(SPACINGS)}")
    t[-1] = t_start                           # rounding left it, or the one step asked for
    return at(schedule, t)


def at(schedule, t):
    """Rising timesteps t (N,) of a full schedule as a Schedule: their alpha_bar, and the betas between them."""
    alpha_bar, t = alpha_bar_at(schedule, t), np.asarray(t)
    betas = 1 - alpha_bar / np.append(1.0, alpha_bar[:-1])
    whole = np.rint(t).astype(int)
    return Schedule(betas, alpha_bar, whole if (whole == t).all() else t)


def alpha_bar_at(schedule, t):
    """alpha_bar at timesteps t of a full schedule, float64 like t: the schedule's own at whole ones, and between
    two of them with log_snr linear in t."""
    t = np.asarray(t, dtype=np.float64)
    between = np.interp(t, np.arange(len(schedule)), log_snr(schedule.alpha_bar))
    whole = np.rint(t).astype(int)
    return np.where(t == whole, schedule.alpha_bar[whole], 1 / (1 + np.exp(-between)))


def log_snr(alpha_bar):
    """log(alpha_bar / (1 - alpha_bar)), of the signal-to-noise ratio: twice the lambda of the solvers' papers."""
    return np.log(alpha_bar) - np.log1p(-alpha_bar)


def points_of(round_, schedule):
    """The timesteps of a round and their noise levels, a Schedule that ends at t_start."""
    if round_.timesteps:
        return at(schedule, round_.timesteps[::-1])
    return spaced(schedule, round_.t_start, round_.steps, round_.spacing)
