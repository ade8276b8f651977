"""What every test may ask for. Nothing here imports Jittor: tests of files and settings start at once."""
import numpy as np
import pytest


@pytest.fixture
def rng():
    """A NumPy generator, the same one in every run."""
    return np.random.default_rng(0)


def pytest_runtest_setup(item):
    """Skips what is marked `needs_cuda` where there is none; Jittor is imported for such tests only."""
    if item.get_closest_marker("cuda"):
        from runtime.backend import DEVICE, REASON
        if DEVICE != "cuda":
            pytest.skip(f"needs CUDA, and {REASON}")
