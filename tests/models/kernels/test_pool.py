"""models/kernels/pool.py against windows by their definition."""
import numpy as np
import pytest

from models.kernels.pool import pool
from runtime.backend import jt
from tests.helpers import on_cpu


def oracle(x, kind, stride, padding):
    """float64, (B, H', W', C)."""
    height, width = x.shape[1:3]
    rows, columns = ((n + 2 * padding - 3) // stride + 1 for n in (height, width))
    take = {"max": np.max, "mean": np.mean}[kind]
    window = lambda i, j: x[:, max(i, 0):i + 3, max(j, 0):j + 3].astype(np.float64)
    at = lambda i, j: take(window(i * stride - padding, j * stride - padding), axis=(1, 2))
    return np.stack([np.stack([at(i, j) for j in range(columns)], 1) for i in range(rows)], 1)


@pytest.mark.parametrize("impl", ["kernel", "reference"])
@pytest.mark.parametrize("kind, stride, padding", [("max", 2, 0), ("max", 1, 1), ("mean", 1, 1)])
@on_cpu
def test_windows_leave_out_what_lies_beyond_the_border(impl, kind, stride, padding, rng):
    x = rng.standard_normal((2, 6, 9, 5), dtype=np.float32) - 3                # a zero beyond the border would be the largest
    found = pool(jt.array(x), kind, stride, padding, impl=impl).numpy()
    np.testing.assert_allclose(found, oracle(x, kind, stride, padding), atol=1e-6)


@pytest.mark.parametrize("shape, kind, padding", [((2, 6, 9), "max", 0), ((2, 2, 9, 5), "max", 0), ((2, 6, 9, 5), "median", 0),
                                                  ((2, 6, 9, 5), "max", 2)])
def test_other_windows_are_refused(shape, kind, padding):
    with pytest.raises(ValueError, match="pool: expected"):
        pool(jt.zeros(shape), kind, padding=padding)
