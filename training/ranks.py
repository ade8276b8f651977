"""Several processes that train one network: each has its rows of every batch, all have the same weights.

mpirun starts them; mpi4py carries what they tell each other. Gradients are averaged in buckets of float32, in place: on a
CPU through memory, on GPUs through NCCL (training/nccl.py). Nothing else is exchanged while training, for the same weights
moved by the same gradients stay the same.
"""
import contextlib
import functools
import math
import os
import socket
import sys

import numpy as np

from runtime import errors
from runtime.distributed import process
from runtime.errors import UserError
from training.watch import News, Watch

PATIENCE = 45        # seconds beyond three steps that a process may be late before it counts as stalled
BUCKET = 4_000_000   # numbers that are averaged at once, 16 MB: beyond that host memory slows down


@functools.cache
def ranks_here():
    """The Ranks of this process; without mpirun it is alone."""
    return Ranks() if process()[1] > 1 else Alone()


class Alone:
    """The only process."""
    rank, size = 0, 1

    @contextlib.contextmanager
    def first(self):
        """See Ranks."""
        yield

    def largest(self, *values):
        """See Ranks."""
        return values

    def mean(self, gradients):
        """See Ranks."""
        return gradients

    def mean_of(self, values):
        """See Ranks."""
        return values

    def same(self, variables):
        """See Ranks."""

    def wait(self):
        """See Ranks."""

    def busy(self):
        """See Ranks."""

    def expects(self, seconds):
        """See Ranks."""


class Ranks:
    """One of several processes. Every method is called by all of them, in the same order."""

    def __init__(self):
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise UserError(f"several processes need mpi4py and an MPI, and {error}; "
                            "pip install -r requirements-mpi.txt") from None
        self.mpi, self.comm = MPI, MPI.COMM_WORLD
        self.rank, self.size = self.comm.rank, self.comm.size
        if self.size != process()[1]:
            raise UserError(f"mpirun started {process()[1]} processes, mpi4py found {self.size}: they are of different MPIs; "
                            "start with the mpirun beside this python")
        self.device = None                                        # NCCL's communicator, once Jittor is on a GPU
        self.watch = self.news = None
        # An error in one process has to end all: the others wait for it for ever.
        self.hook, sys.excepthook = sys.excepthook, self.raised
        errors.AT_FAILURE.append(self.abort)
        self._watched()

    def raised(self, *error):
        """A sys.excepthook."""
        self.hook(*error)
        self.abort(1)

    def abort(self, status):
        """Ends all processes, saying which one began."""
        print(f"process {self.rank} of {self.size} (pid {os.getpid()}) ends all processes, status {status}", file=sys.stderr,
              flush=True)
        self.comm.Abort(status)

    def _watched(self):
        """Process 0 starts a watch (training/watch.py), which all tell when they come to an exchange."""
        host = socket.gethostname()
        alone = len(set(self.comm.allgather(host))) == 1
        if self.rank == 0:
            self.watch = Watch(self.size)
        address = self.comm.bcast(self.watch and self.watch.address("127.0.0.1" if alone else host))
        self.news = News(address, self.rank, host)

    def busy(self):
        """What this process does now may take any time: the others' waiting for it is no sign of a stall."""
        self.news.tell(math.inf)

    def expects(self, seconds):
        """From now on a process that is not heard of for much longer than so many seconds, a step's, has stalled."""
        self.news.allowed = PATIENCE + 3 * seconds

    def wait(self):
        """Until all are here."""
        self.news.arrives()
        self.comm.Barrier()

    @contextlib.contextmanager
    def first(self):
        """A block that process 0 runs before the others: it compiles, or writes, what they then find."""
        if self.rank:
            self.wait()
        self.busy()
        yield
        if not self.rank:
            self.wait()

    def largest(self, *values):
        """The largest of all processes' integers, one by one."""
        found = np.array(values, dtype=np.int64)
        self.news.arrives()
        self.comm.Allreduce(self.mpi.IN_PLACE, found, self.mpi.MAX)
        return tuple(int(value) for value in found)

    def mean_of(self, values):
        """{name: float} -> {name: mean over the processes}."""
        found = np.array([values[name] for name in sorted(values)], dtype=np.float64)
        self.news.arrives()
        self.comm.Allreduce(self.mpi.IN_PLACE, found)
        return dict(zip(sorted(values), (found / self.size).tolist()))

    def same(self, variables):
        """Gives a list of Vars the values that process 0 has."""
        from runtime.backend import jt
        for var in variables:
            array = np.ascontiguousarray(var.numpy())
            self.comm.Bcast(array)
            if self.rank:
                learns = not var.is_stop_grad()
                var.update(jt.array(array))
                if learns:
                    var.start_grad()

    def mean(self, gradients, told=True):
        """[float32 Var] -> their means over the processes, bucket by bucket; the list given is emptied on the way. told=False:
        all but the exchange, which compiles what it takes."""
        from runtime.backend import jt
        means = []
        while gradients:
            bucket, numbers = [], 0
            while gradients and (not bucket or numbers + gradients[-1].numel() <= BUCKET):
                bucket.append(gradients.pop())                    # from the last layer, whose gradient comes first
                numbers += bucket[-1].numel()
            shapes = [list(g.shape) for g in bucket]
            # A bucket is younger than the whole backward pass: to ask for a gradient itself would cut the graph in it.
            flat = (jt.concat([g.reshape(-1) for g in bucket]) / float(self.size)).stop_grad()
            del bucket
            flat.sync()
            flat, at = self.sum(flat) if told else flat, 0
            for shape in shapes:
                count = int(np.prod(shape))
                means.append(flat[at:at + count].reshape(shape).stop_grad())
                at += count
            jt.sync(means[-len(shapes):])
        return means[::-1]

    def sum(self, flat):
        """The sum over the processes of a computed flat Var, in its place."""
        from runtime.backend import jt
        self.news.arrives()
        if jt.flags.use_cuda:
            from training.nccl import Communicator
            self.device = self.device or Communicator(self.comm)
            return self.device.sum(flat)
        self.comm.Allreduce(self.mpi.IN_PLACE, flat.data)         # on a CPU .data is the Var's own memory
        return flat
