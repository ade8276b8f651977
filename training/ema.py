"""Exponential moving average of the weights (as in Ho et al. 2020), kept on the device and warmed up."""
from contextlib import contextmanager

import numpy as np

from runtime.backend import jt

GROUP = 16  # averages that move together: the old ones are freed before the next are made


class EMA:
    """The moving average of named parameters, a dict {name: Var}.

    It never shares a Var with the network: Jittor keeps stop_grad on the Var, so an average that aliases a
    parameter would freeze it (and sharing through assign or update does just that).
    """

    def __init__(self, parameters, decay=0.9999):
        self.limit = decay
        self.n = 0  # updates so far
        self.is_swapped = False
        with jt.no_grad():
            self.average = {name: p.copy().detach().stop_grad() for name, p in parameters.items()}
        jt.sync(list(self.average.values()))

    @property
    def decay(self):
        """The decay of the next update, min(limit, (1 + n) / (10 + n)): the random start is forgotten."""
        return min(self.limit, (1 + self.n) / (10 + self.n))

    def update(self, parameters):
        """Moves the average towards the parameters as they are now; the names are those of the start."""
        assert parameters.keys() == self.average.keys(), sorted(parameters.keys() ^ self.average.keys())
        weight = 1 - self.decay
        with jt.no_grad():
            # e + w (p - e), not d e + w p: in float32 d + w is not 1, at 0.9999 a bias of 2e-4.
            names = list(parameters)
            for start in range(0, len(names), GROUP):
                for name in names[start:start + GROUP]:
                    e = self.average[name]
                    self.average[name] = (e + weight * (parameters[name] - e)).stop_grad()
                jt.sync([self.average[name] for name in names[start:start + GROUP]])
        self.n += 1

    @contextmanager
    def swapped(self, parameters):
        """Within the block the network and the average have changed places; nothing is copied."""
        assert parameters.keys() == self.average.keys(), sorted(parameters.keys() ^ self.average.keys())
        self._swap(parameters)
        try:
            yield
        finally:
            self._swap(parameters)

    def _swap(self, parameters):
        for name, p in parameters.items():
            p.swap(self.average[name])
        self.is_swapped = not self.is_swapped

    def state(self):
        """{name: float32 array}, copies; save `n` beside it."""
        return {name: e.numpy() for name, e in self.average.items()}

    def load(self, state, n):
        """Goes on from state() and n. Raises ValueError at a missing, extra or misshapen tensor."""
        for name in sorted(self.average.keys() | state.keys()):
            found = tuple(state[name].shape) if name in state else "nothing"
            expected = tuple(self.average[name].shape) if name in self.average else "nothing"
            if found != expected:
                raise ValueError(f"EMA: {name}: found {found}, expected {expected}")
        with jt.no_grad():
            self.average = {name: jt.array(np.asarray(state[name], dtype=np.float32)).stop_grad()
                            for name in self.average}
        jt.sync(list(self.average.values()))
        self.n = int(n)
