
import numpy as np
import pytest

from configs.schema import SCHEDULES
from ldm.schedule import make_schedule, respace
from runtime.errors import UserError

KINDS = list(SCHEDULES)


def test_linear_schedule_has_the_noise_levels_of_the_published_rounds():
    alpha_bar = make_schedule("linear").alpha_bar
    levels = {600: 0.02557, 598: 0.02619, 640: 0.01548, 638: 0.01589, 400: 0.19357, 380: 0.22675}
    np.testing.assert_allclose(alpha_bar[list(levels)], list(levels.values()), atol=5e-6)


def test_the_papers_beta_leaves_nothing_of_the_reference_and_a_fiftieth_of_it_does():
    t = np.arange(1, 321)
    assert np.prod(1 - 0.001 * t) == pytest.approx(6.9e-26, rel=0.01)
    assert make_schedule("constant_slope").alpha_bar[320 - 1] == pytest.approx(0.357, abs=5e-4)


def test_cosine_schedule_follows_the_squared_cosine_until_beta_is_capped():
    schedule = make_schedule("cosine", 50)
    f = np.cos((np.arange(51) / 50 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alpha_bar[:-1], f[1:-1] / f[0], rtol=1e-12)
    assert schedule.betas[-1] == 0.999


def test_scaled_linear_schedule_is_stable_diffusions():
    schedule = make_schedule("scaled_linear")
    np.testing.assert_allclose(schedule.betas[[0, -1]], [0.00085, 0.012], rtol=1e-12)
    np.testing.assert_allclose(np.diff(np.sqrt(schedule.betas), 2), 0, atol=1e-15)
    assert schedule.alpha_bar[-1] == pytest.approx(0.00466, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shorter_schedule_ends_near_the_same_noise_level(kind):
    full, short = make_schedule(kind), make_schedule(kind, 250)
    assert np.log(short.alpha_bar[125]) == pytest.approx(np.log(full.alpha_bar[503]), rel=0.02)
    assert len(short) == 250 and short.betas.dtype == np.float64


@pytest.mark.parametrize("kind, timesteps", [("linear", 20), ("linear", 0), ("nonsense", 1000)])
def test_an_impossible_schedule_is_a_users_error(kind, timesteps):
    with pytest.raises(UserError, match="diffusion"):
        make_schedule(kind, timesteps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [None, 50])
def test_posterior_is_the_product_of_its_two_gaussians(kind, steps):
    schedule = make_schedule(kind)
    schedule = schedule if steps is None else respace(schedule, steps)
    alpha, beta, rest = schedule.alphas[1:], schedule.betas[1:], 1 - schedule.alpha_bar_prev[1:]
    variance = 1 / (alpha / beta + 1 / rest)                            # precisions add
    np.testing.assert_allclose(schedule.posterior_variance[1:], variance, rtol=1e-9)
    np.testing.assert_allclose(schedule.posterior_z_t[1:], variance * np.sqrt(alpha) / beta, rtol=1e-9)
    np.testing.assert_allclose(schedule.posterior_z_0[1:], variance * (1 - rest) ** 0.5 / rest, rtol=1e-9)
    assert schedule.posterior_variance[0] == 0 and np.isfinite(schedule.posterior_log_variance).all()
    assert schedule.posterior_log_variance[0] == schedule.posterior_log_variance[1]


def test_grids_of_500_and_50_are_the_published_ones():
    schedule = make_schedule("linear")
    np.testing.assert_array_equal(respace(schedule, 500).timesteps, range(0, 1000, 2))
    np.testing.assert_array_equal(respace(schedule, 50).timesteps, range(0, 1000, 20))


@pytest.mark.parametrize("total, steps, expected", [
    (10, 5, [0, 2, 4, 6, 8]), (10, 4, [0, 3, 6, 9]), (10, 7, [0, 1, 2, 4, 5, 7, 8]), (10, 1, [0]), (10, 10, range(10))])
def test_a_grid_takes_the_smallest_stride_or_else_spreads_evenly(total, steps, expected):
    np.testing.assert_array_equal(respace(make_schedule("cosine", total), steps).timesteps, expected)


@pytest.mark.parametrize("steps", [1, 7, 50, 300, 500, 999, 1000])
def test_a_grid_keeps_the_noise_levels_of_its_points(steps):
    schedule = make_schedule("linear")
    grid = respace(schedule, steps)
    assert len(grid) == steps and grid.timesteps[0] == 0 and (np.diff(grid.timesteps) > 0).all()
    np.testing.assert_array_equal(grid.alpha_bar, schedule.alpha_bar[grid.timesteps])
    np.testing.assert_allclose(np.cumprod(grid.alphas), grid.alpha_bar, rtol=1e-10)


@pytest.mark.parametrize("steps", [0, 1001])
def test_a_grid_of_no_points_or_too_many_is_a_users_error(steps):
    with pytest.raises(UserError, match="steps"):
        respace(make_schedule("linear"), steps)
