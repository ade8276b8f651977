import math

import numpy as np
import pytest

from ldm.losses import diffusion_loss, drop_masks
from ldm.schedule import make_schedule, spaced
from runtime.backend import jt

SHAPE = (3, 6, 10)


def expected(z_0, out, t, eps, schedule):
    """The published loss in float64, from means and log variances. -> mse, vb, each (B,)."""
    z_0, out, eps = (a.astype(np.float64) for a in (z_0, out, eps))
    channels = z_0.shape[1]
    mse, vb = [], []
    for x, o, e, i in zip(z_0, out, eps, t):
        alpha_bar, before = schedule.alpha_bar[i], schedule.alpha_bar[i - 1] if i else 1.0
        beta = 1 - alpha_bar / before
        z_t = alpha_bar ** 0.5 * x + (1 - alpha_bar) ** 0.5 * e
        x_hat = (z_t - (1 - alpha_bar) ** 0.5 * o[:channels]) / alpha_bar ** 0.5
        mean, mean_hat = (beta * before ** 0.5 / (1 - alpha_bar) * clean
                          + (1 - beta) ** 0.5 * (1 - before) / (1 - alpha_bar) * z_t for clean in (x, x_hat))
        j = max(i, 1)
        after_first = (1 - schedule.alpha_bar[j - 1]) / (1 - schedule.alpha_bar[j]) * schedule.betas[j]
        low, high = math.log(after_first), math.log(beta)
        log_var = (o[channels:] + 1) / 2 * high + (1 - o[channels:]) / 2 * low
        if i > 0:
            cost = 0.5 * (log_var - low - 1 + np.exp(low - log_var) + (mean - mean_hat) ** 2 / np.exp(log_var))
        else:
            def cdf(v):
                return 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v ** 3)))
            upper, lower = (cdf((x - mean_hat + side / 255) * np.exp(-log_var / 2)) for side in (1, -1))
            mass = np.where(x < -0.999, upper, np.where(x > 0.999, 1 - lower, upper - lower))
            cost = -np.log(np.maximum(mass, 1e-12))
        mse.append(((e - o[:channels]) ** 2).mean())
        vb.append(cost.mean() / math.log(2))
    return np.array(mse), np.array(vb)


def case(t, shape=SHAPE, error=0.5, seed=0):
    rng = np.random.default_rng(seed)
    z_0, eps = rng.normal(size=(2, len(t), *shape)).astype(np.float32)
    out = np.concatenate([eps + error * rng.normal(size=eps.shape), rng.uniform(-1.2, 1.2, size=eps.shape)], 1)
    z_0[:, :, 0, :4] = [-1, 1, -0.9995, 0.9995]     # both ends of the pixel range, where the bins are open
    return z_0, out.astype(np.float32), np.array(t), eps


def loss_of(z_0, out, t, eps, schedule, **options):
    labels = jt.zeros((len(t), *z_0.shape[2:]), "int32")
    losses = diffusion_loss(lambda z_t, t, labels: jt.array(out), jt.array(z_0), labels, t, jt.array(eps), schedule,
                            **options)
    return {name: value.numpy() for name, value in losses.items()}


@pytest.mark.parametrize("t", [[0, 1], [2, 17], [500, 999]])
@pytest.mark.parametrize("error", [0.05, 1.0])
def test_losses_equal_the_published_formulas_in_float64(t, error):
    schedule = make_schedule("linear")
    z_0, out, t, eps = case(t, error=error)
    found, (mse, vb) = loss_of(z_0, out, t, eps, schedule), expected(z_0, out, t, eps, schedule)
    np.testing.assert_allclose(found["mse"], mse, rtol=1e-5)
    np.testing.assert_allclose(found["vb"], vb, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found["loss"], mse + vb, rtol=1e-5)


