import numpy as np
import pytest

from ldm.ddim import ddim_step
from ldm.ddpm import ddpm_step
from runtime.backend import jt

SHAPE = (2, 3, 6, 10)


def test_ddim_step_with_the_true_noise_stays_on_the_path():
    z_0, eps = map(jt.array, np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32))

    def path(alpha_bar):
        return alpha_bar ** 0.5 * z_0 + (1 - alpha_bar) ** 0.5 * eps

    z_prev = ddim_step(path(0.3), eps, alpha_bar_t=0.3, alpha_bar_prev=0.8)
    np.testing.assert_allclose(z_prev.numpy(), path(0.8).numpy(), atol=1e-5)


def test_the_last_ddim_step_returns_the_predicted_z_0():
    z_0, eps, noise = np.random.default_rng(0).normal(size=(3, *SHAPE))
    z_t = 0.2 ** 0.5 * z_0 + 0.8 ** 0.5 * eps
    for eta in (0.0, 0.5, 1.0):
        np.testing.assert_allclose(ddim_step(z_t, eps, 0.2, 1.0, eta, noise), z_0, atol=1e-12)


@pytest.mark.parametrize("levels", [(0.3, 0.8), (4e-5, 5e-5), (0.99, 0.9999)])
def test_ddim_step_with_eta_1_is_a_ddpm_step(levels):
    z_t, eps, noise = np.random.default_rng(0).normal(size=(3, *SHAPE))
    np.testing.assert_allclose(ddim_step(z_t, eps, *levels, 1.0, noise), ddpm_step(z_t, eps, *levels, noise), rtol=1e-8)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_step_reaches_the_next_noise_level_for_every_eta(eta):
    z_0, zero, one = np.zeros(1), np.zeros(1), np.ones(1)
    direction = ddim_step(0.7 ** 0.5 * one, one, 0.3, 0.8, eta)           # z_0 = 0, eps = 1
    sigma = ddim_step(z_0, zero, 0.3, 0.8, eta, noise=one)
    np.testing.assert_allclose(direction ** 2 + sigma ** 2, 1 - 0.8, rtol=1e-12)


def test_ddim_step_refuses_other_shapes():
    with pytest.raises(AssertionError):
        ddim_step(np.zeros((2, 3, 6, 10)), np.zeros((2, 3, 10, 6)), 0.3, 0.8)
