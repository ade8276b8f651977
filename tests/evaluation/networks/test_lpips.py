import numpy as np
import pytest
from PIL import Image

from evaluation.networks.lpips import build_lpips, build_squeezenet
from models.layers import parameters_of
from runtime.backend import jt
from runtime.errors import UserError
from tests.helpers import on_cpu
from tests.published import GOLDEN, batch, complete, drawn, needs_golden, photo, reference, weights

DEPTHS = 64, 128, 256, 384, 384, 512, 512


def heads(prefix="", widths=DEPTHS):
    """Drawn heads, none negative."""
    return {f"{prefix}lin{i}.model.1.weight": abs(drawn(f"lin{i}.model.1.weight", (1, width, 1, 1)))
            for i, width in enumerate(widths)}


def pictures():
    x = batch(photo(61, 83, 5), photo(61, 83, 6)) / np.float32(127.5) - 1
    return jt.array(x[:1]), jt.array(x[1:])


@pytest.fixture(scope="module")
def torchvision():
    return build_squeezenet(weights("squeezenet_torchvision"))


@pytest.mark.parametrize("names", ["torchvision", "caffe"])
@on_cpu
def test_features_and_distance_are_those_of_the_same_network_in_pytorch(names):
    kept, trunk = reference(), build_squeezenet(weights(f"squeezenet_{names}"))
    a, b = pictures()
    for i, (one, other) in enumerate(zip(trunk(a), trunk(b))):
        expected = kept[f"squeezenet_{names}_{i}"]
        found = np.concatenate([one.numpy().mean((2, 3)), other.numpy().mean((2, 3))])
        np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, abs(expected).max()))
    model = build_lpips(trunk, heads())
    np.testing.assert_allclose(model(a, b).numpy(), kept[f"squeezenet_{names}_lpips"], rtol=1e-4)
    assert model.published == (names == "torchvision")


@on_cpu
def test_equal_images_are_at_distance_0_and_the_order_does_not_matter(torchvision):
    model, (a, b) = build_lpips(torchvision, heads()), pictures()
    assert model(a, a).numpy().tolist() == [0]
    assert model(a, b).numpy()[0] == pytest.approx(model(b, a).numpy()[0], rel=1e-5) and model(a, b).numpy()[0] > 0.001
    images = photo(61, 83, 5), photo(61, 83, 6)
    np.testing.assert_allclose(model.predict([images, images[::-1]]), model(a, b).numpy()[0], rtol=1e-5)
    assert model.predict([]).shape == (0,)
    with pytest.raises(ValueError, match="expected two batches of one shape"):
        model(a, jt.zeros((1, 3, 61, 84)))


@on_cpu
def test_a_distance_has_the_slope_of_its_values_at_the_image_and_is_smooth_at_0(torchvision):
    model, (a, b) = build_lpips(torchvision, heads()), pictures()
    for other, direction in ((b, b - a), (a, b)):
        a = a.detach().start_grad()
        slope = jt.grad(model.distance(a, other).sum(), [a])[0].numpy()
        assert np.isfinite(slope).all()
        h = 1e-2
        near = [float(model(a + side * h * direction, other).numpy()[0]) for side in (-1, 1)]
        expected = (near[1] - near[0]) / (2 * h)
        assert float((slope * direction.numpy()).sum()) == pytest.approx(expected, rel=0.05, abs=1e-4)


@on_cpu
def test_a_distance_multiplies_the_heads(torchvision):
    a, b = pictures()
    doubled = {name: 2 * array for name, array in heads().items()}
    one, other = (build_lpips(torchvision, given)(a, b).numpy() for given in (heads(), doubled))
    np.testing.assert_allclose(2 * one, other, rtol=1e-5)


@on_cpu
def test_heads_may_lie_in_a_file_of_several_networks(torchvision):
    a, b = pictures()
    together = {**heads("alex.", (64, 192, 384, 256, 256)), **heads("squeeze.")}
    np.testing.assert_array_equal(build_lpips(torchvision, together)(a, b).numpy(),
                                  build_lpips(torchvision, heads())(a, b).numpy())


@pytest.mark.parametrize("widths, network", [((64, 192, 384, 256, 256), "AlexNet"), ((64, 128, 256, 512, 512), "VGG-16")])
def test_heads_of_other_networks_are_refused_by_name(torchvision, widths, network):
    with pytest.raises(UserError, match=f"^file: the heads of LPIPS on {network}, expected those on SqueezeNet"):
        build_lpips(torchvision, heads(widths=widths), "file")


def test_heads_that_do_not_fit_are_named(torchvision):
    given = heads()
    given["lin7.model.1.weight"] = given.pop("lin3.model.1.weight")
    with pytest.raises(UserError) as error:
        build_lpips(torchvision, given, "file")
    assert error.value.problems == ["file: lin3.model.1.weight is missing, expected shape (1, 384, 1, 1)",
                                    "file: lin7.model.1.weight is not a tensor of this network"]


@pytest.mark.parametrize("change, message", [
    (lambda t: t.update({"features.0.weight": np.zeros((96, 3, 7, 7))}), "SqueezeNet 1.0 .*expected squeezenet1_1"),
    (lambda t: t.clear(), "expected torchvision's squeezenet1_1 or"),
    (lambda t: t.pop("features.12.expand3x3.bias"), r"features.12.expand3x3.bias is missing, expected shape \(256,\)"),
    (lambda t: t.update({"features.13.weight": np.zeros(3)}), "features.13.weight is not a tensor of this network")])
def test_trunks_that_do_not_fit_are_refused_by_name(change, message):
    tensors = weights("squeezenet_torchvision")
    change(tensors)
    with pytest.raises(UserError, match=f"^file: .*{message}"):
        build_squeezenet(tensors, "file")


def test_the_classifier_of_a_whole_network_is_left_alone():
    classifier = {"classifier.1.weight": np.zeros((1000, 512, 1, 1)), "classifier.1.bias": np.zeros(1000)}
    whole, trunk = (parameters_of(build_squeezenet({**weights("squeezenet_torchvision"), **more})) for more in (classifier, {}))
    assert list(whole) == list(trunk) and len(trunk) > 20
    for name in trunk:
        np.testing.assert_array_equal(whole[name].numpy(), trunk[name].numpy(), err_msg=name)


@needs_golden
@on_cpu
def test_the_real_trunk_has_the_features_of_its_keras_network():
    with np.load(GOLDEN.parent / "weights/squeezenet_v1.1/squeezenet_v1.1_notop_oihw.npz") as arrays:
        trunk = build_squeezenet(dict(arrays))
    files = [GOLDEN.parent / f"iidm_cases/case{i}_ref.png" for i in (1, 2, 3)]
    expected = complete("squeezenet_real_features.npz")["ref"][:3]
    found = trunk.predict([np.asarray(Image.open(file)) for file in files])
    print(f"largest difference of features: {abs(found - expected).max():.2g}")
    np.testing.assert_allclose(found, expected, atol=2e-3)
