"""Does the patched Jittor compile and link on this machine's CUDA? No GPU and no driver are needed: nothing is computed.

Everything is made in Jittor's own way. The core and the extensions are built, linked and loaded. Then single operators and
a small U-Net's training step are run on a stand-in for a GPU (runtime/cuda/stand_in.cc): nvcc has to compile each of their
kernels before nothing happens. What a kernel computes, and how fast, only a GPU shows.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from runtime.cuda.patch import patched_copy, summary
from runtime.cuda.toolkit import find_toolkits
from runtime.device import Choice, Driver, dotted, needs_patches, settings, unusable
from runtime.doctor import output
from runtime.errors import RunError, UserError, run_script

CACHE_NAME = "build_check"                # what it compiles stays out of the way of what is run
STAND_IN = Path(__file__).with_name("stand_in.cc")

PROGRAM = Path(__file__).with_name("build_program.py")    # runs in a process of its own


def choose_toolkit(environ):
    """The first toolkit that needs the patches and has all libraries. Raises UserError when there is none."""
    kits = [kit for kit in find_toolkits(environ) if kit.cuda[0] >= 13 or needs_patches(kit)]
    whole = [kit for kit in kits if not unusable(kit, Driver())]
    if whole:
        return whole[0]
    raise UserError([unusable(kit, Driver()) for kit in kits] or "no toolkit of CUDA 13 or with cuDNN 9 was found")


def make_stand_in(kit, folder):
    """Compiles a libcudart that computes nothing: the functions of stand_in.cc, and every other one as `return 0`."""
    real = os.path.realpath(kit.cudart)
    special = set(re.findall(r"^\S.*?\b(\w+)\(", STAND_IN.read_text(), re.MULTILINE))
    symbols = output(["nm", "-D", "--defined-only", real]).splitlines()
    names = sorted({line.split()[-1].split("@")[0] for line in symbols if " T " in line or " W " in line} - special)
    if not names:
        raise RunError(f"nm shows no functions in {real}")
    version = re.search(r"libcudart\.so\.\d+", real + " " + output(["readelf", "-d", real]))
    soname = version[0] if version else "libcudart.so"
    (folder / "others.c").write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in names))
    (folder / "versions").write_text(f"{soname} {{ *; }};\n")
    library = folder / soname
    include = Path(kit.nvcc).resolve().parent.parent / "include"
    run(["gcc", "-w", "-fno-builtin", "-fPIC", "-c", folder / "others.c", "-o", folder / "others.o"])
    run(["g++", "-fPIC", "-shared", f"-I{include}", STAND_IN, folder / "others.o", f"-Wl,-soname,{soname}",
         f"-Wl,--version-script={folder / 'versions'}", "-o", library])
    return library


def run(command):
    """Runs a command; its message is a RunError when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")


def check(environ, archs, one_job, quick):
    """Builds everything in a process of its own: (Toolkit, what it reported)."""
    kit = choose_toolkit(environ)
    choice = Choice("cuda", "build check", kit.nvcc, patched=True)
    copy = patched_copy(environ)
    with tempfile.TemporaryDirectory() as folder:
        stand_in = make_stand_in(kit, Path(folder))
        values = {**environ, **settings(environ, choice), "cache_name": CACHE_NAME, "cuda_archs": archs,
                  "LD_PRELOAD": str(stand_in)}
        if one_job:
            values["DISABLE_MULTIPROCESSING"] = "1"
        done = subprocess.run([sys.executable, str(PROGRAM), str(copy), str(stand_in), "quick" if quick else "all"],
                              env=values, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])
    answers = [line[6:] for line in done.stdout.splitlines() if line.startswith("BUILD ")]
    if not answers:
        raise RunError(f"the build ended with status {done.returncode}; what the compiler said is above")
    return kit, json.loads(answers[0])


def report(kit, facts, archs, seconds):
    """What was compiled, as Markdown."""
    compiler = (output(["g++", "--version"]).splitlines() or ["g++"])[0]
    lines = [f"CUDA {dotted(kit.cuda)}, cuDNN {kit.cudnn}, {compiler}, Python {sys.version.split()[0]}, code for sm_{archs}: "
             f"{seconds:.0f} s.", "", "| part | sources | linked and loaded | MiB |", "|---|---|---|---|"]
    lines += [f"| {name} | {sources} | {file} | {size:.1f} |" for name, sources, file, size in facts["parts"]]
    lines += ["", "| kernels of | compiled by nvcc | failed | seconds |", "|---|---|---|---|"]
    lines += [f"| {name} | {count} | {len(failed)} | {taken:.0f} |" for name, count, failed, taken in facts["kernels"]]
    lines += ["", f"Patches: {', '.join(summary())}. Nothing was run on a GPU."]
    return "\n".join(lines)


def main(argv):
    """Builds, prints the report; exit status 1 when something did not compile."""
    p = argparse.ArgumentParser(prog="python -m runtime.build_check", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter,
                                epilog=textwrap.dedent("""\
            It takes 5 to 10 minutes the first time; IIDM_CUDA_WHEELS names a site-packages folder with nvidia-* wheels."""))
    p.add_argument("--archs", default="86", help="the GPU to make code for, as its compute capability (default: 86)")
    p.add_argument("--one-job", action="store_true", help="one compiler at a time (default: as many as Jittor chooses)")
    p.add_argument("--quick", action="store_true", help="without the U-Net and the 16-bit kernels")
    args = p.parse_args(argv)
    begun = time.time()
    kit, facts = check(dict(os.environ), args.archs, args.one_job, args.quick)
    print(report(kit, facts, args.archs, time.time() - begun))
    failed = [f"{name}: {kernel}" for name, _, kernels, _ in facts["kernels"] for kernel in kernels]
    empty = [f"{name}: no kernel was compiled" for name, count, _, _ in facts["kernels"] if not count and name == "sum"]
    if failed or empty:
        raise RunError("\n".join(failed + empty))


if __name__ == "__main__":
    run_script(main)
