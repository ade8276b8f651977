"""evaluation/metrics/style.py: S by its definition."""
from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation.metrics import style
from evaluation.metrics.style import DEFINITIONS, histogram, style_similarity


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


# ------------------------------------------------------------------------------------------------ other definitions

# Three images that the paper's authors published and their references, as counts of 16 x 16 x 16 colours. Pearson's r was
# computed from the pictures by other code; `organiser` by the prototype's own, on files that OpenCV read.
PUBLISHED = {"rgb4": (0.8368606694449929, 0.9514387028643078, 0.928279558260609),
             "rgb8": (0.44551358589739926, 0.7585920331171526, 0.7485911656249885),
             "rgb16": (0.0542280921371672, 0.6043058679107953, 0.49964178085618516),
             "channels16": (0.4555361576384421, 0.7578692068348909, 0.352849129661917),
             "organiser": (0.14286890212609504, 0.7596601717787997, 0.7487465799969124)}


def painted(counts):
    """An image (N, 1, 3) with these counts of 16 x 16 x 16 colours."""
    r, g, b = np.meshgrid(*[np.arange(16) * 16 + 8] * 3, indexing="ij")
    colours = np.stack([r.ravel(), g.ravel(), b.ravel()], axis=1).astype(np.uint8)
    return np.repeat(colours, counts, axis=0)[:, None]


@pytest.mark.parametrize("case", [1, 2, 3])
def test_published_images_have_the_similarities_that_other_code_found(case):
    counts = np.load(Path(__file__).parents[2] / "data" / "metrics" / "histograms.npz")
    image, reference = painted(counts[f"gen{case}"]), painted(counts[f"ref{case}"])
    assert len(image) == len(reference) == 384 * 512
    found = {name: style_similarity(image, reference, name) for name in ("rgb8", "rgb16", "organiser")}
    found["rgb4"], found["channels16"] = style.joint(4)(image, reference), style.per_channel(image, reference, bins=16)
    assert found == {name: pytest.approx(PUBLISHED[name][case - 1], rel=1e-12) for name in PUBLISHED}
    assert found["organiser"] == PUBLISHED["organiser"][case - 1]                       # to the bit


def test_organiser_is_the_prototype_with_its_8_bit_overflow(rng):
    def prototype(picture):
        index = np.zeros(picture.shape[:2], int)
        for factor, channel in ((256, 2), (16, 1), (1, 0)):                             # blue, green, red
            index = (index + picture[..., channel] // 16 * factor % 256) % 256          # what 8 bits keep
        return np.bincount(index.ravel(), minlength=4096).astype(np.float32).reshape(4096, 1)

    image, reference = (rng.integers(0, 256, (30, 41, 3), dtype=np.uint8) // spread for spread in (1, 3))
    expected = cv2.compareHist(prototype(reference), prototype(image), cv2.HISTCMP_CORREL)
    assert style_similarity(image, reference, "organiser") == expected and 0 < abs(expected) < 1


def test_organiser_does_not_see_blue_and_the_others_do(rng):
    image = rng.integers(0, 200, (30, 41, 3), dtype=np.uint8)
    changed = image.copy()
    changed[..., 2] = 255 - changed[..., 2]
    assert style_similarity(image, changed, "organiser") == 1
    assert all(style_similarity(image, changed, name) < 0.9 for name in DEFINITIONS if name != "organiser")


def test_hsv72_has_the_bins_of_its_edges(rng):
    image = rng.integers(0, 256, (30, 41, 3), dtype=np.uint8)
    expected = np.zeros(72)
    for h, s, v in cv2.cvtColor(image, cv2.COLOR_RGB2HSV).reshape(-1, 3).astype(int):
        hue = next((k for k, (low, high) in enumerate([(20, 40), (40, 75), (75, 155), (155, 190), (190, 270), (270, 295),
                                                       (295, 315)], 1) if low < 2 * h <= high), 0)
        expected[9 * hue + 3 * sum([s > 51, s > 178]) + sum([v > 51, v > 178])] += 1
    np.testing.assert_array_equal(style.hsv_histogram(image), expected)
    assert expected[-9:].sum() > 0 and expected[:9].sum() > 0      # hues from 295 degrees on, which the prototype cannot reach


def test_per_channel_is_the_mean_of_three_correlations_of_256_bins(rng):
    a, b = rng.integers(0, 256, (30, 41, 3), dtype=np.uint8), rng.integers(0, 256, (30, 41, 3), dtype=np.uint8) // 3
    r = [np.corrcoef(np.bincount(a[..., k].ravel(), minlength=256), np.bincount(b[..., k].ravel(), minlength=256))[0, 1]
         for k in range(3)]
    assert style_similarity(a, b, "per-channel") == pytest.approx(np.mean(r), abs=1e-12)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_definition_is_1_for_equal_colours_symmetric_and_defined_for_flat_images(name, rng):
    a, b = rng.integers(0, 256, (9, 14, 3), dtype=np.uint8), rng.integers(0, 100, (7, 5, 3), dtype=np.uint8)
    assert style_similarity(a, a[::-1].copy(), name) == pytest.approx(1, abs=1e-12)
    assert style_similarity(a, b, name) == pytest.approx(style_similarity(b, a, name), abs=1e-12) and type(
        style_similarity(a, b, name)) is float
    black, white = np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 255, np.uint8)
    assert style_similarity(black, black[:2], name) == pytest.approx(1, abs=1e-12)
    assert -0.05 < style_similarity(black, white, name) < 0


def test_where_the_correlation_is_undefined_equal_histograms_give_1_and_others_0():
    even, uneven = np.full(72, 3.0), np.arange(72.0)
    assert style.correlation(even, 5 * even) == 1
    assert style.correlation(even, uneven) == style.correlation(uneven, even) == 0


@pytest.mark.parametrize("image, name, message", [
    (np.zeros((4, 6, 3), np.uint8), "rgb", "'rgb', expected one of rgb8, rgb16, organiser, hsv72, per-channel"),
    (np.zeros((4, 6, 3), np.float32), "rgb8", "float32"), (np.zeros((4, 6), np.uint8), "rgb8", r"\(4, 6\)"),
    (np.zeros((4, 6, 4), np.uint8), "rgb8", r"\(4, 6, 4\)"), (np.zeros((0, 6, 3), np.uint8), "rgb8", r"\(0, 6, 3\)")])
def test_another_definition_or_array_is_an_error(image, name, message):
    good = np.zeros((4, 6, 3), np.uint8)
    for pair in ((image, good), (good, image)):
        with pytest.raises(ValueError, match=message):
            style_similarity(*pair, name)
