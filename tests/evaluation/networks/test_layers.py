import numpy as np
import pytest
from PIL import Image

from evaluation.networks.layers import Convolution, batch_of_one, inference, relu6
from evaluation.networks.pretrained import filled
from runtime.backend import jt
from runtime.errors import UserError
from tests.helpers import convolve, on_cpu
from tests.published import photo


@on_cpu
def test_a_convolution_may_be_wider_than_high(rng):
    x = rng.standard_normal((2, 3, 5, 9), dtype=np.float32)
    weight, bias = rng.standard_normal((4, 3, 1, 5), dtype=np.float32), rng.standard_normal(4, dtype=np.float32)
    layer = filled(Convolution(3, 4, (1, 5), padding=(0, 2)), {"weight": weight, "bias": bias}, "drawn")
    square = np.zeros((4, 3, 5, 5), dtype=np.float32)
    square[:, :, 2:3] = weight
    np.testing.assert_allclose(layer(jt.array(x)).numpy(), convolve(x, square, bias, 1, 2), atol=1e-5)


def test_inference_keeps_nothing_for_a_backward_pass():
    @inference
    def doubled(x):
        """Twice x."""
        return 2 * x

    x = jt.array([1.0])
    assert doubled(x).is_stop_grad() and not (2 * x).is_stop_grad() and doubled.__doc__ == "Twice x."


def test_relu6_keeps_what_is_between_0_and_6():
    assert relu6(jt.array([-1.0, 0.5, 7.0])).numpy().tolist() == [0, 0.5, 6]


def test_an_image_becomes_channels_first_and_keeps_its_values():
    image = photo(6, 10, 0)
    x = batch_of_one(image)
    assert x.shape == (1, 3, 6, 10) and x.dtype == np.float32
    np.testing.assert_array_equal(x[0].transpose(1, 2, 0), image)


@pytest.mark.parametrize("how", [Image.NEAREST, Image.BILINEAR])
def test_an_image_is_resized_to_height_and_width_by_pillow(how):
    image = photo(6, 10, 0)
    expected = np.asarray(Image.fromarray(image).resize((7, 4), how))           # Pillow: width first
    np.testing.assert_array_equal(batch_of_one(image, (4, 7), how)[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("image", [np.zeros((6, 10)), np.zeros((6, 10), np.uint8), np.zeros((6, 10, 4), np.uint8),
                                   np.zeros((6, 10, 3), np.float32)])
def test_what_is_no_rgb_image_is_refused(image):
    with pytest.raises(UserError, match="expected uint8"):
        batch_of_one(image)