def test_min_snr_takes_weight_where_there_is_little_noise():
    schedule = make_schedule("linear")
    z_0, out, t, eps = case([5, 400, 999])
    found, (mse, vb) = loss_of(z_0, out, t, eps, schedule, min_snr=5.0), expected(z_0, out, t, eps, schedule)
    snr = schedule.alpha_bar[t] / (1 - schedule.alpha_bar[t])
    assert snr[0] > 5 > snr[1]
    np.testing.assert_allclose(found["mse"], mse * np.minimum(5, snr) / snr, rtol=1e-5)
    np.testing.assert_allclose(found["vb"], vb, rtol=1e-5)


def test_losses_keep_their_digits_at_the_full_latent_size():
    schedule = make_schedule("linear")
    z_0, out, t, eps = case([0, 300], shape=(3, 96, 128))
    found, (mse, vb) = loss_of(z_0, out, t, eps, schedule), expected(z_0, out, t, eps, schedule)
    np.testing.assert_allclose(found["mse"], mse, rtol=2e-6)
    np.testing.assert_allclose(found["vb"], vb, rtol=1e-5)


def test_a_hopeless_prediction_costs_a_finite_amount():
    found = loss_of(*case([0, 999], error=1000.0), make_schedule("linear"))
    assert np.isfinite(found["loss"]).all()
    assert found["vb"][0] <= -math.log(1e-12) / math.log(2) * 1.0001


def test_the_model_sees_the_noised_latent_and_the_original_timestep():
    grid = spaced(make_schedule("linear"), 980, 50)
    z_0, out, t, eps = case([3, 40])
    seen = {}

    def model(z_t, t, labels):
        seen.update(z_t=z_t.numpy(), t=t.numpy(), labels=labels.numpy())
        return jt.array(out)

    labels = np.arange(120, dtype=np.int32).reshape(2, 6, 10) % 29
    diffusion_loss(model, jt.array(z_0), jt.array(labels), t, jt.array(eps), grid)
    level = grid.alpha_bar[t].reshape(2, 1, 1, 1)
    np.testing.assert_allclose(seen["z_t"], level ** 0.5 * z_0 + (1 - level) ** 0.5 * eps, atol=1e-6)
    np.testing.assert_array_equal(seen["t"], [60, 800])
    np.testing.assert_array_equal(seen["labels"], labels)


def test_the_squared_error_alone_trains_the_noise_and_the_bound_alone_the_variance():
    schedule = make_schedule("linear")
    z_0, out, t, eps = case([0, 400])
    both = jt.array(out)
    losses = diffusion_loss(lambda *_: both, jt.array(z_0), None, t, jt.array(eps), schedule)
    slope = jt.grad(losses["loss"].sum(), both).numpy()
    np.testing.assert_allclose(slope[:, :3], 2 * (out[:, :3] - eps) / eps[0].size, rtol=1e-4, atol=1e-8)
    direction = np.zeros(out.shape)
    direction[:, 3:] = np.random.default_rng(1).normal(size=z_0.shape)
    up, down = (expected(z_0, out + side * 1e-5 * direction, t, eps, schedule)[1] for side in (1, -1))
    np.testing.assert_allclose((slope * direction).sum(axis=(1, 2, 3)), (up - down) / 2e-5, rtol=1e-3, atol=1e-6)


def test_without_variance_channels_the_loss_is_the_squared_error():
    z_0, out, t, eps = case([0, 400])
    found = loss_of(z_0, out[:, :3], t, eps, make_schedule("linear"))
    np.testing.assert_array_equal(found["loss"], found["mse"])
    np.testing.assert_array_equal(found["vb"], 0)


@pytest.mark.parametrize("convert", [np.asarray, jt.array])
def test_dropped_masks_are_minus_one_everywhere_and_the_others_untouched(convert):
    labels = np.random.default_rng(0).integers(-1, 29, size=(3, 6, 10)).astype(np.int32)
    found = drop_masks(convert(labels), np.array([False, True, False]))
    found = found if isinstance(found, np.ndarray) else found.numpy()
    assert found.dtype == np.int32 and (found[1] == -1).all()
    np.testing.assert_array_equal(found[[0, 2]], labels[[0, 2]])
