import numpy as np
import pytest

from configs.schema import RoundConfig
from ldm.levels import alpha_bar_at, log_snr, spaced, walk
from ldm.schedule import make_schedule, respace
from runtime.errors import UserError

schedule = make_schedule("linear")


@pytest.mark.parametrize("steps, start", [(500, 300), (500, 320), (50, 20), (300, 7), (10, 10), (50, 1)])
def test_the_published_walk_is_the_published_grid_up_to_its_start(steps, start):
    grid, found = respace(schedule, steps), walk(schedule, RoundConfig(steps=steps, start=start))
    for name in ("betas", "alpha_bar", "alpha_bar_prev", "timesteps"):
        np.testing.assert_array_equal(getattr(found, name), getattr(grid, name)[:start])
    assert found.timesteps.dtype == grid.timesteps.dtype and found.timesteps.dtype.kind == "i"


@pytest.mark.parametrize("spacing", ["uniform", "logsnr"])
@pytest.mark.parametrize("levels", [0, 1, 2, 13, 2000])
def test_every_spacing_begins_at_exactly_the_published_start_and_ends_at_t_0(spacing, levels):
    found = walk(schedule, RoundConfig(steps=500, start=320, spacing=spacing, levels=levels))
    assert len(found) == (levels or 320) and found.timesteps[-1] == 638
    assert found.alpha_bar[-1] == respace(schedule, 500).alpha_bar[319]
    assert levels == 1 or (found.timesteps[0] == 0 and found.alpha_bar[0] == schedule.alpha_bar[0])
    assert (np.diff(found.timesteps) > 0).all() and (np.diff(found.alpha_bar) < 0).all()
    assert found.timesteps.dtype == found.alpha_bar.dtype == np.float64


def test_uniform_steps_are_equal_in_t_and_as_many_as_the_grids_are_the_grid():
    found = spaced(schedule, 380, 5, "uniform")
    np.testing.assert_array_equal(found.timesteps, [0, 95, 190, 285, 380])
    np.testing.assert_array_equal(found.alpha_bar, schedule.alpha_bar[[0, 95, 190, 285, 380]])
    grid, same = respace(schedule, 50), walk(schedule, RoundConfig(steps=50, start=20, spacing="uniform"))
    np.testing.assert_array_equal(same.timesteps, grid.timesteps[:20])
    np.testing.assert_array_equal(same.alpha_bar, grid.alpha_bar[:20])


@pytest.mark.parametrize("kind", ["linear", "cosine", "scaled_linear"])
def test_logsnr_steps_are_equal_in_the_log_of_the_signal_to_noise_ratio(kind):
    schedule = make_schedule(kind)
    found = spaced(schedule, 598, 11, "logsnr")
    steps = np.diff(log_snr(found.alpha_bar))
    np.testing.assert_allclose(steps, (log_snr(schedule.alpha_bar[598]) - log_snr(schedule.alpha_bar[0])) / 10, rtol=1e-9)
    assert (found.timesteps[1:-1] % 1 > 0).all()


def test_between_two_points_log_snr_is_linear_and_at_whole_t_alpha_bar_is_the_schedules_own():
    t = np.array([0, 0.25, 1, 7.5, 600, 998.75, 999])
    found = log_snr(alpha_bar_at(schedule, t))
    known = log_snr(schedule.alpha_bar)
    np.testing.assert_allclose(found[[1, 3, 5]], [0.75 * known[0] + 0.25 * known[1], known[7:9].mean(),
                                                  0.25 * known[998] + 0.75 * known[999]], rtol=1e-12)
    np.testing.assert_array_equal(alpha_bar_at(schedule, np.arange(1000)), schedule.alpha_bar)


def test_the_betas_of_a_walk_multiply_to_its_levels():
    found = spaced(schedule, 598, 12, "logsnr")
    np.testing.assert_allclose(np.cumprod(1 - found.betas), found.alpha_bar, rtol=1e-12)


def test_several_levels_below_t_0_are_a_users_error():
    assert len(spaced(schedule, 0, 1, "logsnr")) == 1
    with pytest.raises(UserError, match="levels is 2 from t = 0, expected 1"):
        spaced(schedule, 0, 2, "uniform")
    with pytest.raises(UserError, match="spacing is 'quadratic', expected uniform or logsnr"):
        spaced(schedule, 10, 2, "quadratic")
