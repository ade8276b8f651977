"""The losses of the steps between two lines of a run's log, and where their time went."""
import time

import numpy as np

from training.finite import check_losses

LOG_SECONDS = 10  # between lines of the log, at most
QUARTERS = 4      # of the timesteps, whose losses are logged apart


class LossMeter:
    """Collects losses on the device. Reading waits until they are computed, so only when a line is due."""

    def __init__(self):
        self.lines = 0
        self._begin()

    def _begin(self):
        self.losses, self.quarters, self.steps, self.waited, self.since = [], [], 0, 0.0, time.monotonic()

    def add(self, losses, ends=True, quarters=None):
        """The losses of one step, {name: (B,) Var}, or of a part of it that does not end it; quarters: (B,) ids of what each
        sample's loss is logged under besides, or None."""
        self.steps += ends
        self.losses.append({name: value.detach() for name, value in losses.items()})
        self.quarters.append(quarters)

    def waits(self, seconds):
        """Seconds that a step waited for its batch."""
        self.waited += seconds

    def leaves_out(self, seconds):
        """Seconds that went by without a step: something was saved, validated or drawn."""
        self.since += seconds

    def due(self):
        """Whether a line is: after the first step, and every LOG_SECONDS."""
        return self.lines == 0 or time.monotonic() - self.since > LOG_SECONDS

    def read(self, step, ranks=None):
        """-> ({name: mean since the last reading, over all processes}, {"steps_per_second", and seconds a step "data_seconds"
        that batches were waited for and "compute_seconds" of all else}). RunError when a mean is not finite."""
        arrays = [{name: value.numpy() for name, value in losses.items()} for losses in self.losses]
        means = {name: float(np.mean([np.mean(found[name], dtype=np.float64) for found in arrays])) for name in arrays[0]}
        means = ranks.mean_of(means) if ranks else means
        check_losses(means, step)
        if self.quarters[0] is not None:
            means.update(self._by_quarter(arrays, ranks))
        elapsed, steps = time.monotonic() - self.since, max(self.steps, 1)
        times = {"steps_per_second": self.steps / elapsed, "data_seconds": self.waited / steps,
                 "compute_seconds": (elapsed - self.waited) / steps}
        self.lines += 1
        self._begin()
        return means, times

    def _by_quarter(self, arrays, ranks):
        """{"loss_q1": mean loss of the first quarter's samples, ...} of the quarters that had some."""
        losses, ids = np.concatenate([found["loss"] for found in arrays]), np.concatenate(self.quarters)
        sums = {}
        for i in range(QUARTERS):
            sums[f"sum{i}"], sums[f"count{i}"] = float(losses[ids == i].sum(dtype=np.float64)), float((ids == i).sum())
        sums = ranks.mean_of(sums) if ranks else sums
        return {f"loss_q{i + 1}": sums[f"sum{i}"] / sums[f"count{i}"] for i in range(QUARTERS) if sums[f"count{i}"]}
