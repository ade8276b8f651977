"""Ancestral sampling (Ho et al. 2020, "Denoising Diffusion Probabilistic Models"), Eq. (5).

As printed, Eq. (5) is not the posterior of the forward process: at t = 320 it multiplies z_t by 0.004. Its corrected
factors are 1 / sqrt(alpha_t) for z_t, beta_t / sqrt(alpha_t (1 - alpha_bar_t)) for eps, and
sigma_t^2 = beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t).
"""


def ddpm_step(z_t, eps, alpha_bar_t, alpha_bar_prev, noise=0.0):
    """One step z_t -> z_prev, Eq. (5) corrected. z_t, eps, noise: (B, C, h, w); alpha_bar_*: float, 1 at the end."""
    assert tuple(z_t.shape) == tuple(eps.shape), (z_t.shape, eps.shape)
    alpha_t = alpha_bar_t / alpha_bar_prev
    beta_t = 1 - alpha_t
    sigma_t = (beta_t * (1 - alpha_bar_prev) / (1 - alpha_bar_t)) ** 0.5
    mean = (z_t - beta_t / (1 - alpha_bar_t) ** 0.5 * eps) * alpha_t ** -0.5
    return mean + sigma_t * noise
