import numpy as np
import pytest

from ldm.ddpm import ddpm_step
from ldm.schedule import make_schedule, spaced
from runtime.backend import jt

SHAPE = (2, 3, 6, 10)


@pytest.mark.parametrize("steps", [1000, 50])
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.32, 0.98])
def test_ddpm_step_with_the_true_noise_draws_from_the_posterior(steps, fraction):
    grid = spaced(make_schedule("linear"), 1000 - 1000 // steps, steps)
    i = int(fraction * steps)
    z_0, eps, noise = np.random.default_rng(0).normal(size=(3, *SHAPE))
    z_t = grid.alpha_bar[i] ** 0.5 * z_0 + (1 - grid.alpha_bar[i]) ** 0.5 * eps
    found = ddpm_step(z_t, eps, grid.alpha_bar[i], grid.alpha_bar_prev[i], noise)
    posterior = grid.posterior_z_0[i] * z_0 + grid.posterior_z_t[i] * z_t + grid.posterior_variance[i] ** 0.5 * noise
    np.testing.assert_allclose(found, posterior, rtol=1e-8, atol=1e-10)


def test_eq_5_has_its_corrected_factors_at_timestep_320():
    schedule, one, zero = make_schedule("linear"), np.ones(1), np.zeros(1)
    levels = schedule.alpha_bar[320], schedule.alpha_bar_prev[320]
    assert ddpm_step(one, zero, *levels) == pytest.approx(1.00325, abs=5e-6)
    assert ddpm_step(zero, one, *levels) == pytest.approx(-0.00804, abs=5e-6)
    assert ddpm_step(zero, zero, *levels, noise=one) == pytest.approx(0.0803, abs=5e-5)


def test_ddpm_step_takes_jittor_arrays():
    z_t, eps, noise = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    found = ddpm_step(jt.array(z_t), jt.array(eps), 0.3, 0.31, jt.array(noise)).numpy()
    np.testing.assert_allclose(found, ddpm_step(z_t, eps, 0.3, 0.31, noise), atol=1e-6)


def test_the_last_ddpm_step_adds_no_noise():
    z_t, eps, noise = np.random.default_rng(0).normal(size=(3, *SHAPE))
    np.testing.assert_array_equal(ddpm_step(z_t, eps, 0.9, 1.0, noise), ddpm_step(z_t, eps, 0.9, 1.0))
