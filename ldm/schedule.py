"""Noise schedules and evenly spaced parts of them (Ho et al. 2020, "Denoising Diffusion Probabilistic Models").

The paper prints beta_t = 0.001 t, which is a misprint: it leaves alpha_bar_320 = 7e-26, so nothing of the reference
would survive Eq. (1). 2e-5 t gives alpha_bar_320 = 0.357; the winning entry used the linear schedule, 0.350.

Everything here is NumPy float64: Jittor would make it float32, where 1 - alpha_bar_t loses its digits.
"""
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from configs.schema import SCHEDULES
from runtime.errors import UserError

PUBLISHED_STEPS = 1000  # the length that the constants of every schedule are printed for


@dataclass(frozen=True)
class Schedule:
    """A noise schedule, or an evenly spaced part of one. Every array is (T,) float64; index 0 is one noising step."""
    betas: np.ndarray         # beta_t, variance of the noise that step t adds
    alpha_bar: np.ndarray     # product of 1 - beta up to t
    timesteps: np.ndarray     # (T,) int: the index 0..999 on the full schedule, which is what the network is told

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


def respace(schedule, steps):
    """`steps` evenly spaced points of a schedule, as a Schedule of that length.

    The rule of the published ddim500 and ddim50: timesteps 0, s, 2s, ... with the smallest stride s that gives exactly
    `steps` points: {0, 2, ..., 998} and {0, 20, ..., 980} of 1000. Where no stride does (300 of 1000), point i is
    floor(i * 1000 / 300). The alpha_bar of the points are kept, the betas between them follow.
    """
    total = len(schedule)
    if not 1 <= steps <= total:
        raise UserError(f"sampling.rounds: steps is {steps}, expected 1 to diffusion.timesteps ({total})")
    stride = -(-total // steps)  # the smallest that gives at most `steps` points
    index = np.arange(0, total, stride)
    if len(index) != steps:
        index = np.arange(steps) * total // steps
    alpha_bar = schedule.alpha_bar[index]
    betas = 1 - alpha_bar / np.append(1.0, alpha_bar[:-1])
    return Schedule(betas, alpha_bar, schedule.timesteps[index])
