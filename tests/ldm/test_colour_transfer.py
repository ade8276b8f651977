import cv2
import numpy as np
import pytest

from ldm.colour_transfer import cielab8, l_alpha_beta, reinhard, transfer, transfer_all
from runtime.errors import UserError


def landscape(seed, shape=(48, 64), low=0.0, high=255.0):
    """A smooth picture of a few colours, uint8 (*shape, 3)."""
    coarse = np.random.default_rng(seed).uniform(low, high, size=(6, 8, 3)).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8)


@pytest.mark.parametrize("method", [cielab8, reinhard])
def test_the_result_has_the_statistics_of_the_reference(method):
    source, reference = landscape(0, low=40, high=200), landscape(1, (30, 50), low=100, high=180)
    found = method(source, reference)
    assert found.shape == source.shape and found.dtype == np.uint8

    def statistics(image):
        lab = l_alpha_beta(image) if method is reinhard else cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(float)
        return np.concatenate([lab.mean((0, 1)), lab.std((0, 1))])

    before, after = (np.abs(statistics(image) - statistics(reference)) for image in (source, found))
    assert (after <= before * 0.1 + (0.002 if method is reinhard else 0.4)).all(), (before, after)


def test_transfer_to_itself_is_the_identity_in_l_alpha_beta_and_near_it_in_8_bits():
    image = landscape(2)
    image[0, :3] = [[0, 0, 0], [255, 255, 255], [255, 0, 0]]
    np.testing.assert_array_equal(reinhard(image, image), image)
    assert np.abs(cielab8(image, image).astype(int) - image).mean() < 1.5


@pytest.mark.parametrize("method", [cielab8, reinhard])
@pytest.mark.parametrize("flat", [0, 128, 255])
def test_a_flat_image_takes_the_references_mean_colour(method, flat):
    source, reference = np.full((12, 16, 3), flat, np.uint8), landscape(3, low=90, high=160)
    found = method(source, reference)
    assert (found == found[0, 0]).all()
    assert np.abs(found[0, 0] - reference.mean((0, 1))).max() < 8
    np.testing.assert_array_equal(method(reference, source), np.full(reference.shape, flat))   # and the other way round


@pytest.mark.parametrize("method", [cielab8, reinhard])
def test_a_nearly_flat_source_and_a_violent_reference_stay_in_range(method):
    source, reference = np.full((12, 16, 3), 7, np.uint8), landscape(4)
    source[0, 0, 0] = 8
    with np.errstate(all="raise"):
        assert method(source, reference).shape == source.shape


def test_transfer_chooses_by_name_and_none_leaves_the_source_alone():
    source, reference = landscape(0), landscape(1)
    assert transfer("none", source, reference) is source
    np.testing.assert_array_equal(transfer("cielab8", source, reference), cielab8(source, reference))
    np.testing.assert_array_equal(transfer("reinhard", source, reference), reinhard(source, reference))
    with pytest.raises(UserError, match="sampling.colour_transfer"):
        transfer("lab", source, reference)


def test_a_batch_in_threads_is_the_same_as_one_after_the_other():
    sources, references = ([landscape(seed) for seed in seeds] for seeds in (range(5), range(5, 10)))
    np.testing.assert_array_equal(transfer_all("cielab8", np.stack(sources), np.stack(references)),
                                  [cielab8(*pair) for pair in zip(sources, references)])
    with pytest.raises(UserError, match="sampling.colour_transfer"):
        transfer_all("lab", np.stack(sources), np.stack(references))


def test_an_image_of_another_kind_is_an_error():
    with pytest.raises(ValueError, match="expected uint8"):
        cielab8(landscape(0), landscape(1).astype(np.float32))
