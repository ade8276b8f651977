import numpy as np
import pytest

from models.kernels.casting import to, to_float32
from models.kernels.norm_branches import norm_branches
from runtime.backend import jt
from tests.helpers import normalise, on_cpu, silu
from tests.play import assert_close, on_played_gpu

CASES = [(4, 2, 8, 4, 6, 10), (3, 3, 8, 2, 4, 6), (2, 1, 6, 3, 2, 3), (2, 1, 4, 4, 1, 2), (6, 3, 32, 16, 3, 1)]


def expected(x, maps, empty, groups, timestep):
    """By its definition in float64: every pixel's gamma and beta looked up one by one."""
    rows, channels, height, width = x.shape
    y = normalise(x, groups, 1e-5)
    at = lambda i, n: 0 if i == 0 else min(n, 3) - 1 if i == n - 1 else 1
    for b in range(rows):
        for i in range(height):
            for j in range(width):
                both = maps[b, :, i, j] if b < len(maps) else empty[:, at(i, height), at(j, width)]
                y[b, :, i, j] = y[b, :, i, j] * (1 + both[:channels]) + both[channels:]
    if timestep is not None:
        scale, shift = timestep[:, :channels, None, None], timestep[:, channels:, None, None]
        y = y * (1 + scale) + shift
    return silu(y)


@pytest.mark.parametrize("timestep", [None, "one row", "a row each"])
@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("rows, masks, channels, groups, height, width", CASES)
def test_both_branches_follow_their_definition(rng, impl, timestep, rows, masks, channels, groups, height, width):
    draw = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    x, maps = draw(rows, channels, height, width), draw(masks, 2 * channels, height, width)
    empty = draw(2 * channels, min(height, 3), min(width, 3))
    time = timestep and draw(1 if timestep == "one row" else rows, 2 * channels)
    given = [jt.array(a) for a in (x, maps, empty)]
    found = norm_branches(*given, groups, timestep=timestep and jt.array(time), impl=impl).numpy()
    np.testing.assert_allclose(found, expected(x, maps, empty, groups, time), atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@on_cpu
def test_the_cuda_source_played_on_a_cpu_follows_the_definition(rng, monkeypatch, dtype):
    rounded = lambda *shape: to_float32(to(jt.array(rng.standard_normal(shape, dtype=np.float32)), dtype)).numpy()
    recorder = on_played_gpu(monkeypatch)
    for rows, masks, channels, groups, height, width in [*CASES, (2, 1, 4, 2, 72, 64)]:     # the last: two blocks a group
        wide = (rounded(rows, channels, height, width), rounded(masks, 2 * channels, height, width),
                rounded(2 * channels, min(height, 3), min(width, 3)))
        time = rng.standard_normal((rows if rows > masks else 1, 2 * channels), dtype=np.float32)
        exact = expected(*wide, groups, time)
        for recorder.backwards in (False, True):
            found = norm_branches(*(to(jt.array(a), dtype) for a in wide), groups, timestep=jt.array(time))
            assert str(found.dtype) == dtype
            assert_close(to_float32(found).numpy(), exact, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@on_cpu
def test_with_channels_last_both_branches_follow_the_definition_on_a_cpu_and_by_the_cuda_source(rng, monkeypatch, dtype):
    rounded = lambda *shape: to_float32(to(jt.array(rng.standard_normal(shape, dtype=np.float32)), dtype)).numpy()
    last = lambda array: np.ascontiguousarray(np.moveaxis(array, -3, -1))
    for rows, masks, channels, groups, height, width in [*CASES, (2, 1, 64, 4, 9, 16)]:     # the last: 16 bytes at a time
        wide = (rounded(rows, channels, height, width), rounded(masks, 2 * channels, height, width),
                rounded(2 * channels, min(height, 3), min(width, 3)))
        time = rng.standard_normal((rows if rows > masks else 1, 2 * channels), dtype=np.float32)
        exact = expected(*wide, groups, time)
        run = lambda: norm_branches(*(to(jt.array(last(a)), dtype) for a in wide), groups, timestep=jt.array(time), last=True)
        found = [run()]
        for backwards in (False, True):
            with monkeypatch.context() as patch:
                on_played_gpu(patch, backwards)
                found.append(run())
        for one in found:
            assert str(one.dtype) == dtype
            assert_close(np.moveaxis(to_float32(one).numpy(), -1, -3), exact, dtype)


def test_wrong_shapes_are_refused():
    zeros = lambda *shape: jt.zeros(shape)
    for x, maps, empty in [((3, 4, 6, 6), (2, 8, 6, 6), (8, 3, 3)), ((2, 4, 6, 6), (2, 4, 6, 6), (8, 3, 3)),
                           ((2, 4, 6, 6), (2, 8, 6, 6), (8, 3, 2)), ((2, 5, 6, 6), (2, 10, 6, 6), (10, 3, 3))]:
        with pytest.raises(ValueError, match="norm_branches: expected x"):
            norm_branches(zeros(*x), zeros(*maps), zeros(*empty), 4)
    with pytest.raises(ValueError, match=r"norm_branches: expected x \(B or 2B, H, W, C\)"):
        norm_branches(zeros(2, 6, 6, 4), zeros(2, 8, 6, 6), zeros(3, 3, 8), 4, last=True)
    with pytest.raises(ValueError, match="expected timestep"):
        norm_branches(zeros(2, 4, 6, 6), zeros(2, 8, 6, 6), zeros(8, 3, 3), 4, timestep=zeros(2, 4))
