"""The multistep solver DPM-Solver++(2M) and its SDE form (Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling of
Diffusion Probabilistic Models").

With lambda = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar)) as time, z_t follows an equation whose linear part is solved exactly;
what is left is an integral over the predicted z_0. 2M takes that as a straight line through this prediction and the one before.
"""
import math

from ldm.schedule import log_snr
from runtime.backend import jt

# A step more than so many times as long as the one before it is of first order. On a grid uniform in t that is the step to
# t = 0, at which the authors' own code stops extrapolating too when steps are few. For a mixture of Gaussians like that of
# tests/ldm/test_convergence.py, 8 to 128 steps uniform in t, 2 is the best of 1.5, 2, 3 and no limit; without one the end is
# 1.7 to 7 times as far off.
STRETCH = 2.0


class DPMSolver2M:
    """The steps of one trajectory, in order: it keeps the prediction before.

    The first step is of first order, having none before, which is DDIM's step. So is the last, to alpha_bar = 1, where lambda
    is infinite: it lands on the predicted z_0. And so is one much longer than the step before: the line would be drawn far
    beyond the two points it goes through.
    """

    def __init__(self, stochastic=False):
        self.stochastic = stochastic
        self.before = None          # (lambda, predicted z_0) of the level before

    def step(self, z_t, eps, alpha_bar_t, alpha_bar_prev, noise=0.0):
        """One step z_t -> z_prev. z_t, eps, noise: (B, C, h, w); alpha_bar_*: float; alpha_bar_prev is 1 at the end."""
        assert tuple(z_t.shape) == tuple(eps.shape), (z_t.shape, eps.shape)
        z_0 = synced(predicted_z_0(z_t, eps, alpha_bar_t))
        before, self.before = self.before, (half_log_snr(alpha_bar_t), z_0)
        if alpha_bar_prev == 1:
            return z_0
        straight = extrapolated(z_0, before, alpha_bar_t, alpha_bar_prev)
        if not self.stochastic:
            return first_order(z_t, straight, alpha_bar_t, alpha_bar_prev)
        h = half_log_snr(alpha_bar_prev) - half_log_snr(alpha_bar_t)
        gone = -math.expm1(-2 * h)                                      # 1 - e^(-2h): how much of the noise is new
        return (((1 - alpha_bar_prev) / (1 - alpha_bar_t)) ** 0.5 * math.exp(-h) * z_t
                + alpha_bar_prev ** 0.5 * gone * straight + ((1 - alpha_bar_prev) * gone) ** 0.5 * noise)


def predicted_z_0(z_t, eps, alpha_bar_t):
    """The z_0 that a noise prediction means, Eq. (2) solved for it."""
    return (z_t - (1 - alpha_bar_t) ** 0.5 * eps) * alpha_bar_t ** -0.5


def synced(z):
    """z, computed now: what is held from step to step would else hold the lazy graph of all the steps before."""
    if isinstance(z, jt.Var):
        z.sync()
    return z


def extrapolated(z_0, before, alpha_bar_t, alpha_bar_prev):
    """The predicted z_0 half a step further on the line through (lambda, z_0) before and now; z_0 itself where there is none
    before or the line would reach too far."""
    if before is None:
        return z_0
    now = half_log_snr(alpha_bar_t)
    h, h_before = half_log_snr(alpha_bar_prev) - now, now - before[0]
    if h > STRETCH * h_before:
        return z_0
    reach = h / (2 * h_before)                                          # 1 / (2 r) of Algorithm 2
    return (1 + reach) * z_0 - reach * before[1]


def first_order(z_t, z_0, alpha_bar_t, alpha_bar_prev):
    """The step with a constant prediction, DPM-Solver++(1), which is DDIM's:
    z_prev = sigma_prev / sigma_t z_t + sqrt(alpha_bar_prev) (1 - e^(-h)) z_0, sigma^2 = 1 - alpha_bar, h the step in lambda."""
    h = half_log_snr(alpha_bar_prev) - half_log_snr(alpha_bar_t)
    return (((1 - alpha_bar_prev) / (1 - alpha_bar_t)) ** 0.5 * z_t
            - alpha_bar_prev ** 0.5 * math.expm1(-h) * z_0)


def half_log_snr(alpha_bar):
    """lambda of the paper, float."""
    return float(log_snr(alpha_bar)) / 2
