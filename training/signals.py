"""SIGTERM and Ctrl-C while training: the step is finished and saved first. A second Ctrl-C ends at once."""
import contextlib
import signal
import threading

from runtime.interrupts import second_ends, second_would_end


class Stop:
    """signum: the signal that asked for the end, or None."""

    def __init__(self):
        self.signum = None

    @property
    def status(self):
        """The exit status that says which signal it was: 143 or 130."""
        return 128 + self.signum

    @contextlib.contextmanager
    def listening(self):
        """Within the block the first signal is noted; what was done at a signal before is done again after the block."""
        if threading.current_thread() is not threading.main_thread():       # Python hears signals there only
            yield
            return
        ending = second_would_end()
        before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        second_ends()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if ending:
                second_ends()

    def _note(self, signum, frame):
        if self.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = self.signum or signum
