import itertools

import numpy as np
import pytest

from models.kernels.casting import to, to_float32
from models.kernels.norm_modulate import norm_modulate, norm_modulate_maps
from runtime.backend import jt
from tests.helpers import normalise, on_cpu, silu, slopes
from tests.play import assert_close, on_played_gpu

EPS = 1e-5


def draw(rng, shape, maps, timestep, mean=0.0):
    """Arguments of norm_modulate as float32 arrays."""
    arrays = {"x": mean + rng.standard_normal(shape)}
    gamma, beta = (rng.standard_normal(shape if maps else shape[1:2]) for _ in range(2))
    if maps:
        arrays["maps"] = np.concatenate([0.5 * gamma, beta], axis=1)
    else:
        arrays.update(gamma=0.5 * gamma + 1, beta=beta)
    if timestep:
        arrays["timestep"] = np.concatenate([0.5 * rng.standard_normal(shape[:2]), rng.standard_normal(shape[:2])], axis=1)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def oracle(groups, act, x, gamma=None, beta=None, maps=None, timestep=None):
    """The definition, float64."""
    wide = lambda a: a[..., None, None]
    h, channels = normalise(x, groups, EPS), x.shape[1]
    h = h * wide(gamma) + wide(beta) if maps is None else h * (1 + maps[:, :channels]) + maps[:, channels:]
    if timestep is not None:
        h = h * (1 + wide(timestep[:, :channels])) + wide(timestep[:, channels:])
    return silu(h) if act else h


def with_gradients(arrays, groups, act, impl, weight, dtype="float32", last=False):
    """y and the gradients of (y * weight).sum(), as float32 arrays; x and maps are given as numbers of a type, with `last` as
    arrays whose channels are last, and so are y and the gradients until they are turned back."""
    turned = lambda array, axes: np.ascontiguousarray(array.transpose(axes)) if last and array.ndim == 4 else array
    given = {name: to(jt.array(turned(array, (0, 2, 3, 1))), dtype if array.ndim == 4 else "float32")
             for name, array in arrays.items()}
    function = norm_modulate_maps if "maps" in given else norm_modulate
    y = function(groups=groups, eps=EPS, act=act, impl=impl, last=last, **given)
    assert str(y.dtype) == dtype
    gradients = jt.grad((to_float32(y) * jt.array(turned(weight, (0, 2, 3, 1)))).sum(), list(given.values()))
    back = lambda var: turned(to_float32(var).numpy(), (0, 3, 1, 2))
    return back(y), {name: back(g) for name, g in zip(given, gradients)}


def rounded(array, dtype):
    """A float32 array of numbers that a type holds exactly."""
    return to_float32(to(jt.array(array), dtype)).numpy()


# The reference is one chain of operators, compiled anew for each case: its two ends will do.
CASES = [("kernel", *case) for case in itertools.product([False, True], repeat=3)]
CASES += [("reference", False, False, False), ("reference", True, True, True)]


@pytest.mark.parametrize("shape, groups", [((2, 6, 3, 5), 3), ((1, 4, 37, 61), 2)])
@pytest.mark.parametrize("impl, maps, timestep, act", CASES)
@on_cpu
def test_values_and_every_gradient_follow_the_definition(rng, impl, maps, timestep, act, shape, groups):
    arrays, weight = draw(rng, shape, maps, timestep), rng.standard_normal(shape).astype(np.float32)
    y, gradients = with_gradients(arrays, groups, act, impl, weight)
    exact = {name: array.astype(np.float64) for name, array in arrays.items()}
    np.testing.assert_allclose(y, oracle(groups, act, **exact), atol=2e-5)
    assert list(gradients) == list(arrays)
    for name, array in exact.items():
        positions = rng.permutation(array.size)[:40]
        expected = slopes(lambda: (oracle(groups, act, **exact) * weight).sum(), array, positions)
        found = gradients[name].reshape(-1)[positions]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=3e-5 * np.abs(expected).max(), err_msg=name)


