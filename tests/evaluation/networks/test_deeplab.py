import json

import numpy as np
import pytest
from PIL import Image

from evaluation.networks.deeplab import build_deeplab
from evaluation.networks.layers import batch_of_one
from runtime.backend import jt
from runtime.errors import UserError
from tests.helpers import on_cpu
from tests.published import GOLDEN, batch, complete, needs_golden, photo, reference, weights

REAL = "weights/ade20k_deeplabv3_mnv2/ade20k_deeplabv3_mnv2_f16.npz"


@pytest.fixture(scope="module")
def narrow():
    return build_deeplab(weights("deeplab_narrow"))


@pytest.fixture(scope="module")
def real():
    with np.load(GOLDEN.parent / REAL) as arrays:
        return build_deeplab(dict(arrays), "the real weights")


def opened(path):
    return np.asarray(Image.open(GOLDEN.parent / path))


@on_cpu
def test_the_logits_are_those_of_the_same_network_in_pytorch(narrow):
    found = narrow(jt.array(batch(photo(65, 97, 4)) / np.float32(127.5) - 1)).numpy()
    assert found.shape == (1, 9, 65, 97) and narrow.classes == 9
    np.testing.assert_allclose(found[:, :, ::4, ::4], reference()["deeplab_narrow"], atol=2e-4)


@on_cpu
def test_labels_have_the_size_of_their_image_and_do_not_depend_on_the_others():
    tensors = weights("deeplab_narrow")
    tensors["logits.bias"] -= reference()["deeplab_narrow"].mean((0, 2, 3))     # else one class is the largest everywhere
    narrow = build_deeplab(tensors)
    images = [photo(30, 41, 0), photo(52, 23, 1)]
    together = narrow.predict(images, size=(65, 97))
    assert [labels.shape for labels in together] == [(30, 41), (52, 23)] and together[0].dtype == np.int32
    for image, labels in zip(images, together):
        np.testing.assert_array_equal(narrow.predict([image], size=(65, 97))[0], labels)
    assert len(np.unique(together[0])) > 1 and together[0].max() < 9


def test_sizes_at_which_padding_is_not_what_tensorflow_does_are_refused(narrow):
    with pytest.raises(ValueError, match="1 more than a multiple of 32"):
        narrow(jt.zeros((1, 3, 64, 97)))
    with pytest.raises(UserError, match=r"size: found \(512, 512\), expected .*1 more than a multiple of 32"):
        narrow.predict([photo(30, 41, 0)], size=(512, 512))


@pytest.mark.parametrize("change, message", [
    (lambda t: t.clear(), "among its 0 tensors, expected the npz of DeepLabV3"),
    (lambda t: t.pop("concat_projection.weight"), "among its 119 tensors, expected the npz of DeepLabV3"),
    (lambda t: t.pop("block3.project.weight"), "block3.project.weight is missing"),
    (lambda t: t.pop("block3.project.bias"), "block3.project.bias is missing"),
    (lambda t: t.update({"block17.project.bias": np.zeros(3)}), "block17.project.bias is not a tensor of this network"),
    (lambda t: t.update({"block5.expand.weight": np.zeros((8, 13, 1, 1))}), r"block5.expand.weight has shape \(8, 13, 1, 1\)")])
def test_what_does_not_fit_is_named(change, message):
    tensors = weights("deeplab_narrow")
    change(tensors)
    with pytest.raises(UserError, match=f"^file: .*{message}"):
        build_deeplab(tensors, "file")


@needs_golden
@on_cpu
def test_the_real_network_labels_a_photo_as_its_rebuild_in_pytorch_does(real):
    expected, image = complete("ade20k_deeplab_real.npz"), opened("iidm_cases/case1_gen.jpg")
    logits = real(jt.array(batch_of_one(image, (513, 513)) / np.float32(127.5) - 1)).numpy()[0, ::10, ::32, ::32]
    labels = real.predict([image])[0]
    print(f"largest difference of logits: {abs(logits - expected['iidm_case1_logits513_sub']).max():.2g}; "
          f"equal labels: {(labels == expected['iidm_case1_argmax_ade151']).mean():.5f}")
    np.testing.assert_allclose(logits, expected["iidm_case1_logits513_sub"], atol=2e-3)
    assert (labels == expected["iidm_case1_argmax_ade151"]).mean() >= 0.999


@needs_golden
@pytest.mark.parametrize("size", [(513, 513), (385, 513)])
@on_cpu
def test_the_real_network_finds_masks_again_as_well_as_its_rebuild_does(real, size):
    expected = complete_json("mask_accuracy_real.json")
    to_29 = np.array([28, *json.loads((GOLDEN.parent / "tables/label_maps_to_29.json").read_text())["ade20k_zero_based_to_29"]])
    key, largest, count = f"{size[1]}x{size[0]}", 0, 0
    cases = [(f"iidm_cases/case{i}_gen.jpg", f"iidm_cases/case{i}_label.png", expected["iidm_cases"][key][i - 1])
             for i in (1, 2, 3)]
    cases += [(f"landscape29/imgs/{name}.jpg", f"landscape29/labels/{name}.png", value)
              for name, value in expected["landscape29"][key].items()]
    for image, labels, value in cases:
        if (GOLDEN.parent / image).is_file():
            found = (to_29[real.predict([opened(image)], size)[0]] == opened(labels)).mean()
            largest, count = max(largest, abs(found - value)), count + 1
    print(f"{key}: largest difference of M over {count} images: {largest:.2g}")
    assert count >= 3 and largest < 0.002


def complete_json(file):
    return json.loads((GOLDEN / file).read_text())
