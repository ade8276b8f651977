"""A run's log, one JSON object per line, and its progress bars."""
import json
import sys
from pathlib import Path

from tqdm import tqdm

from runtime.errors import UserError
from runtime.files import write_bytes


class RunLog:
    """folder/log.jsonl: one line per event, written at once: a killed run loses at most the line it was writing.

    log = RunLog("runs/iidm"); log.write("train", step=100, loss=0.12); log.history("train") -> [{"kind": ...}, ...]
    """

    def __init__(self, folder):
        self.path = Path(folder) / "log.jsonl"
        self._mended = False

    def write(self, kind, **values):
        """Appends one line; `step` among the values places it in the run. NumPy scalars become numbers."""
        line = json.dumps({"kind": kind, **values}, default=_plain, ensure_ascii=False)
        if not self._mended:                             # not when reading: another process may be writing
            self._mend()
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")
            stream.flush()

    def history(self, kind=None):
        """The lines of one kind (of every kind: None) as dicts, oldest first."""
        return [entry for entry in self._entries() if kind in (None, entry["kind"])]

    def truncate_after(self, step):
        """Drops what was logged past a step: a resumed run writes those lines again."""
        kept = [entry for entry in self._entries() if entry.get("step", 0) <= step]
        text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept)
        write_bytes(self.path, text.encode())

    def _entries(self):
        if not self.path.exists():
            return []
        entries = []
        *whole, _ = self.path.read_bytes().split(b"\n")  # what follows the last line end is nothing, or half a line
        for number, line in enumerate(whole, 1):
            try:
                entries.append(json.loads(line))
                if not isinstance(entries[-1].get("kind"), str):
                    raise ValueError
            except (ValueError, AttributeError, RecursionError):
                raise UserError(f"{self.path}: line {number} is not JSON, expected one object per line") from None
        return entries

    def _mend(self):
        """Drops a last line that a kill left without its end."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._mended = True
        if self.path.exists():
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                with open(self.path, "rb+") as stream:
                    stream.truncate(whole)


def _plain(value):
    """A NumPy scalar or array, or a path, as JSON holds it."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def progress_bar(iterable=None, total=None, label="", unit="it", initial=0):
    """A progress bar, speed and time left: progress_bar(items), or (total=n) and .update(); in a file a line per 30 s."""
    terminal = sys.stderr.isatty()
    return tqdm(iterable, total=total, desc=label or None, unit=unit, initial=initial, file=sys.stderr,
                dynamic_ncols=terminal, ncols=None if terminal else 100, mininterval=0.2 if terminal else 30,
                maxinterval=10 if terminal else 60, smoothing=0.1, miniters=None if terminal else 1,
                ascii=None if terminal else True)
