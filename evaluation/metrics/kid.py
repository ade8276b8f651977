"""Kernel Inception distance (Binkowski et al. 2018, "Demystifying MMD GANs")."""
import numpy as np

SUBSETS, SUBSET_SIZE, SEED = 100, 1000, 2020    # torch-fidelity's


def kid(features, real, subsets=SUBSETS, subset_size=SUBSET_SIZE, seed=SEED):
    """Mean and spread, over random subsets, of the squared MMD of two feature arrays (N, D) and (M, D) -> (float, float).

    It has no bias, so it may be slightly negative for alike sets, and few images only make it noisier. Subsets shrink to the
    smaller set. The numbers drawn are torch-fidelity's for the same seed. Raises ValueError for fewer than two features, for
    different widths or values that are not finite.
    """
    features, real = np.asarray(features), np.asarray(real)
    if features.ndim != 2 or real.ndim != 2 or features.shape[1] != real.shape[1]:
        raise ValueError(f"KID: found features {features.shape} and {real.shape}, expected (N, D) and (M, D)")
    size = min(subset_size, len(features), len(real))
    if size < 2 or subsets < 1:
        raise ValueError(f"KID: found {subsets} subsets of {size} images, expected at least one subset and 2 images")
    if not (np.isfinite(features).all() and np.isfinite(real).all()):
        raise ValueError("KID: found features that are not finite, expected numbers")
    rng = np.random.RandomState(seed)
    found = [squared_mmd(features[rng.choice(len(features), size, replace=False)],
                         real[rng.choice(len(real), size, replace=False)]) for _ in range(subsets)]
    return float(np.mean(found)), float(np.std(found))


def squared_mmd(x, y):
    """Unbiased estimate of the squared maximum mean discrepancy of x (m, D) and y (n, D)."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y))]
    return within[0] + within[1] - 2 * kernel(x, y).mean()


def kernel(x, y):
    """(x . y / D + 1)^3 of each pair of rows: (m, D), (n, D) -> (m, n)."""
    return (x @ y.T / x.shape[1] + 1) ** 3
