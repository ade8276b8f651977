"""The reverse process from a noise level down to z_0, Eq. (3)."""
import numpy as np

from ldm.ddim import ddim_step
from ldm.ddpm import ddpm_step
from ldm.guidance import eps_channels
from runtime.backend import jt


def denoise(model, z_T, labels, grid, start=None, sampler="ddim", eta=0.0, noise_fn=None, progress=None):
    """Takes `start` denoising steps, from grid index start - 1 down to 0, and returns z_0 (B, C, h, w).

    model: callable (z, t, labels) -> eps, t a plain int on the original scale; z_T: (B, C, h, w) at the noise level of
    start_alpha_bar; labels: (B, h, w); grid: a Schedule from respace(); start: 1 to len(grid), default all of it.
    sampler: ddpm, or ddim with its eta. noise_fn(i) -> float32 array (B, C, h, w), the noise of the step at grid index
    i; needed unless the sampler is deterministic. progress(): called after every step.
    """
    start = len(grid) if start is None else start
    assert 1 <= start <= len(grid), (start, len(grid))
    assert sampler in ("ddim", "ddpm"), sampler
    stochastic = sampler == "ddpm" or eta > 0
    assert noise_fn is not None or not stochastic, (sampler, eta)
    z = z_T
    with jt.no_grad():
        for i in reversed(range(start)):
            alpha_bar, alpha_bar_prev = float(grid.alpha_bar[i]), float(grid.alpha_bar_prev[i])
            eps = eps_channels(model(z, int(grid.timesteps[i]), labels), z)
            # The last step adds none: alpha_bar_prev = 1 makes sigma 0.
            noise = jt.array(np.asarray(noise_fn(i), dtype=np.float32)) if stochastic and i > 0 else 0.0
            if sampler == "ddpm":
                z = ddpm_step(z, eps, alpha_bar, alpha_bar_prev, noise)
            else:
                z = ddim_step(z, eps, alpha_bar, alpha_bar_prev, eta, noise)
            z.sync()  # or the lazy graph of hundreds of steps would be held at once
            if progress is not None:
                progress()
    return z


def start_alpha_bar(grid, start, published_offset=False):
    """alpha_bar of the noise to add before `start` denoising steps, the alpha_bar_T of Eq. (1).

    It is that of the first call, grid index start - 1. The published code adds the noise of grid index `start` instead,
    more than it then tells the network; `published_offset` repeats that and needs start < len(grid).
    """
    index = start if published_offset else start - 1
    assert 0 <= index < len(grid), (start, len(grid), published_offset)
    return float(grid.alpha_bar[index])
