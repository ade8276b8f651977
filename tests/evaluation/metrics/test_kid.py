"""evaluation/metrics/kid.py: the estimator by its definition and by what torch-fidelity gives."""
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.kid import kid, squared_mmd
from tests.drawn import feature_sets

LIBRARIES = np.load(Path(__file__).parents[2] / "data" / "metrics" / "libraries.npz")


def test_mean_and_spread_are_torch_fidelitys():
    a, b = feature_sets()["full_rank"]
    np.testing.assert_allclose(kid(a, b, subsets=10, subset_size=40), LIBRARIES["kid"], rtol=1e-9)


def test_the_estimate_is_its_sum_over_pairs(rng):
    x, y = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    k = lambda a, b: (sum(float(p) * float(q) for p, q in zip(a, b)) / 3 + 1) ** 3
    apart = lambda z: [(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]
    within = [np.mean([k(a, b) for a, b in apart(z)]) for z in (x, y)]
    across = sum(k(a, b) for a in x for b in y) / 20
    assert squared_mmd(x, y) == pytest.approx(sum(within) - 2 * across, rel=1e-9)


def test_alike_sets_give_0_without_bias_and_others_more(rng):
    a, b = rng.normal(size=(2, 300, 8))
    mean, spread = kid(a, b, subsets=200, subset_size=20)
    assert abs(mean) < 0.1 and spread > 0.1                                # single subsets are far from 0, on both sides
    assert kid(a, b + 1, subsets=50, subset_size=20)[0] > 2


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(rng):
    a, b = rng.normal(size=(2, 30, 4))
    draw = lambda seed: kid(a, b, subsets=3, subset_size=10, seed=seed)
    assert draw(1) == draw(1) != draw(2)


def test_subsets_shrink_to_the_smaller_set(rng):
    a, b = rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    mean, spread = kid(a, b[:5], subsets=4)
    assert np.isfinite(mean) and spread > 0                                # 5 of 6 differ from subset to subset
    assert kid(b, b + 1, subsets=4)[1] == pytest.approx(0, abs=1e-12)      # all of 5 do not


@pytest.mark.parametrize("a, b, subsets, message", [
    (np.zeros((1, 4)), np.zeros((9, 4)), 5, "5 subsets of 1 images"), (np.zeros((0, 4)), np.zeros((9, 4)), 5, "of 0 images"),
    (np.zeros((9, 4)), np.zeros((9, 4)), 0, "found 0 subsets"),
    (np.zeros((9, 4)), np.zeros((9, 5)), 5, r"\(9, 4\) and \(9, 5\)"),
    (np.zeros(9), np.zeros(9), 5, r"expected \(N, D\)"), (np.full((9, 4), np.nan), np.zeros((9, 4)), 5, "not finite")])
def test_what_has_no_estimate_is_an_error(a, b, subsets, message):
    with pytest.raises(ValueError, match=message):
        kid(a, b, subsets=subsets)
