import numpy as np

from runtime.memory import peak_memory
from tests.helpers import run_python

SMALL = "from runtime.memory import peak_memory; print(peak_memory())"


def test_the_peak_is_this_processs_and_not_that_of_the_one_that_started_it():
    before = peak_memory()
    held = np.ones(40_000_000 + before // 8)                     # beyond the peak so far, by 320 MB
    assert peak_memory() - before > 300e6
    assert 1e6 < int(run_python(SMALL).stdout) < held.nbytes / 2
