import numpy as np
import pytest

from models.kernels.adamw_ema import adamw_ema
from runtime.backend import jt
from tests.helpers import on_cpu
from tests.play import on_played_gpu


def numbers_of(n, lr=0.01, decay=0.1, b1=0.9, b2=0.999):
    """The numbers of step n."""
    return {"b1": b1, "rest1": 1 - b1, "b2": b2, "rest2": 1 - b2, "keep": 1 - lr * decay, "size": lr / (1 - b1 ** n),
            "root": (1 - b2 ** n) ** 0.5, "eps": 1e-8, "weight": 0.25}


def by_definition(p, m, v, e, g, k):
    """One step in float64."""
    m, v = k["b1"] * m + k["rest1"] * g, k["b2"] * v + k["rest2"] * g ** 2
    p = p * k["keep"] - k["size"] * m / (np.sqrt(v) / k["root"] + k["eps"])
    return p, m, v, e + k["weight"] * (p - e)


def steps(rng, impl, shape, average=True, count=3):
    """[p, m, v, e] after some steps, beside those of the definition."""
    start = rng.standard_normal(shape).astype(np.float32)
    exact = [start.astype(np.float64), np.zeros(shape), np.zeros(shape), start.astype(np.float64)]
    p, m, v, e = jt.array(start), jt.zeros(shape), jt.zeros(shape), jt.array(start) if average else None
    for n in range(1, count + 1):
        g = rng.standard_normal(shape).astype(np.float32)
        exact = by_definition(*exact, g.astype(np.float64), numbers_of(n))
        p, m, v, e = adamw_ema(p, jt.array(g), m, v, e, numbers_of(n), impl)
        jt.sync([p, m, v])
    return [None if found is None else found.numpy() for found in (p, m, v, e)], exact


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("impl", ["kernel", "reference"])
@on_cpu
def test_steps_follow_the_definition(rng, impl, average):
    found, exact = steps(rng, impl, (3, 7), average)
    assert (found[3] is None) == (not average)
    for one, other in zip(found[:3 + average], exact):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("average", [True, False])
@on_cpu
def test_the_cuda_source_played_on_a_cpu_follows_the_definition(rng, monkeypatch, average):
    on_played_gpu(monkeypatch)
    for shape in [(3, 7), (5, 1, 411), (4, 300)]:            # one value at a time, in three blocks; 16 bytes at a time in two
        found, exact = steps(rng, "kernel", shape, average)
        for one, other in zip(found[:3 + average], exact):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@on_cpu
def test_moments_and_average_change_where_they_lie_and_the_parameter_does_not(rng):
    p, g, m, v, e = (jt.array(np.abs(rng.standard_normal(40)).astype(np.float32)) for _ in range(5))
    before = [var.numpy() for var in (p, m, v, e)]
    slope_before = jt.grad((p * p).sum(), p)                                      # computed later, it still needs the old p
    after = adamw_ema(p, g, m, v, e, numbers_of(1), "kernel")
    jt.sync(list(after))
    for var, new in zip((m, v, e), after[1:]):
        np.testing.assert_array_equal(var.numpy(), new.numpy())
    np.testing.assert_array_equal(p.numpy(), before[0])
    np.testing.assert_array_equal(slope_before.numpy(), 2 * before[0])
    assert all(not np.array_equal(new.numpy(), old) for new, old in zip(after, before))


@on_cpu
def test_the_moments_are_the_references_bit_for_bit(rng):
    kernel, reference = (steps(np.random.default_rng(3), impl, (40, 1000))[0] for impl in ("kernel", "reference"))
    for one, other in zip(kernel[1:3], reference[1:3]):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(kernel[0], reference[0], rtol=3e-7, atol=3e-7)  # the last numbers of a block round otherwise


def test_wrong_shapes_are_errors():
    with pytest.raises(ValueError, match=r"adamw_ema: expected float32 arrays of one shape, got .*\(5,\)"):
        adamw_ema(*(jt.zeros(n) for n in (4, 4, 4, 5)), None, numbers_of(1))
