"""What a process of test.py --shard needs before its first picture, for different numbers of listed masks: time and memory.

The masks are links to one file. The plan is made once, by whoever comes first; then a fresh process opens it, takes a unit,
checks its 64 masks and references and hashes them, which is all that comes before the networks. They are left out: what they
need does not depend on the masks.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from data.synthetic import write_dataset
from runtime.errors import run_script

ROOT = Path(__file__).resolve().parents[1]
WORKER = """
import sys, time
from pathlib import Path
begun = time.perf_counter()
from configs.schema import Config
from data.landscape import check_test
from sampling.leases import lease
from sampling.shards import claim, not_foreign, opened_plan, unit_path
from sampling.submission import input_hash
imported = time.perf_counter()
folder, config = sys.argv[1], Config()
not_foreign(folder)
plan = opened_plan(folder, sys.argv[2], sys.argv[3])
claim(folder, {})
with lease(folder, "000007") as mine:
    assert mine and not unit_path(folder, 7).is_file()
    cases = plan.cases(7)
    check_test(cases, config.data, progress=False)
    [input_hash(case) for case in cases]
# not ru_maxrss: that counts what the process was before exec, which is its parent's memory
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
print(f"{len(cases)} {imported - begun:.3f} {time.perf_counter() - imported:.3f} {peak:.0f}")
"""


def dataset(folder, masks):
    """A test folder of so many masks, links to one, and their table; the references' folder."""
    write_dataset(folder, train=4, test=1, progress=False)
    labels = next((folder / "test").glob("val_*labels*"))
    (mask,) = labels.glob("*.png")
    references = sorted(path.name for path in (folder / "train/imgs").iterdir())
    names = [f"mask_{i:07d}.png" for i in range(masks)]
    for i, name in enumerate(names):
        if i % 30000:
            os.link(labels / names[i // 30000 * 30000], labels / name)
        else:
            shutil.copyfile(mask, labels / name)                       # a file may have 65,000 names on most file systems
    mask.unlink()
    table = next(path for path in (labels / "label_to_img.json", folder / "test/label_to_img.json") if path.is_file())
    table.write_text(json.dumps({name: references[i % 4] for i, name in enumerate(names)}))
    return folder / "test", folder / "train"


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_masks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, nargs="+", default=[1000, 100000], help="(default: 1000 100000)")
    args = parser.parse_args(argv)
    from sampling.shards import opened_plan
    print("| listed masks | plan, once, s | imports, s | start of a process, s | its memory, MiB |\n|---|---|---|---|---|")
    for masks in args.masks:
        with tempfile.TemporaryDirectory() as folder:
            test, train = dataset(Path(folder), masks)
            begun = time.perf_counter()
            opened_plan(Path(folder) / "results", test, train)
            planned = time.perf_counter() - begun
            done = subprocess.run([sys.executable, "-c", WORKER, f"{folder}/results", str(test), str(train)], cwd=ROOT,
                                  capture_output=True, text=True, check=True)
            _, imports, seconds, memory = done.stdout.split()
            print(f"| {masks:,} | {planned:.2f} | {imports} | {seconds} | {memory} |", flush=True)


if __name__ == "__main__":
    run_script(main)
