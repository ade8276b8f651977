import numpy as np
import pytest
from PIL import Image

from evaluation.networks.nima import NIMA, build_nima
from runtime.backend import jt
from runtime.errors import UserError
from tests.helpers import on_cpu
from tests.published import batch, complete, drawn, needs_golden, photo, reference

WIDTHS = 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024      # of MobileNet's 13 blocks


def keras_tensors(part=1, name="{}/{}".format, dense="dense_1"):
    """{name: array} as Keras saves it; part: of the full width."""
    tensors, inputs = {}, int(32 * part)

    def add(layer, variable, *shape):
        tensors[name(layer, variable)] = drawn(f"{layer}/{variable}", shape)

    def add_norm(layer, width):
        for variable in ("gamma", "beta", "moving_mean", "moving_variance"):
            add(f"{layer}_bn", variable, width)

    add("conv1", "kernel", 3, 3, 3, inputs)
    add_norm("conv1", inputs)
    for i, width in enumerate(WIDTHS, 1):
        width = int(width * part)
        add(f"conv_dw_{i}", "depthwise_kernel", 3, 3, inputs, 1)
        add_norm(f"conv_dw_{i}", inputs)
        add(f"conv_pw_{i}", "kernel", 1, 1, inputs, width)
        add_norm(f"conv_pw_{i}", width)
        inputs = width
    add(dense, "kernel", inputs, 10)
    add(dense, "bias", 10)
    return tensors


@pytest.fixture(scope="module")
def model():
    return build_nima(keras_tensors())


@on_cpu
def test_scores_and_features_are_those_of_keras(model):
    kept, images = reference(), [photo(224, 224, 0), photo(224, 224, 1)]
    x = jt.array(batch(*images) / np.float32(127.5) - 1)
    np.testing.assert_allclose(model.features(x).numpy()[:, ::8], kept["nima_features"], atol=2e-5)
    np.testing.assert_allclose(model(x).numpy(), kept["nima_probs"], atol=1e-6)
    found = model.predict(images)
    np.testing.assert_allclose(found @ np.arange(1, 11), kept["nima_mean"], atol=1e-5)


@needs_golden
@on_cpu
def test_all_features_are_those_of_keras(model):
    expected = complete("nima_mobilenet_deterministic.npz")
    x = jt.array(batch(photo(224, 224, 0), photo(224, 224, 1)) / np.float32(127.5) - 1)
    features, probabilities = model.features(x).numpy(), model(x).numpy()
    print(f"largest difference of features: {abs(features - expected['features']).max():.2g}, "
          f"of probabilities: {abs(probabilities - expected['probs']).max():.2g}")
    np.testing.assert_allclose(features, expected["features"], atol=1e-4)
    np.testing.assert_allclose(probabilities, expected["probs"], atol=1e-4)


@on_cpu
def test_folders_and_numbers_in_names_do_not_matter_and_the_width_is_read(rng):
    plain = build_nima(keras_tensors(0.25))
    long = build_nima(keras_tensors(0.25, "model_weights/{0}/{0}/{1}:0".format))
    x = jt.array(rng.uniform(-1, 1, (1, 3, 64, 96)).astype(np.float32))
    found = plain(x).numpy()
    np.testing.assert_array_equal(found, long(x).numpy())
    assert found.shape == (1, 10) and found.sum() == pytest.approx(1) and plain.features(x).shape[1] == 256


@on_cpu
def test_images_are_resized_to_224_by_the_rule_asked_for():
    model, image = build_nima(keras_tensors(0.25)), photo(300, 411, 2)
    for rule, how in (("nearest", Image.NEAREST), ("bilinear", Image.BILINEAR)):
        small = np.asarray(Image.fromarray(image).resize((224, 224), how))
        np.testing.assert_array_equal(model.predict([image], rule), model.predict([small], "nearest"))
    np.testing.assert_array_equal(model.predict([image]), model.predict([image], "nearest"))
    assert not np.array_equal(model.predict([image]), model.predict([image], "bilinear"))
    assert model.predict([]).shape == (0, 10)
    with pytest.raises(UserError, match="resize: found 'bicubic', expected one of nearest, bilinear"):
        model.predict([image], "bicubic")


def test_sizes_at_which_padding_is_not_what_keras_does_are_refused():
    with pytest.raises(ValueError, match="multiples of 32"):
        NIMA(8)(jt.zeros((1, 3, 225, 224)))


@pytest.mark.parametrize("change, message", [
    (lambda t: t.update({"dense_1/kernel": np.zeros((256, 1000))}), "dense layers of width 1000, expected one of width 10"),
    (lambda t: t.pop("dense_1/kernel"), "dense layers of width none, expected one of width 10"),
    (lambda t: t.update({"dense_2/kernel": np.zeros((256, 10))}), "dense layers of width 10, 10, expected one of width 10"),
    (lambda t: [t.pop(name) for name in list(t) if "conv_dw" in name], "not Keras' MobileNet")])
def test_look_alikes_are_refused_by_name(change, message):
    tensors = keras_tensors(0.25)
    change(tensors)
    with pytest.raises(UserError, match=f"^file: .*{message}.*expected NIMA|^file: .*{message}"):
        build_nima(tensors, "file")


@pytest.mark.parametrize("change, line", [
    (lambda t: t.pop("conv_pw_13_bn/beta"), "conv_pw_13_bn/beta is missing, expected shape (256,)"),
    (lambda t: t.update({"conv_pw_14/kernel": np.zeros(2)}), "conv_pw_14/kernel is not a tensor of this network"),
    (lambda t: t.update({"conv_dw_2/depthwise_kernel": np.zeros((3, 3, 1, 16))}),
     "conv_dw_2/depthwise_kernel has shape (3, 3, 1, 16), expected (3, 3, 16, 1)"),
    (lambda t: t.update({"copy/conv1/kernel:0": np.zeros((3, 3, 3, 8))}),
     "copy/conv1/kernel:0 is there twice, as conv1/kernel, expected every tensor once")])
def test_tensors_that_do_not_fit_are_named(change, line):
    tensors = keras_tensors(0.25)
    change(tensors)
    with pytest.raises(UserError) as error:
        build_nima(tensors, "file")
    assert error.value.problems == [f"file: {line}"]


@on_cpu
def test_the_last_layer_may_have_any_name():
    tensors = keras_tensors(0.25, dense="dense")
    assert build_nima(tensors).predict([photo(50, 60, 0)]).shape == (1, 10)
