"""The reverse process from a noise level down to z_0, Eq. (3)."""
import numpy as np

from configs.schema import SAMPLERS
from ldm.ddim import ddim_step
from ldm.ddpm import ddpm_step
from ldm.dpm_solver import DPMSolver2M
from ldm.unipc import UniPC
from runtime.backend import jt

NOISY = ("ddpm", "dpm++2m_sde")


def denoise(model, z_T, labels, points, sampler="ddim", eta=0.0, noise_fn=None, progress=None):
    """The reverse process from z_T, at the noise level of the last of `points`, to z_0 (B, C, h, w): a step a point.

    model: callable (z, t, labels) -> eps (B, C, h, w), t a plain number, an int where all timesteps are whole;
    labels: (B, h, w); points: a Schedule, such as from spaced(); sampler: one of SAMPLERS; eta: ddim's.
    noise_fn(i) -> float32 array (B, C, h, w), the noise of the step at point i, for a sampler that adds some.
    progress(): called after every step.
    """
    stochastic = sampler in NOISY or eta > 0
    assert noise_fn is not None or not stochastic, (sampler, eta)
    z, step = z_T, stepper(sampler, eta)
    with jt.no_grad():
        for i in reversed(range(len(points))):
            eps = model(z, points.timesteps[i].item(), labels)
            # The last step adds none: alpha_bar_prev = 1 makes sigma 0.
            noise = jt.array(np.asarray(noise_fn(i), dtype=np.float32)) if stochastic and i > 0 else 0.0
            z = step(z, eps, float(points.alpha_bar[i]), float(points.alpha_bar_prev[i]), noise)
            z.sync()  # or the lazy graph of hundreds of steps would be held at once
            if progress is not None:
                progress()
    return z


def stepper(sampler, eta=0.0):
    """The steps of one trajectory: a callable (z_t, eps, alpha_bar_t, alpha_bar_prev, noise) -> z_prev, called in
    order."""
    assert sampler in SAMPLERS, sampler
    if sampler in ("ddim", "distilled"):
        return lambda z_t, eps, alpha_bar_t, alpha_bar_prev, noise: ddim_step(z_t, eps, alpha_bar_t, alpha_bar_prev, eta, noise)
    if sampler == "ddpm":
        return ddpm_step
    return UniPC().step if sampler == "unipc" else DPMSolver2M(stochastic=sampler == "dpm++2m_sde").step
