"""runtime/distributed.py: one process, and several refused."""
import pytest

from runtime.distributed import one_process, rank, world_size
from runtime.errors import UserError


def test_without_mpirun_there_is_one_process():
    assert (rank(), world_size()) == (0, 1)
    assert one_process() is None


def test_several_processes_are_refused_before_they_write_over_each_other():
    with pytest.raises(UserError, match="found 4 processes, expected one"):
        one_process(4)
