
import numpy as np
import pytest

from configs.schema import SCHEDULES
from ldm.schedule import alpha_bar_at, at, log_snr, make_schedule, spaced
from runtime.errors import UserError

linear = make_schedule("linear")
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
    schedule = schedule if steps is None else spaced(schedule, 980, steps)
    alpha, beta, rest = schedule.alphas[1:], schedule.betas[1:], 1 - schedule.alpha_bar_prev[1:]
    variance = 1 / (alpha / beta + 1 / rest)                            # precisions add
    np.testing.assert_allclose(schedule.posterior_variance[1:], variance, rtol=1e-9)
    np.testing.assert_allclose(schedule.posterior_z_t[1:], variance * np.sqrt(alpha) / beta, rtol=1e-9)
    np.testing.assert_allclose(schedule.posterior_z_0[1:], variance * (1 - rest) ** 0.5 / rest, rtol=1e-9)
    assert schedule.posterior_variance[0] == 0 and np.isfinite(schedule.posterior_log_variance).all()
    assert schedule.posterior_log_variance[0] == schedule.posterior_log_variance[1]


def test_steps_uniform_in_t_are_the_published_grids_of_500_and_50():
    np.testing.assert_array_equal(spaced(linear, 998, 500).timesteps, range(0, 1000, 2))
    np.testing.assert_array_equal(spaced(linear, 980, 50).timesteps, range(0, 1000, 20))


@pytest.mark.parametrize("spacing", ["uniform", "logsnr"])
@pytest.mark.parametrize("steps", [1, 2, 13, 320, 2000])
def test_every_spacing_begins_at_exactly_t_start_and_ends_at_t_0(spacing, steps):
    found = spaced(linear, 638, steps, spacing)
    assert len(found) == steps and found.timesteps[-1] == 638 and found.alpha_bar[-1] == linear.alpha_bar[638]
    assert steps == 1 or (found.timesteps[0] == 0 and found.alpha_bar[0] == linear.alpha_bar[0])
    assert (np.diff(found.timesteps) > 0).all() and (np.diff(found.alpha_bar) < 0).all()
    assert found.alpha_bar.dtype == np.float64


def test_timesteps_are_integers_where_all_are_whole():
    assert spaced(linear, 598, 300).timesteps.dtype.kind == at(linear, [0.0, 7.0]).timesteps.dtype.kind == "i"
    assert spaced(linear, 598, 8).timesteps.dtype == at(linear, [0, 7.5]).timesteps.dtype == np.float64


def test_uniform_steps_are_equal_in_t():
    found = spaced(linear, 380, 5)
    np.testing.assert_array_equal(found.timesteps, [0, 95, 190, 285, 380])
    np.testing.assert_array_equal(found.alpha_bar, linear.alpha_bar[[0, 95, 190, 285, 380]])
    np.testing.assert_array_equal(spaced(linear, 10, 5).timesteps, [0, 2.5, 5, 7.5, 10])


@pytest.mark.parametrize("kind", ["linear", "cosine", "scaled_linear"])
def test_logsnr_steps_are_equal_in_the_log_of_the_signal_to_noise_ratio(kind):
    schedule = make_schedule(kind)
    found = spaced(schedule, 598, 11, "logsnr")
    steps = np.diff(log_snr(found.alpha_bar))
    np.testing.assert_allclose(steps, (log_snr(schedule.alpha_bar[598]) - log_snr(schedule.alpha_bar[0])) / 10, rtol=1e-9)
    assert (found.timesteps[1:-1] % 1 > 0).all()


def test_between_two_timesteps_log_snr_is_linear_and_at_whole_ones_alpha_bar_is_the_schedules_own():
    t = np.array([0, 0.25, 1, 7.5, 600, 998.75, 999])
    found, known = log_snr(alpha_bar_at(linear, t)), log_snr(linear.alpha_bar)
    np.testing.assert_allclose(found[[1, 3, 5]], [0.75 * known[0] + 0.25 * known[1], known[7:9].mean(),
                                                  0.25 * known[998] + 0.75 * known[999]], rtol=1e-12)
    np.testing.assert_array_equal(alpha_bar_at(linear, np.arange(1000)), linear.alpha_bar)


@pytest.mark.parametrize("points", [spaced(linear, 598, 12, "logsnr"), spaced(linear, 998, 500), at(linear, [10, 30.5, 200])])
def test_the_betas_between_timesteps_multiply_to_their_alpha_bar(points):
    np.testing.assert_allclose(np.cumprod(points.alphas), points.alpha_bar, rtol=1e-10)


def test_a_spacing_that_is_none_is_a_users_error():
    with pytest.raises(UserError, match="spacing is 'quadratic', expected uniform or logsnr"):
        spaced(linear, 10, 2, "quadratic")
