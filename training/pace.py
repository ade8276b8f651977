"""How fast a run goes: what is left, in hours, and how long a step takes at most."""
import time

FIRST = 20      # steps after which the hours left are said
SKIPPED = 2     # the first steps of a process, which compile


class Pace:
    """Times of the steps of this process; those that compile, and those after which something is saved or drawn, do not count
    as such, though their time does pass."""

    def __init__(self):
        self.steps, self.longest, self.begin, self.last = 0, 0.0, None, time.monotonic()

    def passed(self, left, counts=True):
        """A step is done, `left` are left. counts: whether nothing else follows it. -> a line with the hours left, once."""
        now, self.steps = time.monotonic(), self.steps + 1
        if self.steps == SKIPPED:
            self.begin = now
        if self.steps > SKIPPED and self.last is not None:
            self.longest = max(self.longest, now - self.last)
        self.last = now if counts else None
        if self.steps == FIRST and left:
            return f"{(now - self.begin) / (FIRST - SKIPPED):.3g} s a step, about {spelled(self.hours(left))} left"
        return None

    def hours(self, left):
        """What `left` steps will take by the mean of those so far, saving and drawing included; None before that is known."""
        if self.steps <= SKIPPED:
            return None
        return left * (time.monotonic() - self.begin) / (self.steps - SKIPPED) / 3600


def spelled(hours):
    """Hours for people."""
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
