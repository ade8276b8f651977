import numpy as np
import pytest

from ldm.noise import generator, normal, q_sample
from runtime.backend import jt

SHAPE = (3, 6, 10)


def test_noise_of_a_key_never_changes():
    found = normal(0, ["lake.png"], 1, (2, 2))[0].ravel()
    np.testing.assert_allclose(found, [0.37468994, -0.31483316, -0.07353312, 1.8304859], rtol=1e-6)


@pytest.mark.parametrize("other", [(1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a", 0, 5), (0, "a0", 0), (0, "a", "0")])
def test_every_part_of_the_key_changes_the_noise(other):
    assert not np.array_equal(generator(0, "a", 0).random(8), generator(*other).random(8))


def test_numpy_and_python_integers_are_the_same_key():
    assert generator(np.int64(3), "a", np.int32(1), np.int64(2)).random() == generator(3, "a", 1, 2).random()


def test_noise_of_an_image_does_not_depend_on_its_batch():
    together = normal(7, ["a", "b", "c"], 2, SHAPE, 40)
    np.testing.assert_array_equal(together[[2, 0]], normal(7, ["c", "a"], 2, SHAPE, 40))
    assert together.dtype == np.float32


def test_noise_is_standard_normal():
    eps = normal(0, [f"{i}" for i in range(200)], 0, (500,))
    assert abs(eps.mean()) < 0.01 and abs(eps.std() - 1) < 0.01
    assert abs(np.corrcoef(eps[0], eps[1])[0, 1]) < 0.2


def test_q_sample_keeps_unit_variance_and_the_root_of_alpha_bar_of_the_signal():
    rng = np.random.default_rng(0)
    z_0, eps = rng.normal(size=(2, 50000))
    z_t = q_sample(z_0, 0.3, eps)
    assert z_t.var() == pytest.approx(1, abs=0.02)
    assert (z_t * z_0).mean() == pytest.approx(0.3 ** 0.5, abs=0.02)


def test_q_sample_with_a_level_per_sample_is_q_sample_of_each():
    z_0, eps = jt.array(normal(0, ["a", "b"], 0, SHAPE)), jt.array(normal(1, ["a", "b"], 0, SHAPE))
    levels = np.array([0.9, 0.01])
    together = q_sample(z_0, levels, eps).numpy()
    for b in range(2):
        np.testing.assert_allclose(together[b], q_sample(z_0, levels[b], eps).numpy()[b], atol=1e-6)
