"""SEAN's styles: convolutions of a map that is one vector per class."""
import numpy as np
import pytest

from baselines.sean import CODE, class_means, style_map
from baselines.semantics import Semantics
from models.layers import Conv
from runtime.backend import jt
from tests.helpers import convolve


def test_the_convolution_of_the_style_map_is_that_of_the_mask_with_weights_of_the_styles(rng):
    labels = rng.integers(-1, 3, (2, 6, 10))
    styles = rng.standard_normal((2, 3, CODE)).astype(np.float32)
    conv = Conv(CODE, 4)
    conv.weight.update(jt.array(rng.standard_normal((4, CODE, 3, 3)).astype(np.float32)))
    conv.bias.update(jt.array(rng.standard_normal(4).astype(np.float32)))
    semantics = Semantics(labels, 3)
    found = style_map(jt.array(styles), semantics.one_hot((6, 10)), conv).numpy()
    at_pixel = lambda label, style: np.where((label >= 0)[..., None], style[label], 0).transpose(2, 0, 1)
    maps = np.stack([at_pixel(label, style) for label, style in zip(labels, styles)])
    expected = convolve(maps, conv.weight.numpy(), conv.bias.numpy(), padding=1)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("classes", [3, 29])
def test_a_code_is_the_mean_over_a_class_and_zero_where_there_is_none(rng, classes):
    labels = rng.integers(0, 3, (2, 12, 20))
    labels[1][labels[1] == 2] = 0
    features = rng.standard_normal((2, 5, 6, 10)).astype(np.float32)
    codes = class_means(jt.array(features), Semantics(labels, classes)).numpy()
    assert codes.shape == (2, classes, 5)
    small = labels[:, ::2, ::2]
    np.testing.assert_allclose(codes[0, 1], features[0][:, small[0] == 1].mean(1), atol=1e-5)
    assert not codes[1, 2].any() and not codes[:, 3:].any()
