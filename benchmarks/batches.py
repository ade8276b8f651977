"""What drawing a batch costs with many pairs: time to choose its rows, to read them from the latent cache, and memory.

    python -m benchmarks.batches --pairs 10000 1000000

The cache's file is sparse: nothing but zeros is read, so a disk's speed is not in these numbers; latents are an eighth of the
published size each way, so that the system can keep the pages of a million. Memory is what the process needs besides these.
"""
import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from data.batches import batch_rows, order_of_pass

LATENT, BATCH, MEASURED = (3, 12, 16), 5, 2000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 1_000_000])
    args = parser.parse_args()
    for pairs in args.pairs:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            print(f"{pairs:,} pairs: " + measure(Path(folder) / "z.npy", 2 * pairs), flush=True)


def measure(path, rows):
    """A line about batches of so many rows, mirrored copies included."""
    z = np.lib.format.open_memmap(path, "w+", np.float32, (rows, *LATENT))
    del z
    z, before = np.load(path, mmap_mode="r"), anonymous()
    order_of_pass.cache_clear()
    chosen, read = [], []
    for step in range(MEASURED):
        begin = time.perf_counter()
        numbers = batch_rows(0, step, BATCH, rows)
        between = time.perf_counter()
        np.ascontiguousarray(z[numbers])
        chosen.append(between - begin)
        read.append(time.perf_counter() - between)
    return (f"rows chosen in {1e6 * np.median(chosen):.0f} us, the first time in {1e3 * chosen[0]:.0f} ms; read in "
            f"{1e6 * np.median(read):.0f} us (medians of {MEASURED}); {(anonymous() - before) / 1e6:.0f} MB")


def anonymous():
    """Bytes of this process that are not pages of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024


if __name__ == "__main__":
    main()
