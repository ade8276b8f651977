"""The losses of the steps between two lines of a run's log."""
import time

import numpy as np

from training.finite import check_losses

LOG_SECONDS = 10  # between lines of the log, at most


class LossMeter:
    """Collects losses on the device. Reading waits until they are computed, so only when a line is due."""

    def __init__(self):
        self.losses, self.steps, self.since, self.lines = [], 0, time.monotonic(), 0

    def add(self, losses, ends=True):
        """The losses of one step, {name: (B,) Var}, or of a part of it that does not end it."""
        self.steps += ends
        self.losses.append({name: value.detach() for name, value in losses.items()})

    def due(self):
        """Whether a line is: after the first step, and every LOG_SECONDS."""
        return self.lines == 0 or time.monotonic() - self.since > LOG_SECONDS

    def read(self, step, ranks=None):
        """-> ({name: mean since the last reading, over all processes}, steps per second). RunError when one is not finite."""
        means = {name: float(np.mean([np.mean(losses[name].numpy(), dtype=np.float64) for losses in self.losses]))
                 for name in self.losses[0]}
        means = ranks.mean_of(means) if ranks else means
        check_losses(means, step)
        speed = self.steps / (time.monotonic() - self.since)
        self.losses, self.steps, self.since, self.lines = [], 0, time.monotonic(), self.lines + 1
        return means, speed
