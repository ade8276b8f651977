"""Weights that follow from their names, pictures that follow from a formula, and what published networks make of them."""
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent / "data" / "evaluation"
# A folder with the complete outputs, and beside it one with real weights; neither is part of the repository.
GOLDEN = Path(os.environ["EVALUATION_GOLDEN"]) if "EVALUATION_GOLDEN" in os.environ else None
needs_golden = pytest.mark.skipif(GOLDEN is None, reason="needs EVALUATION_GOLDEN, a folder of complete reference outputs")


def drawn(name, shape):
    """The weights called `name` (tests/data/evaluation/README.md), float32."""
    n = np.random.RandomState(zlib.crc32(name.encode()) & 0xffffffff).standard_normal(tuple(shape))
    last = name.replace("/", ".").split(".")[-1]
    if last in ("running_var", "moving_variance"):
        n = 1 + 0.2 * abs(n)
    elif last in ("running_mean", "moving_mean"):
        n = 0.1 * n
    elif last == "num_batches_tracked":
        n = np.zeros(shape)
    elif last in ("bias", "beta"):
        n = 0.05 * n
    elif last == "gamma" or len(shape) == 1:
        n = 1 + 0.1 * n
    else:
        inputs = shape[:2] if last == "depthwise_kernel" else shape[:-1] if last == "kernel" else shape[1:]
        n = n * np.sqrt(2 / np.prod(inputs))
    return np.asarray(n * (0.5 if name == "dense_1/kernel" else 1), dtype=np.float32)


def photo(height, width, seed):
    """A picture of waves and grain, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(x / 17 + y / 41), 127 + 90 * np.sin(x / 29 - y / 23), 127 + 90 * np.cos(x / 13 + y / 37)]
    grain = 20 * np.random.RandomState(seed).standard_normal((height, width, 3))
    return (np.stack(waves, axis=-1) + grain).clip(0, 255).astype(np.uint8)


def weights(network):
    """{name: array} of a network in keys.json."""
    return {name: drawn(name, shape) for name, shape in json.loads((FOLDER / "keys.json").read_text())[network].items()}


def reference():
    """{name: array} of the outputs kept in the repository."""
    with np.load(FOLDER / "reference.npz") as arrays:
        return dict(arrays)


def complete(file):
    """{name: array} of a file in the folder of complete outputs."""
    with np.load(GOLDEN / file) as arrays:
        return dict(arrays)


def batch(*images):
    """uint8 images (H, W, 3) -> float32 (B, 3, H, W), 0 to 255."""
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
