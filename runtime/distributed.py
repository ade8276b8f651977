"""Which of several processes this one is. Without mpirun: the only one."""
from runtime.backend import jt
from runtime.errors import UserError


def rank():
    """This process's number, from 0."""
    return int(jt.rank)


def world_size():
    """How many processes run together."""
    return int(jt.world_size)


def one_process(size=None):
    """UserError under mpirun: processes that each train or sample alone would write over each other's files."""
    size = world_size() if size is None else size
    if size > 1:
        raise UserError(f"found {size} processes, expected one: several GPUs are not supported yet; start it without mpirun")
