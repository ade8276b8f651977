import numpy as np
import pytest

from evaluation.networks.inception import ConvRelu, Inception, averaged, build_inception
from evaluation.networks.pretrained import filled
from models.kernels.bilinear import resize
from models.kernels.conv_onednn import channels_last
from models.kernels.turn import to_last
from models.layers import parameters_of
from runtime.backend import jt
from runtime.errors import UserError
from tests.helpers import on_cpu
from tests.published import batch, complete, drawn, needs_golden, photo, reference, weights


@pytest.fixture(scope="module")
def tensors():
    return weights("inception")


def pictures(*seeds):
    """The pictures of the reference as pytorch-fid gives them to the network."""
    x = batch(*(photo(384, 512, seed) for seed in seeds)) / np.float32(255)
    return resize(jt.array(x), (299, 299)) * 2 - 1


@on_cpu
def test_the_features_are_those_of_pytorch_fid(tensors):
    kept, model, x = reference(), build_inception(tensors), pictures(0, 1)
    np.testing.assert_allclose(model(x).numpy()[:, ::8], kept["inception_pool3"], atol=2e-5)
    for i, h in enumerate(model.stages(x[:1])[:3]):
        np.testing.assert_allclose(h.numpy().mean((2, 3))[:, ::8], kept[f"inception_block{i}_mean"][:1], atol=2e-5)


@needs_golden
@on_cpu
def test_all_features_are_those_of_pytorch_fid(tensors):
    expected = complete("inception_fid_deterministic.npz")["pool3"]
    found = build_inception(tensors)(pictures(0, 1)).numpy()
    print(f"largest difference of pool3: {abs(found - expected).max():.2g}")
    np.testing.assert_allclose(found, expected, atol=2e-3)


@on_cpu
def test_means_leave_out_what_lies_beyond_the_border(rng):
    x = rng.standard_normal((2, 3, 4, 5), dtype=np.float32)
    weight, bias = rng.standard_normal((6, 3, 1, 1), dtype=np.float32), rng.standard_normal(6, dtype=np.float32)
    layer = filled(ConvRelu(3, 6), {"weight": weight, "bias": bias}, "drawn")
    mean = np.stack([[x[:, :, max(i - 1, 0):i + 2, max(j - 1, 0):j + 2].mean((2, 3)) for j in range(5)] for i in range(4)])
    expected = np.einsum("ijbc,oc->boij", mean, weight[:, :, 0, 0]) + bias.reshape(1, -1, 1, 1)
    with jt.no_grad():
        found = averaged(to_last(jt.array(x)), layer).numpy().transpose(0, 3, 1, 2) if channels_last() else \
            averaged(jt.array(x), layer).numpy()
    np.testing.assert_allclose(found, np.maximum(expected, 0), atol=1e-5)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"expected images \(B, 3, 299, 299\)"):
        Inception()(jt.zeros((1, 3, 256, 256)))


def test_a_file_without_counts_of_batches_is_read_too(tensors):
    few = build_inception({name: array for name, array in tensors.items() if not name.endswith("num_batches_tracked")})
    same_weights(few, build_inception(tensors))


def same_weights(one, other):
    """Two networks hold the same numbers under the same names."""
    one, other = parameters_of(one), parameters_of(other)
    assert list(one) == list(other) and len(one) > 100
    for name in one:
        np.testing.assert_array_equal(one[name].numpy(), other[name].numpy(), err_msg=name)


@pytest.mark.parametrize("change, message", [
    (lambda t: t.update({"fc.weight": np.zeros((1000, 2048)), "fc.bias": np.zeros(1000)}), "torchvision's Inception v3"),
    (lambda t: t.update({"AuxLogits.fc.weight": np.zeros((1000, 768))}), "torchvision's Inception v3"),
    (lambda t: [t.pop(name) for name in list(t) if not name.startswith("Mixed")], "NVlabs' .* TorchScript"),
    (lambda t: t.clear(), "NVlabs' .* TorchScript")])
def test_look_alikes_are_refused_by_name(tensors, change, message):
    given = dict(tensors)
    change(given)
    with pytest.raises(UserError, match=f"^file.pth: .*{message}.*expected|^file.pth: .*expected.*{message}"):
        build_inception(given, "file.pth")


@pytest.mark.parametrize("change, line", [
    (lambda t: t.pop("Mixed_7c.branch_pool.bn.running_var"),
     "Mixed_7c.branch_pool.bn.running_var is missing, expected shape (192,)"),
    (lambda t: t.pop("fc.weight"), "fc.weight is missing, expected shape (1008, 2048)"),
    (lambda t: t.update({"Mixed_8a.weight": np.zeros(3)}), "Mixed_8a.weight is not a tensor of this network"),
    (lambda t: t.update({"Mixed_6b.branch1x1.conv.weight": np.zeros((192, 768))}),
     "Mixed_6b.branch1x1.conv.weight has shape (192, 768), expected (192, 768, 1, 1)")])
def test_tensors_that_do_not_fit_are_named_as_in_the_file(tensors, change, line):
    given = dict(tensors)
    change(given)
    with pytest.raises(UserError) as error:
        build_inception(given, "file.pth")
    assert error.value.problems == [f"file.pth: {line}"]


def test_the_drawn_weights_differ_from_layer_to_layer():
    one, other = (drawn(f"Mixed_6{block}.branch1x1.conv.weight", (4, 4)) for block in "bc")
    assert not np.array_equal(one, other)
