import numpy as np
import pytest

from models.kernels.casting import to, to_float32
from models.kernels.conv import conv2d
from models.layers import GROUPS, Conv, GroupNorm, Linear, NumberedModules, down, initialise, parameters_of, relu, up
from runtime.backend import jt, nn
from runtime.processor import multiplies_bfloat16
from tests.helpers import convolve, normalise, on_cpu, silu, with_drawn_weights
from tests.play import assert_close


def drawn_layer(layer):
    """A layer with weights and bias of order 1, and them as arrays."""
    with_drawn_weights(layer)
    return layer, layer.weight.numpy(), layer.bias.numpy()


@pytest.mark.parametrize("kernel, stride, padding", [(3, 1, None), (1, 1, None), (3, 2, 0)])
@on_cpu
def test_a_convolution_follows_its_definition(rng, kernel, stride, padding):
    conv, weight, bias = drawn_layer(Conv(5, 4, kernel, stride, padding))
    x = rng.standard_normal((2, 5, 7, 11), dtype=np.float32)
    expected = convolve(x, weight, bias, stride, kernel // 2 if padding is None else padding)
    np.testing.assert_allclose(conv(jt.array(x)).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@on_cpu
def test_a_residual_is_added_to_the_convolution(rng, dtype):
    conv, _, _ = drawn_layer(Conv(5, 4))
    conv.compute_dtype = conv.output_dtype = dtype
    x, residual = (to(jt.array(rng.standard_normal((2, n, 7, 11), dtype=np.float32)), dtype) for n in (5, 4))
    found = conv(x, residual=residual)
    assert str(found.dtype) == dtype
    if dtype == "bfloat16" and multiplies_bfloat16():                          # rounded once, the residual within the sum
        exact = [to_float32(to(array, dtype)) for array in (x, conv.weight, conv.bias)]
        expected = conv2d(*exact, 1, 1, impl="reference") + to_float32(residual)
        assert_close(to_float32(found).numpy(), expected.numpy(), dtype)
        return
    expected = to(to_float32(conv(x)) + to_float32(residual), dtype)
    np.testing.assert_array_equal(to_float32(found).numpy(), to_float32(expected).numpy())


@on_cpu
def test_a_conv1d_weight_does_what_a_1x1_convolution_does_and_comes_after_its_bias(rng):
    conv, weight, bias = drawn_layer(Conv(5, 4, 1, ndim=1))
    assert weight.shape == (4, 5, 1) and list(parameters_of(conv)) == ["bias", "weight"]
    x = rng.standard_normal((2, 5, 7, 11), dtype=np.float32)
    np.testing.assert_allclose(conv(jt.array(x)).numpy(), convolve(x, weight[..., None], bias), atol=1e-5)


@on_cpu
def test_a_convolution_computes_with_one_type_and_answers_in_another(rng):
    conv, _, _ = drawn_layer(Conv(5, 4))
    x = jt.array(rng.standard_normal((2, 5, 7, 11), dtype=np.float32))
    exact = conv(x).numpy()
    conv.output_dtype = "float16"
    assert str(conv(x).dtype) == "float16"
    np.testing.assert_array_equal(conv(x).numpy(), exact.astype(np.float16))         # computed with as before
    conv.compute_dtype, conv.output_dtype = "float16", "float32"
    assert str(conv(x).dtype) == "float32" and str(conv.weight.dtype) == "float32"
    error = np.abs(conv(x).numpy() - exact).max()
    assert 1e-4 < error < 3e-2, error


def test_down_is_the_mean_of_2x2_pixels_and_up_repeats_each(rng):
    x = rng.standard_normal((2, 3, 8, 12), dtype=np.float32)
    smaller = sum(x[:, :, i::2, j::2].astype(np.float64) for i in (0, 1) for j in (0, 1)) / 4
    np.testing.assert_allclose(down(jt.array(x)).numpy(), smaller, atol=1e-6)
    np.testing.assert_array_equal(up(jt.array(x)).numpy(), x.repeat(2, 2).repeat(2, 3))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@on_cpu
def test_what_lies_between_layers_keeps_the_type_and_computes_in_float32(rng, dtype):
    x = to(jt.array(rng.standard_normal((2, 3, 8, 12), dtype=np.float32)), dtype)
    for function, given in ((relu, [x]), (down, [x]), (up, [x])):
        found = function(*given)
        assert str(found.dtype) == dtype, function.__name__
        exact = to(function(*(to_float32(array) for array in given)), dtype)
        np.testing.assert_array_equal(to_float32(found).numpy(), to_float32(exact).numpy(), err_msg=function.__name__)


@on_cpu
def test_a_linear_layer_is_a_matrix_product(rng):
    linear, weight, bias = drawn_layer(Linear(5, 7))
    x = rng.standard_normal((3, 5), dtype=np.float32)
    np.testing.assert_allclose(linear(jt.array(x)).numpy(), x.astype(np.float64) @ weight.T + bias, atol=1e-5)


@on_cpu
def test_one_row_of_a_batch_that_processes_share_is_multiplied_as_it_is_among_others(rng, monkeypatch):
    linear, _, _ = drawn_layer(Linear(128, 96))
    x = jt.array(rng.standard_normal((4, 128), dtype=np.float32))
    monkeypatch.setattr("models.layers.PROCESSES", 4)
    alone = [linear(x[i:i + 1]).numpy() for i in range(4)]
    np.testing.assert_array_equal(np.concatenate(alone), linear(x).numpy())


@pytest.mark.parametrize("eps", [1e-5, 1.0])
@on_cpu
def test_group_norm_normalises_32_groups_then_weighs_shifts_and_activates(rng, eps):
    norm, weight, bias = drawn_layer(GroupNorm(64, eps))
    x = rng.standard_normal((2, 64, 3, 5), dtype=np.float32)
    timestep = rng.standard_normal((2, 128), dtype=np.float32)
    scale, shift = timestep[:, :64], timestep[:, 64:]
    plain = normalise(x, GROUPS, eps) * weight[:, None, None] + bias[:, None, None]
    moved = plain * (1 + scale[..., None, None]) + shift[..., None, None]
    np.testing.assert_allclose(norm(jt.array(x), act=False).numpy(), plain, atol=1e-5)
    np.testing.assert_allclose(norm(jt.array(x), jt.array(timestep)).numpy(), silu(moved), atol=2e-5)


def test_numbered_modules_keep_their_numbers_and_their_order():
    slots = NumberedModules({2: Linear(1, 2), 0: Linear(1, 3)})
    assert [layer.weight.shape[0] for layer in slots] == [2, 3] and slots[0].weight.shape[0] == 3
    assert set(parameters_of(slots)) == {"2.weight", "2.bias", "0.weight", "0.bias"}
    with pytest.raises(TypeError):
        slots(jt.zeros((1, 1)))


class Net(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.conv, self.norm, self.head = Conv(3, 32), GroupNorm(32), Conv(32, 5, 1)
        self.linear = Linear(hidden, 6)

    def execute(self, x):
        return self.head(self.norm(self.conv(x)))


def initialised(seed, zero=(), **options):
    """{name: array} of a Net as initialise leaves it."""
    net = Net(**options)
    initialise(net, seed, zero)
    return {name: var.numpy() for name, var in parameters_of(net).items()}


def test_initial_weights_fill_the_bound_of_their_fan_in_and_norms_are_the_identity():
    weights = initialised(0)
    for owner, fan_in in (("conv", 27), ("head", 32), ("linear", 48)):
        for kind in ("weight", "bias"):
            values = weights[f"{owner}.{kind}"]
            assert np.abs(values).max() <= 1 / np.sqrt(fan_in)
            assert len(np.unique(values)) == values.size          # nothing is left at zero, nothing is repeated
        spread = weights[f"{owner}.weight"].std() * np.sqrt(3 * fan_in)
        assert 0.9 < spread < 1.1                                 # uniform: the bound over the square root of 3
    assert (weights["norm.weight"] == 1).all() and (weights["norm.bias"] == 0).all()


def test_initial_weights_depend_on_the_seed_and_their_own_name_alone():
    first, again, wider, other = initialised(0), initialised(0), initialised(0, hidden=20), initialised(1)
    assert wider["linear.weight"].shape != first["linear.weight"].shape
    for name in ("conv.weight", "conv.bias", "head.weight", "linear.bias"):
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.isclose(first[name], other[name]).any()
        if not name.startswith("linear"):
            np.testing.assert_array_equal(first[name], wider[name])


def test_layers_of_the_same_shape_begin_differently():
    pair = NumberedModules({0: Linear(5, 4), 1: Linear(5, 4)})
    initialise(pair, 0)
    for kind in ("weight", "bias"):
        one, other = (getattr(pair[i], kind).numpy() for i in (0, 1))
        assert not np.isclose(one, other).any()


def test_named_layers_begin_at_zero_and_the_others_do_not():
    weights = initialised(0, zero=["head"])
    assert not weights["head.weight"].any() and not weights["head.bias"].any()
    assert weights["conv.weight"].all() and weights["linear.bias"].all()


def test_initialised_weights_can_be_trained():
    net = Net()
    initialise(net, 0, zero=["head"])
    assert not any(var.is_stop_grad() for var in parameters_of(net).values())
