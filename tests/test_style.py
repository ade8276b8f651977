"""metrics/style.py: S by its definition."""
import numpy as np
import pytest

from metrics.style import histogram, style_similarity


def test_s_is_the_correlation_of_two_joint_histograms(rng):
    a, b = (rng.integers(0, 256, (9, 14, 3), dtype=np.uint8) for _ in range(2))
    bins = [np.histogramdd(x.reshape(-1, 3), bins=(8, 8, 8), range=[(0, 256)] * 3)[0].ravel() for x in (a, b)]
    assert style_similarity(a, b) == pytest.approx(np.corrcoef(bins)[0, 1], abs=1e-12)


def test_s_sees_every_channel_and_no_positions(rng):
    image = rng.integers(0, 200, (9, 14, 3), dtype=np.uint8)
    assert style_similarity(image, image[::-1, ::-1]) == pytest.approx(1)
    for channel in range(3):
        changed = image.copy()
        changed[..., channel] = 255 - changed[..., channel]
        assert style_similarity(image, changed) < 0.6


def test_the_edges_of_a_bin_are_multiples_of_32():
    pixels = np.array([[[0, 31, 32], [255, 224, 223]]], dtype=np.uint8)
    assert set(np.flatnonzero(histogram(pixels))) == {0 * 64 + 0 * 8 + 1, 7 * 64 + 7 * 8 + 6}


def test_flat_images_have_a_defined_similarity():
    black, white = np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 255, np.uint8)
    assert style_similarity(black, black) == pytest.approx(1)
    assert -1 <= style_similarity(black, white) < 0
