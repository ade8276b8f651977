"""Training loss of the U-Net: Eq. (4) for the noise, and a variational bound for the variance.

Nichol & Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models": L_hybrid, with both terms weighted 1 as in
the winning entry. The paper's own Eq. (4) is the first term alone.
"""
import math

import numpy as np

from ldm.noise import per_sample, q_sample
from runtime.backend import jt

BIN = 1 / 255     # half a grey level of an image in [-1, 1]; for latents too, as the published weights learnt
SMALLEST = 1e-12  # probability below which the published loss stops rising


def diffusion_loss(model, z_0, labels, t, eps, schedule, min_snr=0.0):
    """Per-sample losses {"mse", "vb", "loss"}, each (B,); loss = mse + vb and its mean is what training minimises.

    z_0, eps: (B, C, h, w); labels: (B, h, w); t: int array (B,), indices on `schedule`.
    The model may return C channels (eps alone: vb is 0) or 2C (eps, then the variance in its learned range).
    min_snr: gamma of Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", which takes weight from
    the timesteps with little noise, where the error in eps counts for least in z_0; 0: all weigh the same.
    """
    t = np.asarray(t)
    assert t.shape == (z_0.shape[0],), (t.shape, z_0.shape)
    z_t = q_sample(z_0, schedule.alpha_bar[t], eps)                                     # Eq. (2)
    out = model(z_t, jt.array(schedule.timesteps[t].astype(np.int32)), labels)          # (B, C or 2C, h, w)
    channels = z_0.shape[1]
    eps_hat = out[:, :channels]
    mse = mean_per_sample((eps - eps_hat) ** 2)                                         # Eq. (4), gamma_t = 1
    if min_snr:
        snr = schedule.alpha_bar[t] / (1 - schedule.alpha_bar[t])
        mse = mse * jt.array((np.minimum(snr, min_snr) / snr).astype(np.float32))
    if out.shape[1] == channels:
        return {"mse": mse, "vb": jt.zeros_like(mse), "loss": mse}
    assert out.shape[1] == 2 * channels, (out.shape, z_0.shape)
    vb = variational_bound(z_0, eps, eps_hat.detach(), out[:, channels:], t, schedule)  # trains the variance alone
    return {"mse": mse, "vb": vb, "loss": mse + vb}


def variational_bound(z_0, eps, eps_hat, variance, t, schedule):
    """Bits per dimension that step t costs -> (B,): KL(q(z_{t-1} | z_t, z_0) || p(z_{t-1} | z_t)).

    At t = 0 it is -log p(z_0 | z_1). z_0, eps, eps_hat, variance: (B, C, h, w); t: int array (B,). variance -1 .. 1
    covers the learned range, from log of the posterior variance to log beta_t (Eq. (15)).
    """
    alpha_bar, low = schedule.alpha_bar[t], schedule.posterior_log_variance[t]
    high = np.log(schedule.betas[t])
    # Everything is measured from `low`: the difference is small late in the schedule, where the logs are not.
    above = (variance + 1) * per_sample((high - low) / 2)           # log sigma_p^2 - log sigma_q^2
    # Both means share z_t, so they differ by posterior_z_0 * (z_0 - z_0_hat), a multiple of the error in eps.
    z_0_error = (eps_hat - eps) * per_sample(np.sqrt((1 - alpha_bar) / alpha_bar))       # z_0 - z_0_hat
    squared = (z_0_error * per_sample(schedule.posterior_z_0[t] * np.exp(-low / 2))) ** 2  # in units of sigma_q^2
    kl = 0.5 * (above - 1 + jt.exp(-above) * (1 + squared))
    sigma = jt.exp(0.5 * (above + per_sample(low)))
    nll = -discretised_log_likelihood(z_0, z_0_error, sigma)        # at t = 0 the mean is z_0_hat
    first = jt.array((t == 0).astype(np.float32))                   # (B,)
    return (first * mean_per_sample(nll) + (1 - first) * mean_per_sample(kl)) * (1 / math.log(2))


def discretised_log_likelihood(z_0, error, sigma):
    """log of the probability that N(z_0 - error, sigma^2) gives to z_0's bin, z_0 -+ 1/255. All (B, C, h, w).

    Values beyond -+0.999 own the rest of the line. Ho et al. 2020, Eq. (13), with the tanh approximation of the normal
    distribution function.
    """
    # As published, to the order of its float32 operations: a mirrored form would keep more digits of masses below 1e-5,
    # and be up to 1e-5 (relative) beside the published loss.
    inverse = 1 / sigma
    upper, lower = normal_cdf(inverse * (error + BIN)), normal_cdf(inverse * (error - BIN))
    mass = jt.ternary(z_0 < -0.999, upper, jt.ternary(z_0 > 0.999, 1 - lower, upper - lower))
    return jt.log(jt.maximum(mass, SMALLEST))


def normal_cdf(x):
    """The standard normal distribution function by tanh: (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    return 0.5 * (1 + jt.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def mean_per_sample(x):
    """(B, C, h, w) -> (B,) mean. Row by row: Jittor's own mean adds x / n one by one and loses digits of large maps."""
    return x.sum(-1).sum(-1).sum(-1) * (1 / math.prod(x.shape[1:]))


def drop_masks(labels, drop):
    """Labels with the masks of some samples taken away, for classifier-free guidance (Ho & Salimans 2022).

    labels: int (B, h, w), array or Var; drop: bool array (B,). A dropped sample is -1 everywhere.
    """
    drop = np.asarray(drop, dtype=bool)
    assert drop.shape == (labels.shape[0],), (drop.shape, labels.shape)
    if isinstance(labels, np.ndarray):
        return np.where(drop[:, None, None], labels.dtype.type(-1), labels)
    kept = jt.array((~drop).astype(np.int32).reshape(-1, 1, 1))
    return labels * kept + (kept - 1)
