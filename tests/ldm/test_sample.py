import numpy as np
import pytest

from configs.schema import SAMPLERS
from ldm.noise import normal, q_sample
from ldm.sample import denoise
from ldm.schedule import alpha_bar_at, make_schedule, spaced
from runtime.backend import jt

SHAPE = (3, 6, 10)
schedule = make_schedule("linear")
EVERY = [(sampler, 0.0) for sampler in SAMPLERS] + [("ddim", 0.7)]


def gaussian_model(mean, variance):
    """The exact eps of z_0 ~ N(mean, variance), elementwise; variance 0 is a single picture."""
    def model(z, t, labels):
        alpha_bar = float(alpha_bar_at(schedule, t))
        gain = (1 - alpha_bar) ** 0.5 / (alpha_bar * variance + 1 - alpha_bar)
        return gain * (z - alpha_bar ** 0.5 * mean)
    return model


@pytest.mark.parametrize("sampler, eta", EVERY)
@pytest.mark.parametrize("points", [
    spaced(schedule, 980, 50), spaced(schedule, 380, 20), spaced(schedule, 0, 1),
    spaced(schedule, 380, 1, "logsnr"), spaced(schedule, 598, 9, "logsnr"), spaced(schedule, 598, 9)])
def test_the_exact_noise_of_one_picture_leads_back_to_it(sampler, eta, points):
    z_0, eps = normal(0, ["a", "b"], 0, SHAPE), normal(1, ["a", "b"], 0, SHAPE)
    z_T = q_sample(jt.array(z_0), points.alpha_bar[-1], jt.array(eps))
    found = denoise(gaussian_model(jt.array(z_0), 0), z_T, None, points, sampler, eta,
                    noise_fn=lambda i: normal(2, ["a", "b"], 0, SHAPE, i)).numpy()
    np.testing.assert_allclose(found, z_0, atol=1e-4)


@pytest.mark.parametrize("sampler, eta, points", [
    ("ddim", 0.0, spaced(schedule, 996, 250)), ("ddim", 1.0, spaced(schedule, 996, 250)),
    ("ddpm", 0.0, spaced(schedule, 996, 250)),
    ("dpm++2m", 0.0, spaced(schedule, 999, 40, "logsnr")), ("unipc", 0.0, spaced(schedule, 999, 20, "logsnr")),
    ("dpm++2m_sde", 0.0, spaced(schedule, 999, 60, "logsnr")), ("dpm++2m_sde", 0.0, spaced(schedule, 996, 250))])
def test_an_exact_denoiser_recovers_mean_and_variance(sampler, eta, points):
    names = [f"{i}" for i in range(40)]                                     # 7200 values
    z_0 = denoise(gaussian_model(0.5, 0.36), jt.array(normal(0, names, 0, SHAPE)), None, points,
                  sampler, eta, noise_fn=lambda i: normal(1, names, 0, SHAPE, i)).numpy()
    assert z_0.mean() == pytest.approx(0.5, abs=0.03)
    assert z_0.std() == pytest.approx(0.6, abs=0.02)


def test_ddpm_keeps_the_distribution_from_the_middle_of_the_schedule():
    points, names = spaced(schedule, 319, 320), [f"{i}" for i in range(40)]
    z_0 = 0.5 + 0.6 * normal(2, names, 0, SHAPE)
    z_T = q_sample(jt.array(z_0), points.alpha_bar[-1], jt.array(normal(0, names, 0, SHAPE)))
    found = denoise(gaussian_model(0.5, 0.36), z_T, None, points, "ddpm",
                    noise_fn=lambda i: normal(1, names, 0, SHAPE, i)).numpy()
    assert found.mean() == pytest.approx(0.5, abs=0.03) and found.std() == pytest.approx(0.6, abs=0.02)
    assert np.corrcoef(found.ravel(), z_0.ravel())[0, 1] > 0.1              # and something of the reference


def test_the_model_is_called_from_t_start_down_to_0_with_plain_integers_where_all_are_whole():
    calls, done = [], []

    def model(z, t, labels):
        calls.append(t)
        return z

    z_T = jt.array(normal(0, ["a", "b"], 0, SHAPE))
    denoise(model, z_T, None, spaced(schedule, 380, 20), progress=lambda: done.append(1))
    assert calls == list(range(380, -1, -20)) and all(type(t) is int for t in calls)
    assert len(done) == 20


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_calls_the_network_once_a_step_and_between_timesteps_with_fractions(sampler):
    calls, points = [], spaced(schedule, 380, 7, "logsnr")
    model = lambda z, t, labels: calls.append(t) or z
    denoise(model, jt.array(normal(0, ["a", "b"], 0, SHAPE)), None, points, sampler=sampler,
            noise_fn=lambda i: np.zeros((2, *SHAPE), np.float32))
    assert calls == points.timesteps[::-1].tolist() and calls[0] == 380 and calls[-1] == 0 and calls[1] % 1
    assert all(type(t) is float for t in calls)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_is_the_predicted_z_0(sampler):
    z_T, points = normal(0, ["a", "b"], 0, SHAPE), spaced(schedule, 380, 1)
    model = lambda z, t, labels: 0.25 * z
    found = denoise(model, jt.array(z_T), None, points, sampler=sampler, noise_fn=lambda i: 1 / 0).numpy()
    alpha_bar = schedule.alpha_bar[380]
    np.testing.assert_allclose(found, z_T * (1 - 0.25 * (1 - alpha_bar) ** 0.5) / alpha_bar ** 0.5, rtol=1e-6)


def test_a_solver_that_looks_back_knows_nothing_of_the_sample_before():
    z_T, points = jt.array(normal(0, ["a", "b"], 0, SHAPE)), spaced(schedule, 598, 5, "logsnr")
    for sampler in ("dpm++2m", "unipc"):
        first, again = (denoise(gaussian_model(0.5, 0.36), z_T, None, points, sampler=sampler).numpy() for _ in range(2))
        np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("sampler, eta", EVERY)
def test_a_sample_does_not_depend_on_its_batch_bit_for_bit(sampler, eta):
    def run(names):
        return denoise(gaussian_model(0.5, 0.36), jt.array(normal(0, names, 0, SHAPE)), None, spaced(schedule, 380, 20),
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
    for sampler in ("ddpm", "dpm++2m_sde"):
        asked.clear()
        denoise(gaussian_model(0.5, 0.36), z_T, None, spaced(schedule, 80, 5), sampler, noise_fn=noise_fn)
        assert asked == [4, 3, 2, 1]
    for sampler in ("ddim", "dpm++2m", "unipc"):
        denoise(gaussian_model(0.5, 0.36), z_T, None, spaced(schedule, 80, 5), sampler, noise_fn=noise_fn)
    assert len(asked) == 4


@pytest.mark.parametrize("sampler", ["ddim", "dpm++2m", "unipc"])
def test_the_graph_does_not_grow_with_the_steps(sampler):
    def live(steps):
        sizes, z_T = [], jt.array(normal(0, ["a", "b"], 0, SHAPE))
        denoise(gaussian_model(0.5, 0.36), z_T, None, spaced(schedule, 5 * (steps - 1), steps), sampler,
                progress=lambda: sizes.append(jt.number_of_lived_vars()))
        return max(sizes)

    assert live(200) <= live(5)
