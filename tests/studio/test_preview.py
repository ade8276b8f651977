"""The map from latents to colours."""
import numpy as np
import pytest

from studio.preview import fit


@pytest.mark.parametrize("channels", [4, 9])
def test_where_latents_are_linear_in_the_mean_colours_the_map_is_found_and_explains_all(channels, rng):
    mixing, shift = rng.standard_normal((3, channels)), rng.standard_normal(channels)
    images = rng.integers(0, 256, (5, 24, 40, 3)).astype(np.uint8)
    means = images.reshape(5, 6, 4, 10, 4, 3).mean((2, 4))                                      # (5, 6, 10, 3)
    latents = (means @ mixing / 100 + shift).transpose(0, 3, 1, 2)
    colours = fit(latents, images)
    assert colours.r2 > 0.999999
    inside = ((latents >= colours.low.reshape(1, channels, 1, 1)) & (latents <= colours.high.reshape(1, channels, 1, 1))).all(1)
    assert inside.mean() > 0.8
    near = np.abs(colours(latents)[inside] - np.rint(means)[inside]) <= 1                       # but beside a clipped one
    assert near.mean() > 0.98


def test_a_latent_that_is_not_finite_or_far_away_still_gives_a_picture(rng):
    colours = fit(rng.standard_normal((2, 3, 4, 6)), rng.integers(0, 256, (2, 8, 12, 3)).astype(np.uint8))
    shown = colours(np.array([np.nan, 1e30, -1e30]).reshape(1, 3, 1, 1) * np.ones((1, 3, 4, 6)))
    assert shown.shape == (1, 4, 6, 3) and shown.dtype == np.uint8