@on_cpu
def test_maps_apart_give_the_bits_of_maps_in_one_array(rng):
    shape, groups = (2, 6, 3, 5), 3
    arrays, weight = draw(rng, shape, True, True), jt.array(rng.standard_normal(shape).astype(np.float32))
    x, maps, timestep = (jt.array(arrays[name]) for name in ("x", "maps", "timestep"))
    pair = [jt.array(arrays["maps"][:, :6]), jt.array(arrays["maps"][:, 6:])]
    found = []
    for given in ([maps], pair):
        y = norm_modulate_maps(x, given[0] if len(given) == 1 else given, groups, EPS, timestep)
        dx, d_time, *d_maps = (g.numpy() for g in jt.grad((y * weight).sum(), [x, timestep, *given]))
        found.append((y.numpy(), dx, d_time, np.concatenate(d_maps, axis=1)))
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("impl", ["kernel", "reference"])
@on_cpu
def test_a_mean_far_from_zero_does_not_cancel(rng, impl):
    shape, groups, tolerance = (2, 6, 37, 61), 3, 2e-3
    arrays = draw(rng, shape, False, False, mean=1e3)
    weight = rng.standard_normal(shape).astype(np.float32)
    y, gradients = with_gradients(arrays, groups, False, impl, weight)
    exact = {name: array.astype(np.float64) for name, array in arrays.items()}
    expected = oracle(groups, False, **exact)
    np.testing.assert_allclose(y, expected, atol=tolerance)
    positions = rng.permutation(exact["x"].size)[:40]
    slope = slopes(lambda: (oracle(groups, False, **exact) * weight).sum(), exact["x"], positions, h=1e-4)
    np.testing.assert_allclose(gradients["x"].reshape(-1)[positions], slope, atol=1e-2)

    # The same numbers are beyond E[x^2] - E[x]^2 in float32: the test would notice it.
    h = arrays["x"].reshape(2, groups, -1)
    variance = (h * h).mean(2, keepdims=True) - h.mean(2, keepdims=True) ** 2
    naive = ((h - h.mean(2, keepdims=True)) / np.sqrt(np.maximum(variance, 0) + EPS)).reshape(shape)
    naive = naive * arrays["gamma"][:, None, None] + arrays["beta"][:, None, None]
    assert np.abs(naive - expected).max() > 5 * tolerance


@pytest.mark.parametrize("maps", [False, True])
@on_cpu
def test_a_sample_does_not_depend_on_its_batch(rng, maps):
    arrays, weight = draw(rng, (3, 6, 3, 5), maps, True), rng.standard_normal((3, 6, 3, 5)).astype(np.float32)
    together, gradients = with_gradients(arrays, 3, True, "kernel", weight)
    for i in range(3):
        shared = () if maps else ("gamma", "beta")
        row = {name: array if name in shared else array[i:i + 1] for name, array in arrays.items()}
        alone, own = with_gradients(row, 3, True, "kernel", weight[i:i + 1])
        np.testing.assert_array_equal(alone, together[i:i + 1])
        for name in own.keys() - set(shared):
            np.testing.assert_array_equal(own[name], gradients[name][i:i + 1])


def assert_the_same(arrays, weight, groups, dtype, runs):
    """That each of runs(arrays, ...) follows the kernel in float32, values and gradients, given 16-bit numbers or not."""
    wide = [name for name, array in arrays.items() if array.ndim == 4]
    arrays, weight = {**arrays, **{name: rounded(arrays[name], dtype) for name in wide}}, rounded(weight, dtype)
    exact, expected = with_gradients(arrays, groups, True, "kernel", weight)
    for run in runs:
        y, gradients = run(arrays, groups, True, "kernel", weight, dtype)
        assert_close(y, exact, dtype)
        for name in arrays:
            assert_close(gradients[name], expected[name], dtype if name in wide else "float32", name)


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@on_cpu
def test_16_bit_numbers_are_computed_with_in_float32(rng, dtype, maps):
    shape = (2, 6, 3, 5)
    arrays, weight = draw(rng, shape, maps, True), rng.standard_normal(shape).astype(np.float32)
    assert_the_same(arrays, weight, 3, dtype, [with_gradients])


@pytest.mark.parametrize("maps", [False, True])
@on_cpu
def test_without_gradient_bfloat16_is_read_and_written_as_it_is_to_the_same_numbers(rng, maps):
    shape = (2, 6, 37, 61)
    arrays, weight = draw(rng, shape, maps, True), rng.standard_normal(shape).astype(np.float32)
    expected, _ = with_gradients(arrays, 3, True, "kernel", weight, "bfloat16")
    given = {name: to(jt.array(array), "bfloat16" if array.ndim == 4 else "float32") for name, array in arrays.items()}
    with jt.no_grad():
        found = (norm_modulate_maps if maps else norm_modulate)(groups=3, eps=EPS, act=True, impl="kernel", **given)
    assert str(found.dtype) == "bfloat16"
    assert_close(to_float32(found).numpy(), expected, "bfloat16")


