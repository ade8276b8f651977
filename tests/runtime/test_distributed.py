"""runtime/distributed.py: which process this is, and what falls to it."""
import pytest

from runtime.distributed import one_process, own_gpu, process, shard
from runtime.errors import UserError


def open_mpi(rank, size, local=None):
    return {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": str(size),
            **({} if local is None else {"OMPI_COMM_WORLD_LOCAL_RANK": str(local)})}


def test_mpirun_of_both_families_is_understood_and_without_it_there_is_one_process():
    assert process({}) == (0, 1, None)
    assert process(open_mpi(3, 8, 1)) == (3, 8, 1)
    assert process({"PMI_RANK": "2", "PMI_SIZE": "4"}) == (2, 4, None)
    assert process({"PMI_RANK": "x", "PMI_SIZE": "4"}) == (0, 1, None)


@pytest.mark.parametrize("size", [1, 3, 9])
def test_every_item_falls_to_one_process(size):
    items = list(range(7))
    shares = [shard(items, rank, size) for rank in range(size)]
    assert sorted(sum(shares, [])) == items and max(map(len, shares)) - min(map(len, shares)) <= 1


def test_each_process_of_a_machine_sees_a_gpu_of_its_own():
    assert own_gpu({}) is None and own_gpu(open_mpi(1, 4)) is None
    assert [own_gpu(open_mpi(rank, 4, rank % 2)) for rank in range(4)] == ["0", "1", "0", "1"]
    assert own_gpu({**open_mpi(3, 4, 3), "CUDA_VISIBLE_DEVICES": "5,7"}) == "7"


def test_several_processes_that_train_are_refused_before_they_write_over_each_other():
    assert one_process(1) is None
    with pytest.raises(UserError, match="found 4 processes, expected one"):
        one_process(4)
