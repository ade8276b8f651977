import io

import numpy as np
import pytest
from PIL import Image

from ldm.pixels import from_uint8, through_jpeg, to_uint8
from runtime.errors import RunError

images = np.arange(2 * 6 * 10 * 3, dtype=np.int64).reshape(2, 6, 10, 3).astype(np.uint8)  # every grey level


@pytest.mark.parametrize("truncate", [False, True])
def test_images_come_back_from_their_latent_side(truncate):
    x = from_uint8(images).numpy()
    assert x.shape == (2, 3, 6, 10) and x.dtype == np.float32 and -1 <= x.min() and x.max() <= 1
    back = to_uint8(x, truncate).astype(int)
    assert back.shape == images.shape
    if truncate:                                     # a level just short of itself loses one, as in the published code
        assert set(np.unique(images - back)) <= {0, 1}
    else:
        np.testing.assert_array_equal(back, images)


def test_rounding_and_truncation_part_above_the_half():
    x = np.array([0.2, 0.6, 254.7, -3, 400], np.float32).repeat(3).reshape(1, 5, 1, 3).transpose(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_array_equal(to_uint8(x)[0, :, 0, 0], [0, 1, 255, 0, 255])
    np.testing.assert_array_equal(to_uint8(x, truncate=True)[0, :, 0, 0], [0, 0, 254, 0, 255])


def test_pixels_that_are_not_numbers_are_an_error():
    x = from_uint8(images).numpy().copy()
    x[1, 0, 0, 0] = np.nan
    with pytest.raises(RunError, match=r"not finite \(batch rows 1\)"):
        to_uint8(x)


def test_a_jpeg_file_between_loses_what_the_published_files_lose():
    image = np.kron(np.random.default_rng(0).integers(0, 256, (3, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)     # (24, 32, 3)
    found = through_jpeg(np.stack([image, image[::-1]]), 75)
    assert found.dtype == np.uint8 and found.shape == (2, 24, 32, 3)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG")                                # Pillow's defaults, as the published code has
    np.testing.assert_array_equal(found[0], np.asarray(Image.open(file)))
    assert 0 < np.abs(found[0].astype(int) - image).mean() < 20
