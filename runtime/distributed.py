"""Which of several processes this one is, as mpirun says it in the environment. Without mpirun: the only one.

Painting needs no more: processes split the masks and never talk. Nothing here imports Jittor.
"""
import os

from runtime.errors import UserError

# rank, number of processes, rank on this machine: of Open MPI, and of MPICH and its relatives
VARIABLES = (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
             ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"))


def process(environ=None):
    """(rank from 0, number of processes, rank on this machine or None)."""
    environ = os.environ if environ is None else environ
    for rank, size, local in VARIABLES:
        if environ.get(rank, "").isdigit() and environ.get(size, "").isdigit():
            return int(environ[rank]), int(environ[size]), int(environ[local]) if environ.get(local, "").isdigit() else None
    return 0, 1, None


def shard(items, rank, size):
    """The items that are one process's work: every size-th."""
    return items[rank::size]


def own_gpu(environ):
    """The GPU for this process, as CUDA_VISIBLE_DEVICES: the one of its rank on this machine; None for the only process."""
    _, size, local = process(environ)
    if size == 1 or local is None:
        return None
    visible = [name for name in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[local % len(visible)] if visible else str(local)


def one_process(size=None, why="this is not shared out"):
    """UserError under mpirun: processes that each train alone would write over each other's files."""
    size = process()[1] if size is None else size
    if size > 1:
        raise UserError(f"found {size} processes, expected one: {why}; start it without mpirun")
