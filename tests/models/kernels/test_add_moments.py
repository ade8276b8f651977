import numpy as np
import pytest

from models.kernels.add_moments import add_moments
from models.kernels.casting import to, to_float32
from models.kernels.norm_branches import norm_branches
from models.kernels.norm_modulate import norm_modulate
from runtime.backend import jt
from tests.helpers import on_cpu
from tests.play import assert_close, on_played_gpu

EPS = 1e-5
LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def draw(rng, shape, dtype="float32"):
    """y, bias and residual as float32 arrays that a type holds exactly."""
    rounded = lambda *size: to_float32(to(jt.array(3 + rng.standard_normal(size, dtype=np.float32)), dtype)).numpy()
    return rounded(*shape), rounded(shape[1]), rounded(*shape)


def plain(arrays, groups, weight, dtype, impl="kernel"):
    """sum, norm of it, and the gradients of (norm * weight).sum(), by operators one after the other."""
    y, bias, residual = given = [to(jt.array(array), dtype if array.ndim == 4 else "float32") for array in arrays]
    total = to(to_float32(y) + bias.reshape(1, -1, 1, 1) + to_float32(residual), dtype)
    out = norm_modulate(total, jt.ones((bias.shape[0],)), jt.zeros((bias.shape[0],)), groups, EPS, impl=impl)
    return finish(total, out, given, weight)


def fused(arrays, groups, weight, dtype, impl="kernel", last=False):
    """The same by add_moments, and by it with channels last, turned back."""
    turned = lambda array: np.ascontiguousarray(array.transpose(LAST)) if last and array.ndim == 4 else array
    y, bias, residual = given = [to(jt.array(turned(array)), dtype if array.ndim == 4 else "float32") for array in arrays]
    total, moments = add_moments(y, bias, residual, groups, EPS, impl, last)
    ones, zeros = jt.ones((bias.shape[0],)), jt.zeros((bias.shape[0],))
    out = norm_modulate(total, ones, zeros, groups, EPS, impl=impl, last=last, moments=moments)
    found = finish(total, out, given, turned(weight))
    return [array.transpose(FIRST) if last and array.ndim == 4 else array for array in found]


def finish(total, out, given, weight):
    gradients = jt.grad((to_float32(out) * jt.array(weight)).sum(), given)
    return [to_float32(array).numpy() for array in (total, out, *gradients)]


@pytest.mark.parametrize("impl", ["kernel", "reference"])
@pytest.mark.parametrize("shape, groups", [((2, 6, 3, 5), 3), ((1, 4, 37, 61), 2)])
@on_cpu
def test_on_a_cpu_the_sum_its_norm_and_every_gradient_are_those_of_operators_one_after_the_other(rng, impl, shape, groups):
    arrays, weight = draw(rng, shape), rng.standard_normal(shape).astype(np.float32)
    exact = plain(arrays, groups, weight, "float32", impl)
    for last in (False, True):
        for one, expected in zip(fused(arrays, groups, weight, "float32", impl, last), exact):
            np.testing.assert_allclose(one, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_array_max_ulp(fused(arrays, groups, weight, "float32", impl)[0], exact[0], 1)


# One value at a time; a group in several blocks; 16 bytes at a time in either order.
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@on_cpu
def test_the_cuda_source_played_on_a_cpu_equals_operators_one_after_the_other(rng, monkeypatch, dtype, last):
    for shape, groups in [((2, 6, 3, 5), 3), ((1, 16, 37, 61), 2), ((2, 16, 16, 40), 2)]:
        arrays, weight = draw(rng, shape, dtype), draw(rng, shape, dtype)[0]
        exact = plain(arrays, groups, weight, dtype)
        for backwards in (False, True):
            with monkeypatch.context() as patch:
                on_played_gpu(patch, backwards)
                found = fused(arrays, groups, weight, dtype, last=last)
            for one, expected, kind in zip(found, exact, [dtype, dtype, dtype, "float32", dtype]):
                if kind == "float32":
                    np.testing.assert_allclose(one, expected, rtol=0, atol=(1e-4 if dtype == "float32" else 1e-2)
                                               * np.abs(expected).max())            # sums that nearly cancel, of rounded slopes
                else:
                    assert_close(one, expected, dtype)


@pytest.mark.parametrize("played", [False, True])
@on_cpu
def test_both_branches_of_guidance_take_the_moments_too(rng, monkeypatch, played):
    if played:
        on_played_gpu(monkeypatch)
    y, bias, residual = (jt.array(array) for array in draw(rng, (2, 6, 37, 61)))
    maps, empty = (jt.array(rng.standard_normal(size, dtype=np.float32)) for size in ((1, 12, 37, 61), (12, 3, 3)))
    with jt.no_grad():
        total, moments = add_moments(y, bias, None, 3, EPS)
        np.testing.assert_allclose(norm_branches(total, maps, empty, 3, EPS, moments=moments).numpy(),
                                   norm_branches(total, maps, empty, 3, EPS).numpy(), atol=1e-5)


def test_wrong_shapes_are_errors():
    zeros = jt.zeros
    for y, bias, residual in [((2, 6, 15), (6,), None), ((2, 7, 3, 5), (7,), None), ((2, 6, 3, 5), (5,), None),
                              ((2, 6, 3, 5), (6,), (2, 6, 5, 3))]:
        with pytest.raises(ValueError, match="add_moments: expected y"):
            add_moments(zeros(y), zeros(bias), None if residual is None else zeros(residual), 3, EPS)
