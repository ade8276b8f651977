import numpy as np
import pytest

from models.embedding import timestep_embedding


def oracle(t, width):
    """[cos | sin] of t / 10000 ** (i / half), in extended precision."""
    half = width // 2
    angle = np.longdouble(t) / np.longdouble(10000) ** (np.arange(half, dtype=np.longdouble) / half)
    return np.concatenate([np.cos(angle), np.sin(angle)])


@pytest.mark.parametrize("t", [0, 1, 17, 640, 999, 0.5, 999.25])
@pytest.mark.parametrize("width", [32, 256])
def test_the_embedding_is_right_to_the_last_float32_digit(t, width):
    found = timestep_embedding(t, width)
    assert found.shape == (1, width) and found.dtype == np.float32
    np.testing.assert_allclose(found[0], oracle(t, width).astype(np.float64), rtol=0, atol=6e-8)


def test_float32_angles_would_have_failed_that():
    angle = np.float32(999) * np.exp(-np.log(np.float32(10000)) * np.arange(128, dtype=np.float32) / np.float32(128))
    assert np.abs(np.cos(angle) - oracle(999, 256)[:128]).max() > 1e-5


def test_cosines_come_first():
    np.testing.assert_array_equal(timestep_embedding(0, 8), [[1, 1, 1, 1, 0, 0, 0, 0]])


def test_an_array_gives_a_row_for_each_number_and_one_number_one_row():
    rows = timestep_embedding(np.array([3, 998, 3], dtype=np.int32), 32)
    assert rows.shape == (3, 32)
    for row, t in zip(rows, (3, 998, 3)):
        np.testing.assert_array_equal(row, timestep_embedding(t, 32)[0])
