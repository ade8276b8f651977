import math

import numpy as np
import pytest

from ldm.ddim import ddim_step
from ldm.dpm_solver import DPMSolver2M, first_order, half_log_snr

rng = np.random.default_rng(0)
z, eps, later = rng.standard_normal((3, 2, 3, 6, 10))


def test_the_first_step_is_ddims():
    found = DPMSolver2M().step(z, eps, 0.2, 0.35)
    np.testing.assert_allclose(found, ddim_step(z, eps, 0.2, 0.35), rtol=0, atol=1e-12)


def test_the_second_step_is_that_of_algorithm_2():
    solver = DPMSolver2M()
    x_1 = solver.step(z, eps, 0.2, 0.35)
    found = solver.step(x_1, later, 0.35, 0.6)
    alpha, sigma = (lambda a: a ** 0.5), (lambda a: (1 - a) ** 0.5)
    lam = {a: math.log(alpha(a) / sigma(a)) for a in (0.2, 0.35, 0.6)}
    h_1, h_2 = lam[0.35] - lam[0.2], lam[0.6] - lam[0.35]
    x_theta_0, x_theta_1 = (z - sigma(0.2) * eps) / alpha(0.2), (x_1 - sigma(0.35) * later) / alpha(0.35)
    r = h_1 / h_2
    D = (1 + 1 / (2 * r)) * x_theta_1 - 1 / (2 * r) * x_theta_0
    expected = sigma(0.6) / sigma(0.35) * x_1 - alpha(0.6) * (math.exp(-h_2) - 1) * D
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [DPMSolver2M(), DPMSolver2M(stochastic=True)])
def test_the_last_step_lands_on_the_predicted_z_0(solver):
    x_1 = solver.step(z, eps, 0.2, 0.35)
    expected = (x_1 - 0.65 ** 0.5 * later) / 0.35 ** 0.5
    np.testing.assert_allclose(solver.step(x_1, later, 0.35, 1.0, noise=99), expected, rtol=1e-12)


def test_a_step_much_longer_than_the_one_before_is_of_first_order():
    def second(alpha_bar):
        solver = DPMSolver2M()
        x_1 = solver.step(z, eps, 0.2, 0.35)
        return solver.step(x_1, later, 0.35, alpha_bar), ddim_step(x_1, later, 0.35, alpha_bar)

    assert half_log_snr(0.99) - half_log_snr(0.35) > 2 * (half_log_snr(0.35) - half_log_snr(0.2))
    np.testing.assert_allclose(*second(0.99), rtol=0, atol=1e-12)
    assert np.abs(np.subtract(*second(0.6))).max() > 0.05


def test_the_sde_form_keeps_the_variance_of_the_noise_and_draws_more_of_it_in_a_longer_step():
    for alpha_bar_prev in (0.21, 0.35, 0.9):
        # z_0 = 0: the picture is nothing, all there is is noise.
        old = DPMSolver2M(stochastic=True).step(0.8 ** 0.5 * z, z, 0.2, alpha_bar_prev)
        new = DPMSolver2M(stochastic=True).step(0 * z, 0 * z, 0.2, alpha_bar_prev, noise=z)
        kept, drawn = (float((part / z).mean()) for part in (old, new))
        assert kept ** 2 + drawn ** 2 == pytest.approx(1 - alpha_bar_prev)
        h = half_log_snr(alpha_bar_prev) - half_log_snr(0.2)
        assert drawn ** 2 / (1 - alpha_bar_prev) == pytest.approx(1 - math.exp(-2 * h))


def test_the_sde_form_without_second_order_is_the_exact_step_to_a_known_picture():
    picture, found = later, DPMSolver2M(stochastic=True).step(0.2 ** 0.5 * later + 0.8 ** 0.5 * eps, eps, 0.2, 0.5, noise=z)
    h = half_log_snr(0.5) - half_log_snr(0.2)
    expected = 0.5 ** 0.5 * picture + 0.5 ** 0.5 * (math.exp(-h) * eps + (1 - math.exp(-2 * h)) ** 0.5 * z)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_first_order_step_is_ddims_at_any_distance():
    for low, high in [(0.01, 0.99), (0.2, 0.2000001), (0.5, 0.9999)]:
        z_0 = (z - (1 - low) ** 0.5 * eps) / low ** 0.5
        np.testing.assert_allclose(first_order(z, z_0, low, high), ddim_step(z, eps, low, high), rtol=0, atol=1e-9)
