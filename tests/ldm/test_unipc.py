import numpy as np
import pytest

from ldm.dpm_solver import DPMSolver2M, first_order, half_log_snr
from ldm.unipc import UniPC, moments

rng = np.random.default_rng(0)
z, *eps = rng.standard_normal((5, 2, 3, 6, 10))
LEVELS = [0.1, 0.2, 0.35, 0.55]


def test_the_first_step_is_dpm_solvers_and_so_is_the_first_prediction_after_a_correction():
    mine, theirs = UniPC(), DPMSolver2M()
    np.testing.assert_array_equal(mine.step(z, eps[0], *LEVELS[:2]), theirs.step(z, eps[0], *LEVELS[:2]))
    # The second: the same step from the corrected z, with the prediction made at the z that was not.
    z_1 = mine.left[1] * 0 + first_order(z, mine.before[1], *LEVELS[:2])
    z_0 = (z_1 - 0.8 ** 0.5 * eps[1]) / 0.2 ** 0.5
    corrected = first_order(z, (mine.before[1] + z_0) / 2, *LEVELS[:2])                     # UniC-1
    found = mine.step(z_1, eps[1], *LEVELS[1:3])
    reach = (half_log_snr(0.35) - half_log_snr(0.2)) / (2 * (half_log_snr(0.2) - half_log_snr(0.1)))
    straight = (1 + reach) * z_0 - reach * theirs.before[1]
    np.testing.assert_allclose(found, first_order(corrected, straight, *LEVELS[1:3]), rtol=0, atol=1e-12)
    assert np.abs(corrected - z_1).max() > 0.1


@pytest.mark.parametrize("h", [1e-3, 0.1, 1.0, 5.0])
def test_moments_are_weighted_means_over_the_step(h):
    u = (np.arange(100000) + 0.5) / 100000
    weight = np.exp((u - 1) * h)
    np.testing.assert_allclose(moments(h), [(weight * u ** k).sum() / weight.sum() for k in (1, 2)], rtol=1e-7)


def test_the_corrector_is_exact_where_the_prediction_is_a_parabola_in_lambda():
    c = rng.standard_normal((3, 2, 3, 6, 10))
    parabola = lambda x: c[0] + c[1] * x + c[2] * x * x
    older, start, end = (half_log_snr(a) for a in LEVELS[1:])
    solver = UniPC()
    solver.left, solver.before = (LEVELS[2], z, (older, parabola(older))), (start, parabola(start))
    x = start + (end - start) * (np.arange(20000) + 0.5) / 20000
    weight = np.exp(x - end) * (end - start) / 20000
    integral = sum(c[k] * (weight * x ** k).sum() for k in range(3))                        # Eq. (9), data prediction
    expected = (0.45 / 0.65) ** 0.5 * z + 0.55 ** 0.5 * integral
    np.testing.assert_allclose(solver.corrected(parabola(end), LEVELS[3]), expected, rtol=0, atol=1e-7)


def test_the_last_step_lands_on_the_predicted_z_0():
    solver, x = UniPC(), z
    for i in range(3):
        x = solver.step(x, eps[i], *LEVELS[i:i + 2])
    np.testing.assert_allclose(solver.step(x, eps[3], 0.55, 1.0), (x - 0.45 ** 0.5 * eps[3]) / 0.55 ** 0.5, rtol=1e-12)
