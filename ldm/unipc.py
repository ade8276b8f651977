"""The multistep predictor and corrector UniPC of order 2 (Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework for
Fast Sampling of Diffusion Models"), predicting z_0, with B_2(h) = e^h - 1.

The predictor UniP-2 is the step of DPM-Solver++(2M). The corrector UniC-2 goes over that step again once the network has been
called at its end, with a parabola through three predictions instead of a line through two. It needs no call of its own: the
prediction of the next step is the one it uses.
"""
import math

from ldm.dpm_solver import extrapolated, first_order, half_log_snr, predicted_z_0, synced


class UniPC:
    """The steps of one trajectory, in order. Orders are lowered where DPMSolver2M does so, for the same reasons."""

    def __init__(self):
        self.before = None          # (lambda, predicted z_0) of the level before
        self.left = None            # that level's (alpha_bar, z as corrected, and the `before` it had)

    def step(self, z_t, eps, alpha_bar_t, alpha_bar_prev, noise=0.0):
        """One step z_t -> z_prev. z_t, eps: (B, C, h, w); alpha_bar_*: float, 1 at the end; noise: there is none."""
        assert tuple(z_t.shape) == tuple(eps.shape), (z_t.shape, eps.shape)
        z_0 = synced(predicted_z_0(z_t, eps, alpha_bar_t))
        if alpha_bar_prev == 1:
            return z_0
        if self.left is not None:
            z_t = synced(self.corrected(z_0, alpha_bar_t))
        z_prev = first_order(z_t, extrapolated(z_0, self.before, alpha_bar_t, alpha_bar_prev), alpha_bar_t, alpha_bar_prev)
        self.left = alpha_bar_t, z_t, self.before
        self.before = half_log_snr(alpha_bar_t), z_0
        return z_prev

    def corrected(self, z_0, alpha_bar):
        """UniC: the step that led to this level once more, now that the prediction z_0 at its end is known."""
        alpha_bar_s, z_s, older = self.left
        lambda_s, z_0_s = self.before
        h = half_log_snr(alpha_bar) - lambda_s
        if older is None:
            return first_order(z_s, (z_0_s + z_0) / 2, alpha_bar_s, alpha_bar)              # UniC-1: a_1 = 1/2
        r = (older[0] - lambda_s) / h                                   # r_1 < 0: where the older prediction lies; r_2 = 1
        b_1, b_2 = moments(h)
        a_1 = (b_1 - b_2) / (1 - r)                                     # a_1 + a_2 = b_1 and r_1 a_1 + r_2 a_2 = b_2
        a_2 = b_1 - a_1
        bent = (1 - a_1 / r - a_2) * z_0_s + a_1 / r * older[1] + a_2 * z_0
        return first_order(z_s, bent, alpha_bar_s, alpha_bar)


def moments(h):
    """b_1, b_2 of the linear system for a: the means of u and u^2 on a step, u from 0 to 1, weighted by e^(u h)."""
    weight = -math.expm1(-h) / h                                        # phi_1, the integral of e^((u - 1) h)
    first = (1 - weight) / h
    second = (1 - 2 * first) / h
    return first / weight, second / weight
