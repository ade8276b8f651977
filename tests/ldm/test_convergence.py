"""How fast the solvers approach the solution, for a mixture of Gaussians, whose noise prediction is known exactly."""
import numpy as np
import pytest

from ldm.sample import denoise
from ldm.schedule import alpha_bar_at, log_snr, make_schedule, spaced
from runtime.backend import jt

SHAPE, START = (40, 3, 1, 2), 598
schedule = make_schedule("linear")
rng = np.random.default_rng(0)
means, weights = rng.normal(size=(5, 6)), np.array([0.1, 0.2, 0.3, 0.25, 0.15])
variances = np.array([0.01, 0.05, 0.1, 0.02, 0.3])
component = rng.choice(5, p=weights, size=40)
z_0 = means[component] + variances[component, None] ** 0.5 * rng.normal(size=(40, 6))
level = schedule.alpha_bar[START]
z_T = (level ** 0.5 * z_0 + (1 - level) ** 0.5 * rng.normal(size=(40, 6))).astype(np.float32)


def exact_eps(z, alpha_bar):
    """eps of the mixture at a noise level, float64 (N, 6): minus its score times the noise's deviation."""
    variance = alpha_bar * variances + 1 - alpha_bar                                    # of each component's z_t
    away = z[:, None] - alpha_bar ** 0.5 * means                                        # (N, 5, 6)
    log_share = np.log(weights) - 3 * np.log(variance) - (away ** 2).sum(-1) / (2 * variance)
    share = np.exp(log_share - log_share.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    return (1 - alpha_bar) ** 0.5 * (share[..., None] * away / variance[:, None]).sum(1)


def model(z, t, labels):
    found = exact_eps(z.numpy().reshape(40, 6).astype(np.float64), float(alpha_bar_at(schedule, t)))
    return jt.array(found.reshape(SHAPE).astype(np.float32))


def solution(steps=1500):
    """z_0 by Runge and Kutta's fourth order: with x = z / sqrt(alpha_bar) and s = sqrt(1 / alpha_bar - 1), dx / ds = eps.

    Along log s, as x changes fast where s is small.
    """
    def slope(x, log_s):
        s = np.exp(log_s)
        return s * exact_eps(x / (1 + s * s) ** 0.5, 1 / (1 + s * s))

    low, high = (-log_snr(schedule.alpha_bar[t]) / 2 for t in (0, START))
    x, h = z_T.astype(np.float64) / level ** 0.5, (low - high) / steps
    for i in range(steps):
        at = high + i * h
        k1 = slope(x, at)
        k2 = slope(x + h / 2 * k1, at + h / 2)
        k3 = slope(x + h / 2 * k2, at + h / 2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3, at + h))
    s = np.exp(low)
    return x - s * exact_eps(x / (1 + s * s) ** 0.5, 1 / (1 + s * s))                   # the last step, to alpha_bar = 1


@pytest.fixture(scope="module")
def error():
    """error(sampler, spacing, points): the median over 40 pictures of the distance to the solution."""
    expected = solution()

    def find(sampler, spacing, points):
        found = denoise(model, jt.array(z_T.reshape(SHAPE)), None, spaced(schedule, START, points, spacing), sampler=sampler)
        return np.median(np.sqrt(((found.numpy().reshape(40, 6) - expected) ** 2).mean(1)))

    return find


# UniPC of order 2 has order 3: the corrector UniC-p raises that of its predictor by one (Zhao et al. 2023).
@pytest.mark.parametrize("sampler, order", [("ddim", 1), ("dpm++2m", 2), ("unipc", 3)])
def test_in_log_snr_a_solver_converges_with_its_order(error, sampler, order):
    errors = [error(sampler, "logsnr", points) for points in (17, 33, 65)]              # 16, 32 and 64 equal steps
    found = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (np.abs(found - order) < 0.4).all(), (errors, found)


def test_ddim_converges_with_order_1_in_t_too(error):
    errors = [error("ddim", "uniform", points) for points in (65, 129, 257)]
    assert (np.abs(np.log2(np.divide(errors[:-1], errors[1:])) - 1) < 0.2).all(), errors


@pytest.mark.parametrize("sampler", ["dpm++2m", "unipc"])
def test_steps_that_grow_do_not_spoil_a_solver_that_extrapolates(error, sampler):
    # Uniform in t the last step is many times as long in lambda as the one before.
    for points, gain in [(8, 1.0), (25, 2.0), (100, 10.0)]:
        assert error(sampler, "uniform", points) * gain < error("ddim", "uniform", points)


@pytest.mark.parametrize("sampler", ["dpm++2m", "unipc"])
def test_a_few_steps_of_a_solver_reach_what_many_of_ddim_do(error, sampler):
    assert error(sampler, "logsnr", 16) < error("ddim", "logsnr", 64)
