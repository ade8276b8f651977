import numpy as np
import pytest

from models.kernels.nearest_code import nearest_code, nearest_code_reference
from runtime.backend import jt
from tests.helpers import on_cpu
from tests.play import on_played_gpu

IMPLS = ["kernel", "reference"]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("n, k, d", [(1, 1, 1), (257, 31, 3), (1030, 512, 4)])
@on_cpu
def test_nearest_code_finds_the_smallest_distance(rng, impl, n, k, d):
    z, codebook = rng.standard_normal((n, d), dtype=np.float32), rng.standard_normal((k, d), dtype=np.float32)
    distance = ((z[:, None].astype(np.float64) - codebook[None]) ** 2).sum(-1)
    found = nearest_code(jt.array(z), jt.array(codebook), impl=impl).numpy()
    assert found.shape == (n,) and found.dtype == np.int32
    np.testing.assert_allclose(distance[np.arange(n), found], distance.min(1), rtol=1e-4)


@pytest.mark.parametrize("impl", IMPLS)
@on_cpu
def test_of_codes_equally_near_the_first_is_taken(rng, impl):
    # Small whole numbers are exact in float32; 200 codes of 25 possible ones have ties within a tile and across tiles.
    z, codebook = rng.integers(-3, 4, (90, 2)), rng.integers(-2, 3, (200, 2))
    distance = ((z[:, None] - codebook[None]) ** 2).sum(-1)
    assert ((distance == distance.min(1, keepdims=True)).sum(1) > 1).all()
    found = nearest_code(jt.array(z.astype(np.float32)), jt.array(codebook.astype(np.float32)), impl=impl).numpy()
    np.testing.assert_array_equal(found, distance.argmin(1))


@pytest.mark.parametrize("backwards", [False, True])
@on_cpu
def test_the_cuda_source_played_on_a_cpu_finds_the_first_of_the_nearest(rng, monkeypatch, backwards):
    on_played_gpu(monkeypatch, backwards)
    for n, k, d in [(1, 1, 1), (130, 700, 3), (65, 1500, 8)]:    # whole numbers: exact, with ties within and across tiles
        z, codebook = rng.integers(-3, 4, (n, d)).astype(np.float32), rng.integers(-2, 3, (k, d)).astype(np.float32)
        distance = ((z[:, None] - codebook[None]) ** 2).sum(-1)
        found = nearest_code(jt.array(z), jt.array(codebook), impl="kernel").numpy()
        np.testing.assert_array_equal(found, distance.argmin(1))


@on_cpu
def test_on_a_gpu_codes_too_long_for_the_kernel_go_to_the_reference_unless_it_is_asked_for(rng, monkeypatch):
    recorder = on_played_gpu(monkeypatch)
    z, codebook = (rng.standard_normal((n, 9), dtype=np.float32) for n in (7, 31))
    with pytest.raises(ValueError, match="no CUDA version for these sizes"):
        nearest_code(jt.array(z), jt.array(codebook), impl="kernel")
    found = nearest_code(jt.array(z), jt.array(codebook)).numpy()
    np.testing.assert_array_equal(found, ((z[:, None] - codebook[None]) ** 2).sum(-1).argmin(1))
    assert not recorder.sources


@on_cpu
def test_the_reference_does_not_depend_on_its_chunks(rng):
    z, codebook = (jt.array(rng.standard_normal((n, 3), dtype=np.float32)) for n in (257, 31))
    np.testing.assert_array_equal(nearest_code_reference(z, codebook, chunk=100).numpy(),
                                  nearest_code_reference(z, codebook).numpy())


@pytest.mark.parametrize("z, codebook", [((4, 3), (5, 2)), ((4,), (5, 4)), ((4, 3, 1), (5, 3))])
def test_wrong_shapes_are_errors(z, codebook):
    with pytest.raises(ValueError, match=r"expected z \(N, D\) and codebook \(K, D\)"):
        nearest_code(jt.zeros(z), jt.zeros(codebook))


def test_an_unknown_implementation_is_an_error():
    with pytest.raises(ValueError, match="impl is 'fast'"):
        nearest_code(jt.zeros((1, 1)), jt.zeros((1, 1)), impl="fast")
