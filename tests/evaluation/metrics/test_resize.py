"""evaluation/metrics/resize.py: each mode is what its library hands to Inception."""
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.resize import MODES, inception_input
from tests.drawn import IMAGES, SHOWN, noise_image

LIBRARIES = np.load(Path(__file__).parents[2] / "data" / "metrics" / "libraries.npz")


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_its_librarys(mode, name):
    found = inception_input(noise_image(IMAGES[name]), mode)
    assert found.shape == (3, 299, 299) and found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found[SHOWN], LIBRARIES[f"resize_{mode}_{name}"], atol=1e-6)


def test_the_modes_differ_by_more_than_rounding():
    found = [inception_input(noise_image(IMAGES["large"]), mode) for mode in MODES]
    for i, one in enumerate(found):
        for other in found[:i]:
            assert np.abs(one - other).mean() > 0.01


@pytest.mark.parametrize("mode", MODES)
def test_a_flat_image_stays_flat_and_keeps_its_channels(mode):
    image = np.zeros((5, 9, 3), np.uint8)
    image[..., 0], image[..., 1] = 255, 128
    found = inception_input(image, mode)
    scale, middle = (127.5, 127.5) if mode == "pytorch" else (128, 128)
    for channel, value in enumerate((255, 128, 0)):
        np.testing.assert_allclose(found[channel], (value - middle) / scale, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_the_right_size_is_only_scaled(mode):
    image = noise_image((299, 299))
    expected = image.transpose(2, 0, 1) / 127.5 - 1 if mode == "pytorch" else (image.transpose(2, 0, 1) - 128.0) / 128
    np.testing.assert_allclose(inception_input(image, mode), expected, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_an_image_of_one_row_or_column_is_spread(mode, shape):
    found = inception_input(noise_image(shape), mode)
    assert np.isfinite(found).all() and abs(found).max() <= 1
    if shape[0] == 1:
        np.testing.assert_allclose(found, np.broadcast_to(found[:, :1], found.shape), atol=1e-6)
    if shape[1] == 1:
        np.testing.assert_allclose(found, np.broadcast_to(found[:, :, :1], found.shape), atol=1e-6)


@pytest.mark.parametrize("image, mode, message", [
    (np.zeros((4, 6, 3), np.uint8), "bicubic", "'bicubic', expected one of pytorch, clean, tf"),
    (np.zeros((4, 6, 3), np.float32), "tf", "float32"), (np.zeros((4, 6), np.uint8), "tf", r"\(4, 6\)"),
    (np.zeros((4, 6, 4), np.uint8), "tf", r"\(4, 6, 4\)"), (np.zeros((0, 6, 3), np.uint8), "tf", r"\(0, 6, 3\)")])
def test_another_mode_or_array_is_an_error(image, mode, message):
    with pytest.raises(ValueError, match=message):
        inception_input(image, mode)
