"""evaluation/metrics/mask_accuracy.py: M by the rule's formula; classes, confusion and IoU by counting."""
import numpy as np
import pytest

from data.landscape import CLASSES
from evaluation.metrics.mask_accuracy import MaskAccuracy


def ids(rng, classes=29, shape=(6, 10)):
    return rng.integers(0, classes, shape).astype(np.uint8)


def test_m_is_the_mean_over_images_of_the_share_of_equal_pixels(rng):
    pairs = {f"{k}.png": (ids(rng, 3, (4 + k, 5)), ids(rng, 3, (4 + k, 5))) for k in range(4)}
    found = MaskAccuracy()
    for name, (truth, segmented) in pairs.items():
        height, width = truth.shape
        assert found.update(name, truth, segmented) == (truth == segmented).sum() / (height * width)   # the rule's formula
    assert list(found.images) == list(pairs)
    assert found.score() == pytest.approx(25 * sum(found.images.values()))


def test_the_class_other_counts_like_any():
    found, other = MaskAccuracy(), np.full((6, 10), CLASSES.index("other"), np.uint8)
    assert found.update("same", other, other) == 1
    assert found.update("not", other, other * 0) == 0
    assert found.score() == 50


def test_the_confusion_counts_true_class_by_found_class(rng):
    found, expected = MaskAccuracy(), np.zeros((29, 29), int)
    for name in "ab":
        truth, segmented = ids(rng), ids(rng)
        found.update(name, truth, segmented)
        for pair in zip(truth.ravel(), segmented.ravel()):
            expected[pair] += 1
    np.testing.assert_array_equal(found.confusion, expected)


def test_classes_and_mean_iou_are_those_of_the_pixels():
    truth = np.array([[0, 0, 0, 1], [1, 1, 1, 28]], np.uint8)         # mountain, sky, other
    segmented = np.array([[0, 0, 1, 1], [1, 1, 4, 1]], np.uint8)      # rock is in no mask
    found = MaskAccuracy()
    found.update("a", truth, segmented)
    assert found.classes() == {
        "mountain": {"share": 3 / 8, "accuracy": 2 / 3, "iou": 2 / 3}, "sky": {"share": 4 / 8, "accuracy": 3 / 4, "iou": 3 / 6},
        "rock": {"share": 0, "accuracy": None, "iou": 0}, "other": {"share": 1 / 8, "accuracy": 0, "iou": 0}}
    assert found.mean_iou() == pytest.approx((2 / 3 + 1 / 2) / 4)


def test_mean_iou_is_over_all_pixels_not_over_images():
    found = MaskAccuracy()
    small, large = np.zeros((1, 2), np.uint8), np.zeros((6, 10), np.uint8)
    found.update("small", small, small + 1)
    found.update("large", large, large)
    assert found.classes()["mountain"]["iou"] == 60 / 62 and found.score() == 50


@pytest.mark.parametrize("truth, segmented, message", [
    (np.zeros((6, 10), np.uint8), np.zeros((10, 6), np.uint8), r"a.png: found a mask \(6, 10\) and a segmentation \(10, 6\)"),
    (np.zeros(6, np.uint8), np.zeros(6, np.uint8), r"expected the same \(H, W\)"),
    (np.zeros((0, 6), np.uint8), np.zeros((0, 6), np.uint8), r"expected the same \(H, W\)"),
    (np.full((6, 10), 29), np.zeros((6, 10), int), "a.png: found a mask of int64 29 to 29"),
    (np.zeros((6, 10), int), np.full((6, 10), -1), "found a segmentation of int64 -1 to -1"),
    (np.zeros((6, 10)), np.zeros((6, 10), int), "found a mask of float64")])
def test_what_is_no_pair_of_label_maps_is_an_error_and_adds_nothing(truth, segmented, message):
    found = MaskAccuracy()
    with pytest.raises(ValueError, match=message):
        found.update("a.png", truth, segmented)
    assert not found.images and not found.confusion.any()


def test_an_image_counts_once():
    found, flat = MaskAccuracy(), np.zeros((6, 10), np.uint8)
    found.update("a", flat, flat)
    with pytest.raises(ValueError, match="a: found a second image of this name"):
        found.update("a", flat, flat)
    assert found.confusion.sum() == 60


def test_no_images_have_no_score():
    for score in (MaskAccuracy().score, MaskAccuracy().mean_iou):
        with pytest.raises(ValueError, match="found no images"):
            score()
    assert MaskAccuracy().classes() == {}
