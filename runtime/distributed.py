"""Which of several processes this one is. Without mpirun: the only one."""
from runtime.backend import jt


def rank():
    """This process's number, from 0."""
    return int(jt.rank)


def world_size():
    """How many processes run together."""
    return int(jt.world_size)
