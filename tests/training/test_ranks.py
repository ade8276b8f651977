"""Two processes under mpirun against one, on the CPU. Skipped where requirements-mpi.txt is not installed."""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import ROOT
from training.run import rows_of_batch

pytest.importorskip("mpi4py", reason="needs mpi4py: pip install -r requirements-mpi.txt")
MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
needs_mpirun = pytest.mark.skipif(MPIRUN is None, reason="needs mpirun: pip install -r requirements-mpi.txt")


def begun(processes, *args):
    """tests/training/two.py in so many processes. -> its Popen."""
    launch = [MPIRUN, "-np", str(processes), "--oversubscribe", "--bind-to", "none"] if processes > 1 else []
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    return subprocess.Popen([*launch, sys.executable, "-m", "tests.training.two", *map(str, args)], cwd=ROOT, env=environ,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start(processes, *args):
    """The same to its end. -> CompletedProcess."""
    process = begun(processes, *args)
    output, errors = process.communicate(timeout=900)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def arrays(folder, name, processes, *args):
    """What such processes save."""
    folder.mkdir()
    found = start(processes, args[0], folder, *args[1:])
    assert found.returncode == 0, found.stderr[-3000:]
    return dict(np.load(folder / name))


def distance(a, b):
    """Relative L2 over all arrays."""
    return (sum(((a[name] - b[name]) ** 2).sum() for name in a) / sum((a[name] ** 2).sum() for name in a)) ** 0.5


@pytest.mark.parametrize("size, parts", [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_every_row_of_a_batch_is_in_one_part_of_one_process(size, parts):
    rows, z = np.arange(12), np.arange(24).reshape(12, 2)
    shares = [rows_of_batch((rows, z), rank + size * part, size * parts) for rank in range(size) for part in range(parts)]
    assert sorted(np.concatenate([share[0] for share in shares])) == list(rows)
    assert all((share[1][:, 0] == 2 * share[0]).all() and len(share[0]) == 12 // size // parts for share in shares)


@needs_mpirun
@pytest.mark.parametrize("what", ["gradient", "sgd"])
def test_the_first_gradient_and_twenty_steps_of_descent_are_those_of_one_process(tmp_path, what):
    one, two = (arrays(tmp_path / str(n), f"{what}.npz", n, what) for n in (1, 2))
    # Rows are summed in another order: 2.6e-7 of the gradient was measured.
    assert one.keys() == two.keys()
    assert distance(one, two) < 1e-6


@needs_mpirun
def test_after_a_hundred_steps_of_adamw_both_processes_have_the_same_bits_near_those_of_one(tmp_path):
    first = arrays(tmp_path / "two", "rank0.npz", 2, "train", 100)
    second = dict(np.load(tmp_path / "two" / "rank1.npz"))
    assert all(np.array_equal(first[name].view(np.uint8), second[name].view(np.uint8)) for name in first)


@needs_mpirun
def test_twenty_steps_of_adamw_are_near_those_of_one_process(tmp_path):
    one, two = (arrays(tmp_path / str(n), "rank0.npz", n, "train", 20) for n in (1, 2))
    # Biases in front of a normalisation have no gradient but rounding, which Adam divides by its own size.
    weights = [name for name in one if one[name].ndim > 1]
    assert max(np.abs(one[name] - two[name]).max() for name in weights) < 0.2 * 1e-3      # of the learning rate


def ended_after(folder, how):
    """tests/training/two.py's `fail` in two processes. -> (CompletedProcess, seconds from the sixth step to the end)."""
    process = begun(2, "fail", folder, how)
    began = next(time.monotonic() for line in process.stdout if line.startswith("sixth"))
    output, errors = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors), time.monotonic() - began


@needs_mpirun
@pytest.mark.parametrize("how", ["killed", "raised", "stalled", "asked"])
def test_a_process_that_ends_or_stalls_ends_the_others_within_a_minute_and_is_named(tmp_path, how):
    found, seconds = ended_after(tmp_path, how)
    assert found.returncode != 0 and seconds < 60
    if how == "raised":
        assert "process 1 of 2" in found.stderr and "of the test" in found.stderr
    if how == "killed":
        assert "rank 1" in found.stderr or "process rank 1" in found.stderr, found.stderr[-2000:]
    if how == "stalled":
        assert "process 1 of 2" in found.stderr and "has stalled" in found.stderr and "process 0" not in found.stderr
    if how == "asked":
        assert found.returncode == 143 and "stopped at step 6" in found.stderr
