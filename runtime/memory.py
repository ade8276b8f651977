"""How much memory this process has needed."""
import resource
import sys
from pathlib import Path


def peak_memory():
    """Peak resident memory of this process in bytes (on a GPU: of the host)."""
    status = Path("/proc/self/status")
    if status.is_file():  # not getrusage there: its peak begins with that of the process that started this one
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
