import numpy as np
import pytest

from models.layers import GROUPS, parameters_of
from models.spade import SPADE, SegmentationMaps, one_hot, shares
from runtime.backend import jt
from tests.helpers import convolve, normalise, on_cpu, silu, with_drawn_weights

CLASSES, HIDDEN, CHANNELS = 29, 8, 32


def spade():
    """A SPADE layer with drawn weights."""
    return with_drawn_weights(SPADE(CHANNELS, CLASSES, HIDDEN))


def segmentation_of(labels):
    """SegmentationMaps of labels (B, H, W), an array."""
    return SegmentationMaps(jt.array(labels.astype(np.int32)), CLASSES)


def mask_of(labels):
    """The one-hot mask of labels (B, H, W), an array."""
    return segmentation_of(labels).at(labels.shape[1])


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_one_hot_takes_every_factor_th_pixel_and_no_mask_is_the_zero_vector(rng, factor):
    labels = rng.integers(0, CLASSES, (2, 8, 12)).astype(np.int32)
    labels[1, 4, :7] = -1
    expected = np.zeros((2, CLASSES, 8 // factor, 12 // factor), dtype=np.float32)
    for b, i, j in np.ndindex(2, 8 // factor, 12 // factor):
        label = labels[b, i * factor, j * factor]
        if label >= 0:
            expected[b, label, i, j] = 1
    assert (expected.sum(1) == 0).sum() == -(-7 // factor)
    found = one_hot(jt.array(labels), CLASSES, factor).numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_shares_are_the_part_of_each_square_that_a_class_has_and_no_mask_adds_to_none(rng, factor):
    labels = rng.integers(-1, CLASSES, (2, 8, 12)).astype(np.int32)
    squares = labels.reshape(2, 1, 8 // factor, factor, 12 // factor, factor)
    expected = (squares == np.arange(CLASSES).reshape(1, -1, 1, 1, 1, 1)).mean((3, 5))
    np.testing.assert_array_equal(shares(jt.array(labels), CLASSES, factor).numpy(), expected.astype(np.float32))


def test_masks_by_area_keep_what_is_smaller_than_a_pixel_and_are_the_same_in_whatever_order_the_sizes_are_asked_for(rng):
    labels = np.zeros((1, 16, 24), np.int32)
    labels[0, 5, 7] = 9                                       # between the pixels that nearest takes
    nearest, first, last = (SegmentationMaps(jt.array(labels), CLASSES, resampling=how) for how in ("nearest", "area", "area"))
    assert nearest.at(4).numpy()[0, 9].max() == 0 and first.at(4).numpy()[0, 9, 1, 1] == 1 / 16
    found = [first.at(2).numpy(), last.at(2).numpy()]         # of the finer one, and of the labels themselves
    np.testing.assert_array_equal(*found)
    assert found[0][0, 9, 0, 0] == 1 / 64


@pytest.mark.parametrize("timestep", [False, True])
@on_cpu
def test_spade_follows_eq_1_of_its_paper_then_the_timestep_then_silu(rng, timestep):
    layer = spade()
    w = {name: var.numpy() for name, var in parameters_of(layer).items()}
    h, labels = rng.standard_normal((2, CHANNELS, 8, 12), dtype=np.float32), rng.integers(-1, CLASSES, (2, 8, 12))
    scale, shift = 0.3 * rng.standard_normal((2, 2, CHANNELS)).astype(np.float32)
    seg = (labels[:, None] == np.arange(CLASSES)[:, None, None]).astype(np.float64)
    a = np.maximum(convolve(seg, w["mlp_shared.0.weight"], w["mlp_shared.0.bias"], padding=1), 0)
    gamma, beta = (convolve(a, w[f"mlp_{kind}.weight"], w[f"mlp_{kind}.bias"], padding=1) for kind in ("gamma", "beta"))
    v = normalise(h, GROUPS, 1e-5) * (1 + gamma) + beta
    if timestep:
        v = v * (1 + scale[..., None, None]) + shift[..., None, None]
    given = [jt.array(np.concatenate([scale, shift], axis=1))] if timestep else []
    np.testing.assert_allclose(layer(jt.array(h), segmentation_of(labels), *given).numpy(), silu(v), atol=2e-5)


@on_cpu
def test_a_class_modulates_its_interior_evenly_and_classes_differ():
    layer = spade()
    inside = {}
    for label in (-1, 0, 7):
        maps = layer.maps(mask_of(np.full((1, 8, 12), label))).numpy()[..., 2:-2, 2:-2]
        np.testing.assert_allclose(maps, np.broadcast_to(maps[..., :1, :1], maps.shape), atol=1e-6)
        inside[label] = maps[..., 0, 0]
    for one, other in ((-1, 0), (0, 7), (-1, 7)):
        assert np.abs(inside[one] - inside[other]).max() > 0.05


@on_cpu
def test_a_pixel_of_the_mask_reaches_two_pixels_and_no_further():
    layer = spade()
    labels = np.full((1, 8, 12), 3)
    changed = labels.copy()
    changed[0, 4, 6] = 21
    one, other = (layer.maps(mask_of(given)).numpy().reshape(2, CHANNELS, 8, 12) for given in (labels, changed))
    for change in np.abs(one - other).max(1):                 # of gamma and of beta
        rows, columns = np.nonzero(change)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 6, 4, 8)


@on_cpu
def test_the_gradient_reaches_every_weight_and_what_is_normalised(rng):
    layer = spade()
    h = jt.array(rng.standard_normal((2, CHANNELS, 8, 12), dtype=np.float32))
    weights = parameters_of(layer)
    y = layer(h, segmentation_of(rng.integers(-1, CLASSES, (2, 8, 12))))
    for name, gradient in zip([*weights, "h"], jt.grad((y * y).sum(), [*weights.values(), h])):
        assert np.abs(gradient.numpy()).max() > 1e-3, name
