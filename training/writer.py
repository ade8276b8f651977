"""Files of a run that are written while training goes on: training stops for the copy of what is saved, not for the disk."""
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from runtime.memory import available_memory

SPARE = 1.2     # of the memory that a copy takes


class Writer:
    """One thread that writes; a call waits for the one before it, so that files appear in the order of their steps."""

    def __init__(self):
        self.pool = self.pending = None

    def begin(self, call):
        """Calls call() in the thread, after what it does now."""
        self.wait()
        self.pool = self.pool or ThreadPoolExecutor(1, thread_name_prefix="writer")
        self.pending = self.pool.submit(call)

    def check(self):
        """Raises what writing raised, if it has."""
        if self.pending is not None and self.pending.done():
            self.wait()

    def wait(self):
        """Until all is written; raises what writing raised."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            pending.result()


def copied(tensors):
    """{name: Var or array} as arrays of their own, which later steps leave alone; None where the host lacks the memory."""
    if SPARE * 4 * sum(int(np.prod(tensor.shape)) for tensor in tensors.values()) > available_memory():
        return None
    return {name: np.array(tensor if isinstance(tensor, np.ndarray) else tensor.numpy()) for name, tensor in tensors.items()}
