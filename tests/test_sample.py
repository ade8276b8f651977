import numpy as np
import pytest

from ldm.noise import normal, q_sample
from ldm.sample import denoise, start_alpha_bar
from ldm.schedule import make_schedule, respace
from runtime.backend import jt

SHAPE = (3, 6, 10)
schedule = make_schedule("linear")


def gaussian_model(mean, variance):
    """The exact eps of z_0 ~ N(mean, variance), elementwise; variance 0 is a single picture."""
    def model(z, t, labels):
        alpha_bar = float(schedule.alpha_bar[t])
        gain = (1 - alpha_bar) ** 0.5 / (alpha_bar * variance + 1 - alpha_bar)
        return gain * (z - alpha_bar ** 0.5 * mean)
    return model


@pytest.mark.parametrize("sampler, eta", [("ddim", 0.0), ("ddim", 0.7), ("ddpm", 0.0)])
@pytest.mark.parametrize("steps, start", [(50, 50), (50, 20), (7, 1)])
def test_the_exact_noise_of_one_picture_leads_back_to_it(sampler, eta, steps, start):
    grid = respace(schedule, steps)
    z_0, eps = normal(0, ["a", "b"], 0, SHAPE), normal(1, ["a", "b"], 0, SHAPE)
    z_T = q_sample(jt.array(z_0), start_alpha_bar(grid, start), jt.array(eps))
    found = denoise(gaussian_model(jt.array(z_0), 0), z_T, None, grid, start, sampler, eta,
                    noise_fn=lambda i: normal(2, ["a", "b"], 0, SHAPE, i)).numpy()
    np.testing.assert_allclose(found, z_0, atol=1e-4)


@pytest.mark.parametrize("sampler, eta", [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0)])
def test_an_exact_denoiser_recovers_mean_and_variance(sampler, eta):
    names = [f"{i}" for i in range(40)]                                     # 7200 values
    z_0 = denoise(gaussian_model(0.5, 0.36), jt.array(normal(0, names, 0, SHAPE)), None, respace(schedule, 250), None,
                  sampler, eta, noise_fn=lambda i: normal(1, names, 0, SHAPE, i)).numpy()
    assert z_0.mean() == pytest.approx(0.5, abs=0.03)
    assert z_0.std() == pytest.approx(0.6, abs=0.02)


def test_ddpm_keeps_the_distribution_from_the_middle_of_the_grid():
    grid, names = respace(schedule, 1000), [f"{i}" for i in range(40)]
    z_0 = 0.5 + 0.6 * normal(2, names, 0, SHAPE)
    z_T = q_sample(jt.array(z_0), start_alpha_bar(grid, 320), jt.array(normal(0, names, 0, SHAPE)))
    found = denoise(gaussian_model(0.5, 0.36), z_T, None, grid, 320, "ddpm",
                    noise_fn=lambda i: normal(1, names, 0, SHAPE, i)).numpy()
    assert found.mean() == pytest.approx(0.5, abs=0.03) and found.std() == pytest.approx(0.6, abs=0.02)
    assert np.corrcoef(found.ravel(), z_0.ravel())[0, 1] > 0.1              # and something of the reference


def test_the_model_is_called_from_start_minus_1_down_to_0_with_plain_integers():
    calls, done = [], []

    def model(z, t, labels):
        calls.append(t)
        return jt.concat([z, z], 1)                                         # variance channels are allowed

    z_T = jt.array(normal(0, ["a", "b"], 0, SHAPE))
    denoise(model, z_T, None, respace(schedule, 50), 20, progress=lambda: done.append(1))
    assert calls == list(range(380, -1, -20)) and all(type(t) is int for t in calls)
    assert len(done) == 20


def test_noise_is_added_where_the_first_call_is_and_one_point_higher_as_published():
    for steps, start, index in [(500, 300, 600), (500, 320, 640), (50, 20, 400)]:
        grid = respace(schedule, steps)
        assert start_alpha_bar(grid, start) == schedule.alpha_bar[index - 1000 // steps]
        assert start_alpha_bar(grid, start, published_offset=True) == schedule.alpha_bar[index]
    with pytest.raises(AssertionError):
        start_alpha_bar(grid, 50, published_offset=True)


@pytest.mark.parametrize("sampler, eta", [("ddim", 0.0), ("ddim", 0.7), ("ddpm", 0.0)])
def test_a_sample_does_not_depend_on_its_batch_bit_for_bit(sampler, eta):
    def run(names):
        return denoise(gaussian_model(0.5, 0.36), jt.array(normal(0, names, 0, SHAPE)), None, respace(schedule, 50), 20,
                       sampler, eta, noise_fn=lambda i: normal(1, names, 0, SHAPE, i)).numpy()

    together = run(["a", "b", "c", "d", "e"])
    for names, rows in [(["a"], [0]), (["d", "b"], [3, 1])]:
        np.testing.assert_array_equal(run(names), together[rows])


def test_noise_is_asked_for_once_a_step_and_not_for_the_last():
    asked = []

    def noise_fn(i):
        asked.append(i)
        return np.zeros((2, *SHAPE), np.float32)

    z_T = jt.array(normal(0, ["a", "b"], 0, SHAPE))
    denoise(gaussian_model(0.5, 0.36), z_T, None, respace(schedule, 50), 5, "ddpm", noise_fn=noise_fn)
    assert asked == [4, 3, 2, 1]
    denoise(gaussian_model(0.5, 0.36), z_T, None, respace(schedule, 50), 5, "ddim", noise_fn=noise_fn)
    assert len(asked) == 4


def test_the_graph_does_not_grow_with_the_steps():
    def live(steps):
        sizes, z_T = [], jt.array(normal(0, ["a", "b"], 0, SHAPE))
        denoise(gaussian_model(0.5, 0.36), z_T, None, respace(schedule, 200), steps,
                progress=lambda: sizes.append(jt.number_of_lived_vars()))
        return max(sizes)

    assert live(200) <= live(5)
