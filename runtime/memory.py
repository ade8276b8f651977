"""How much memory this process has needed, and how much there is."""
import os
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


def available_memory():
    """Bytes of the host's memory that are free or can be freed at once."""
    info = Path("/proc/meminfo")
    if info.is_file():
        lines = dict(line.split(":") for line in info.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
