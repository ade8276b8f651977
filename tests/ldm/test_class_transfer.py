"""ldm/class_transfer.py: statistics are moved, by the least movement, class by class, without a seam."""
import cv2
import numpy as np
import pytest

from configs.schema import COLOUR_TRANSFERS
from ldm.class_transfer import GAIN, by_class, covariance_map, deviation_map, lab, monge_kantorovich
from ldm.colour_transfer import BY_CLASS, KINDS, transfer, transfer_all
from runtime.errors import UserError

MAPS = pytest.mark.parametrize("mapping", [deviation_map, covariance_map])


def noisy(colour, height=60, width=100, seed=0, spread=6):
    """A picture of one colour with smooth noise, uint8."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 8 * spread, (height, width, 3)), (0, 0), 3)
    return np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)


def two(above, below, seed=0):
    """A picture of two colours, one above the other, and its mask (20, 25): 1 above, 12 below."""
    picture = np.concatenate([noisy(above, 30, seed=seed), noisy(below, 30, seed=seed + 1)])
    return picture, np.repeat([[1], [12]], 10, axis=0) * np.ones((1, 25), int)


def test_covariance_is_moved_and_by_the_least_movement(rng):
    x, mix = rng.normal(size=(500, 3)) * [9, 4, 6], np.array([[1.2, 0.3, 0], [0.3, 0.9, -0.2], [0, -0.2, 1.1]])
    y = x @ mix.T + [5, -3, 2]                                        # a symmetric positive map moves least: it is found again
    matrix, mean_x, mean_y = covariance_map(x, y)
    np.testing.assert_allclose(matrix, mix, atol=0.02)
    np.testing.assert_allclose(mean_y - mean_x @ mix.T, [5, -3, 2], atol=1e-9)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)


@MAPS
def test_a_flat_colour_is_not_blown_up(mapping, rng):
    flat, wild = np.full((200, 3), 50.0), rng.normal(size=(200, 3)) * 40
    for x, y in ((flat, wild), (wild, flat)):
        gains = np.linalg.eigvalsh(mapping(x, y)[0])
        assert 1 / GAIN - 1e-9 <= gains.min() and gains.max() <= GAIN + 1e-9


def test_monge_kantorovich_gives_the_mean_of_the_reference_and_leaves_a_picture_to_itself():
    source, reference = noisy((90, 120, 160)), noisy((150, 120, 90), seed=1, width=80)
    found = lab(monge_kantorovich(source, reference)).mean((0, 1))
    np.testing.assert_allclose(found, lab(reference).mean((0, 1)), atol=0.5)
    assert abs(monge_kantorovich(source, source).astype(int) - source).max() <= 1


@MAPS
def test_each_class_takes_its_own_colour_of_the_reference_wherever_it_lies_there(mapping):
    source, labels = two((120, 160, 220), (60, 130, 50))
    turned, theirs = two((60, 140, 60), (230, 130, 90), seed=5)       # grass above, an evening sky below
    theirs = 13 - theirs                                              # 12 above, 1 below
    result = by_class(source, turned, labels, theirs, mapping)
    np.testing.assert_allclose(lab(result[:20]).mean((0, 1)), lab(turned[35:]).mean((0, 1)), atol=3)
    np.testing.assert_allclose(lab(result[40:]).mean((0, 1)), lab(turned[:25]).mean((0, 1)), atol=3)


@MAPS
def test_classes_that_only_one_mask_has_and_no_mask_take_the_whole_pictures_colours(mapping):
    source, labels = two((120, 160, 220), (60, 130, 50))
    reference, theirs = two((200, 160, 120), (160, 130, 50), seed=5)
    whole = by_class(source, reference, np.full_like(labels, -1), theirs, mapping)
    np.testing.assert_array_equal(by_class(source, reference, labels, theirs * 0 + 5, mapping), whole)
    if mapping is covariance_map:
        np.testing.assert_array_equal(whole, monge_kantorovich(source, reference))


@MAPS
def test_no_seam_shows_where_the_picture_has_none(mapping):
    """A border of the mask through an even picture: neighbours differ hardly more than in the transfer of the whole."""
    source, (_, labels) = noisy((120, 140, 160), spread=1), two(0, 0)
    reference, theirs = two((90, 120, 160), (130, 140, 90), seed=5)
    step = lambda image: np.abs(np.diff(image.astype(int), axis=0)).max()
    result = by_class(source, reference, labels, theirs, mapping)
    hard = np.abs(result[5].mean(0) - result[-5].mean(0)).max()       # what a hard border would jump by
    assert hard > 25 and step(result) < step(source) * GAIN + 0.4 * hard


def test_every_kind_of_the_config_is_there_and_those_by_class_ask_for_masks():
    assert KINDS == COLOUR_TRANSFERS
    source, labels = two((120, 160, 220), (60, 130, 50))
    for kind in KINDS:
        assert transfer(kind, source, source, labels, labels).shape == source.shape
    for kind in BY_CLASS:
        with pytest.raises(UserError, match="which needs the references' masks; expected labels/ beside imgs/"):
            transfer(kind, source, source, labels)
        pictures, masks = np.stack([source] * 3), np.stack([labels] * 3)
        batch = transfer_all(kind, pictures, pictures, masks, masks)
        np.testing.assert_array_equal(batch[2], transfer(kind, source, source, labels, labels))
