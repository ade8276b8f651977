"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2).

Gradients below 6e-8 are zero in float16. The loss is multiplied by a power of two, which moves them all up
and is taken out again, exactly, by the optimiser. A gradient beyond 65,504 is infinite: then nothing moves
and the scale is halved; after GROW_AFTER steps that went well it is doubled.
"""
import numpy as np

from runtime.errors import RunError

START, GROW_AFTER = 2.0 ** 16, 2000


class LossScale:
    """value: what the loss is multiplied by; skipped: steps that moved nothing. Not `active`, it stays 1."""

    def __init__(self, active):
        self.active, self.value = active, START if active else 1.0
        self.skipped = self.steps = 0                      # steps since the scale changed

    def passed(self):
        """A step's gradients were finite."""
        self.steps += 1
        if self.active and self.steps == GROW_AFTER:
            self.value, self.steps = 2 * self.value, 0

    def overflowed(self, step):
        """A step's gradients were not. RunError where they are not finite at any scale: halving does not help
        a loss gone astray."""
        self.value, self.steps, self.skipped = self.value / 2, 0, self.skipped + 1
        if self.value < 1:
            raise RunError(f"the gradients of step {step} are not finite in float16, whatever the loss is multiplied by")

    def state(self):
        """All of it as an array."""
        return np.array([self.value, self.steps, self.skipped], dtype=np.float32)

    def load(self, array):
        """Goes on from state()."""
        self.value, self.steps, self.skipped = float(array[0]), int(array[1]), int(array[2])
