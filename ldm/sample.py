"""The reverse process from a noise level down to z_0, Eq. (3)."""
import numpy as np

from configs.schema import SAMPLERS
from ldm.ddim import ddim_step
from ldm.ddpm import ddpm_step
from ldm.dpm_solver import DPMSolver2M
from ldm.guidance import eps_channels
from ldm.unipc import UniPC
from runtime.backend import jt

NOISY = ("ddpm", "dpm++2m_sde")


def denoise(model, z_T, labels, grid, start=None, sampler="ddim", eta=0.0, noise_fn=None, progress=None):
    """Takes `start` denoising steps, from grid index start - 1 down to 0, and returns z_0 (B, C, h, w).

    model: callable (z, t, labels) -> eps, t a plain number on the original scale, an int where the grid's are; z_T: (B, C, h,
    w) at the noise level of start_alpha_bar; labels: (B, h, w); grid: a Schedule from respace(), spaced() or walk(); start: 1
    to len(grid), default all of it. sampler: one of SAMPLERS; eta: ddim's. noise_fn(i) -> float32 array (B, C, h, w), the
    noise of the step at grid index i; needed unless the sampler is deterministic. progress(): called after every step.
    """
    start = len(grid) if start is None else start
    assert 1 <= start <= len(grid), (start, len(grid))
    stochastic = sampler in NOISY or eta > 0
    assert noise_fn is not None or not stochastic, (sampler, eta)
    z, step = z_T, stepper(sampler, eta)
    with jt.no_grad():
        for i in reversed(range(start)):
            eps = eps_channels(model(z, grid.timesteps[i].item(), labels), z)
            # The last step adds none: alpha_bar_prev = 1 makes sigma 0.
            noise = jt.array(np.asarray(noise_fn(i), dtype=np.float32)) if stochastic and i > 0 else 0.0
            z = step(z, eps, float(grid.alpha_bar[i]), float(grid.alpha_bar_prev[i]), noise)
            z.sync()  # or the lazy graph of hundreds of steps would be held at once
            if progress is not None:
                progress()
    return z


def stepper(sampler, eta=0.0):
    """The steps of one walk: a callable (z_t, eps, alpha_bar_t, alpha_bar_prev, noise) -> z_prev, to be called in order."""
    assert sampler in SAMPLERS, sampler
    if sampler == "ddim":
        return lambda z_t, eps, alpha_bar_t, alpha_bar_prev, noise: ddim_step(z_t, eps, alpha_bar_t, alpha_bar_prev, eta, noise)
    if sampler == "ddpm":
        return ddpm_step
    return UniPC().step if sampler == "unipc" else DPMSolver2M(stochastic=sampler == "dpm++2m_sde").step


def start_alpha_bar(grid, start, published_offset=False):
    """alpha_bar of the noise to add before `start` denoising steps, the alpha_bar_T of Eq. (1).

    It is that of the first call, grid index start - 1. The published code adds the noise of grid index `start` instead,
    more than it then tells the network; `published_offset` repeats that and needs start < len(grid).
    """
    index = start if published_offset else start - 1
    assert 0 <= index < len(grid), (start, len(grid), published_offset)
    return float(grid.alpha_bar[index])