@pytest.mark.parametrize("maps, timestep", [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@on_cpu
def test_the_cuda_source_played_on_a_cpu_equals_the_cpus(rng, monkeypatch, dtype, maps, timestep):
    def played(backwards):
        def run(*given):
            with monkeypatch.context() as patch:
                on_played_gpu(patch, backwards)
                return with_gradients(*given)
        return run

    # One value at a time and 16 bytes at a time; a group in one block and in several; a channel in one and in two.
    for shape, groups in [((2, 6, 3, 5), 3), ((1, 4, 37, 61), 2), ((2, 4, 56, 80), 2)]:
        arrays, weight = draw(rng, shape, maps, timestep, mean=3), rng.standard_normal(shape).astype(np.float32)
        assert_the_same(arrays, weight, groups, dtype, [played(False), played(True)])


@pytest.mark.parametrize("maps, timestep", [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@on_cpu
def test_with_channels_last_the_cuda_source_played_on_a_cpu_equals_the_cpus(rng, monkeypatch, dtype, maps, timestep):
    def played(backwards):
        def run(*given):
            with monkeypatch.context() as patch:
                on_played_gpu(patch, backwards)
                return with_gradients(*given, last=True)
        return run

    # One value at a time; 16 bytes at a time, all groups in a block; several blocks side by side; a group wider than a block;
    # several chunks of pixels, the last one not whole.
    for shape, groups in [((2, 6, 3, 5), 3), ((2, 32, 6, 10), 4), ((1, 450, 3, 3), 3), ((1, 2304, 2, 3), 2),
                          ((1, 301, 2, 3), 1), ((1, 16, 37, 61), 2)]:
        arrays, weight = draw(rng, shape, maps, timestep, mean=3), rng.standard_normal(shape).astype(np.float32)
        assert_the_same(arrays, weight, groups, dtype, [played(False), played(True)])


@pytest.mark.parametrize("maps", [False, True])
@on_cpu
def test_on_a_cpu_channels_last_give_the_numbers_of_channels_first(rng, maps):
    shape = (2, 6, 3, 5)
    arrays, weight = draw(rng, shape, maps, True), rng.standard_normal(shape).astype(np.float32)
    for impl in ("kernel", "reference"):
        y, gradients = with_gradients(arrays, 3, True, impl, weight)
        found, own = with_gradients(arrays, 3, True, impl, weight, last=True)
        np.testing.assert_array_equal(found, y)
        for name in arrays:
            np.testing.assert_array_equal(own[name], gradients[name], err_msg=name)


@pytest.mark.parametrize("change, message", [
    ({"x": (2, 6, 15)}, "expected x"),
    ({"x": (2, 7, 3, 5)}, "C a multiple of 3"),
    ({"gamma": (5,)}, "gamma, beta"),
    ({"beta": (2, 6, 3, 5)}, "gamma, beta"),
    ({"maps": (2, 6, 3, 5)}, r"maps \(B, 2C, H, W\)"),
    ({"maps": (2, 12, 5, 3)}, r"maps \(B, 2C, H, W\)"),
    ({"timestep": (2, 6)}, r"expected timestep \(1, 12\) or \(2, 12\)"),
    ({"timestep": (3, 12)}, r"expected timestep \(1, 12\) or \(2, 12\)"),
    ({"last": (2, 6, 3, 5)}, r"expected x \(B, H, W, C\)"),
    ({"last": (2, 6, 3, 5), "maps": (2, 12, 3, 5)}, r"maps \(B, H, W, 2C\)")])
def test_wrong_shapes_are_errors_that_say_what_was_expected(change, message):
    modulation = {} if "maps" in change else {"gamma": (6,), "beta": (6,)}
    shapes, last = {"x": (2, 6, 3, 5), **modulation, **change}, "last" in change
    shapes.pop("last", None)
    with pytest.raises(ValueError, match=message):
        (norm_modulate_maps if "maps" in change else norm_modulate)(
            groups=3, eps=EPS, last=last, **{name: jt.zeros(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize("maps", [False, True])
@on_cpu
def test_one_row_of_the_timestep_serves_the_batch_and_its_gradient_is_the_sum(rng, maps):
    shape = (3, 6, 3, 5)
    arrays, weight = draw(rng, shape, maps, True), rng.standard_normal(shape).astype(np.float32)
    arrays["timestep"] = arrays["timestep"][:1]
    for impl in ("kernel", "reference"):
        y, gradients = with_gradients(arrays, 3, True, impl, weight)
        expected, each = with_gradients({**arrays, "timestep": arrays["timestep"].repeat(3, 0)}, 3, True, impl, weight)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_allclose(gradients["timestep"], each["timestep"].sum(0, keepdims=True), rtol=1e-5, atol=1e-5)


def test_an_unknown_implementation_is_an_error():
    with pytest.raises(ValueError, match="impl is 'kernels', expected auto, kernel or reference"):
        norm_modulate(jt.zeros((1, 3, 2, 2)), jt.zeros((3,)), jt.zeros((3,)), 3, EPS, impl="kernels")
