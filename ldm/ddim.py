"""DDIM sampling (Song et al. 2021, "Denoising Diffusion Implicit Models")."""


def ddim_step(z_t, eps, alpha_bar_t, alpha_bar_prev, eta=0.0, noise=0.0):
    """One step z_t -> z_prev, Eq. (12). z_t, eps, noise: (B, C, h, w); alpha_bar_*: float; eta: 0 to 1 (DDPM)."""
    assert tuple(z_t.shape) == tuple(eps.shape), (z_t.shape, eps.shape)
    assert 0 <= eta <= 1, eta
    z_0 = (z_t - (1 - alpha_bar_t) ** 0.5 * eps) * alpha_bar_t ** -0.5     # predicted z_0
    sigma = eta * ((1 - alpha_bar_prev) / (1 - alpha_bar_t)                # Eq. (16)
                   * (1 - alpha_bar_t / alpha_bar_prev)) ** 0.5
    direction = (1 - alpha_bar_prev - sigma ** 2) ** 0.5 * eps             # points back to z_t
    return alpha_bar_prev ** 0.5 * z_0 + direction + sigma * noise
