"""Is this machine fit for IIDM? One line per thing it needs: what was found, and the one command that mends it."""
import argparse
import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from runtime import tools
from runtime.cuda.jittor_patches import JITTOR, PATCHES
from runtime.cuda.patch import NOT_PATCHED, cache_folder, copy_name, installed, patched_texts, summary
from runtime.cuda.toolkit import find_toolkits
from runtime.device import INSTALL_CUDA, choose_device, dotted, needs_patches, probe_driver, unusable
from runtime.errors import UserError, run_script

NEEDED_GIB = {"cache": 2, "here": 5}    # Jittor's core and operators; latents, checkpoints and pictures of a small run

TRIAL = """
import json, os, sys, time
import numpy as np
begun = time.time()
from runtime.backend import DEVICE, REASON, jt, nn
imported = time.time() - begun
rng = np.random.default_rng(0)
x, w, a, b = (rng.normal(size=s).astype("float32") for s in [(2, 3, 9, 11), (5, 3, 3, 3), (33, 17), (17, 29)])
windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), (3, 3), axis=(2, 3))
conv = nn.conv2d(jt.array(x), jt.array(w), padding=1).numpy()
product = jt.matmul(jt.array(a), jt.array(b)).numpy()
error = max(abs(conv - np.einsum("bchwij,ocij->bohw", windows, w)).max(), abs(product - a @ b).max())
print("TRIAL " + json.dumps({"device": DEVICE, "reason": REASON, "import_s": imported, "error": float(error),
      "seconds": time.time() - begun, "mkl": bool(jt.compile_extern.use_mkl), "cache": jt.flags.cache_path}))
"""


@dataclass
class Line:
    """One row of the table. state: ok | note (works, worth knowing) | broken; mend: the command, when there is one."""
    name: str
    state: str
    found: str
    mend: str = ""


def check_python():
    """Whether this Python is one the project is made for."""
    version = platform.python_version()
    good = (3, 9) <= sys.version_info[:2] <= (3, 12)
    return Line("Python", "ok" if good else "note", f"{version} at {sys.executable}",
                "" if good else "make clean && make PYTHON=python3.11 test   # made for 3.9 to 3.12")


def check_compiler():
    """The C++ compiler that Jittor compiles its operators with."""
    name, path = tools.compiler(os.environ)
    if not path:
        return Line("compiler", "broken", f"{name} was not found, Jittor compiles its operators with it", tools.GXX)
    version = (output([path, "--version"]).splitlines() or ["version unknown"])[0]
    return Line("compiler", "ok", f"{version} at {path}")


def check_headers():
    """Python's headers, which Jittor compiles against."""
    config = tools.python_config(os.environ)
    if not config and sys.platform != "darwin":
        found = f"{tools.CONFIG} was not found, Jittor compiles against Python.h"
        return Line("headers", "broken", found, tools.HEADERS)
    return Line("headers", "ok", config)


def check_package(name):
    """Whether a package is installed, in the version the project is made for."""
    version, problem = tools.package(name)
    if not problem and name == "jittor" and version != JITTOR:
        return Line(name, "note", f"{version}, made for {JITTOR}", tools.INSTALL)
    return Line(name, "broken" if problem else "ok", problem or version, tools.INSTALL if problem else "")


def check_onednn():
    """Where oneDNN, the CPU back end, comes from."""
    try:
        return Line("oneDNN", "ok", f"from jittor_offline {metadata.version('jittor_offline')}")
    except metadata.PackageNotFoundError:
        library = Path.home() / ".cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp/lib/libmkldnn.so"
        if library.exists():
            return Line("oneDNN", "ok", str(library))
        return Line("oneDNN", "note", "absent, Jittor will download it from its own site", tools.INSTALL)


def check_gpu():
    """Driver, GPU, CUDA and cuDNN; their absence is no fault, everything runs on the CPU."""
    driver = probe_driver()
    if not driver.gpus:
        return [Line("GPU", "ok", f"none: runs on the CPU ({driver.problem})")]
    lines = [Line("driver", "ok", f"runs CUDA up to {dotted(driver.cuda)}")]
    lines += [Line("GPU", "ok", f"{name}, {memory / 2 ** 30:.0f} GiB") for name, memory in gpus(driver.gpus)]
    toolkits = find_toolkits(os.environ)
    if not toolkits:
        return lines + [Line("CUDA", "note", "no toolkit (nvcc): runs on the CPU", INSTALL_CUDA)]
    usable = [kit for kit in sorted(toolkits, key=needs_patches) if not unusable(kit, driver)]
    if not usable:
        return lines + [Line("CUDA", "note", unusable(kit, driver), INSTALL_CUDA) for kit in toolkits]
    kit = usable[0]
    assembled = ", assembled from NVIDIA's wheels" if kit.wheels else ""
    lines += [Line("CUDA", "ok", f"{dotted(kit.cuda)} at {kit.nvcc}{assembled}"), Line("cuDNN", "ok", str(kit.cudnn))]
    return lines + (check_patches() if needs_patches(kit) else [])


def check_patches():
    """The patched copy of Jittor that CUDA 13 or cuDNN 9 asks for, and why each patch is there."""
    copy = cache_folder(os.environ) / copy_name(PATCHES)
    if not copy.is_dir():
        try:
            patched_texts(installed(), PATCHES)
        except UserError as error:
            return [Line("patches", "broken", error.problems[0], NOT_PATCHED)]
    made = "" if copy.is_dir() else ", to be made"
    return [Line("patched copy", "ok", f"{copy}{made}; the installed Jittor is not touched"),
            *(Line("patch", "ok", f"{name}: {why}") for name, why in summary().items())]


def check_choice():
    """What choose_device decides here, and why."""
    try:
        choice = choose_device(os.environ)
    except UserError as error:
        return Line("back end", "broken", str(error), "unset IIDM_DEVICE")
    return Line("back end", "note" if choice.idle_gpu else "ok", f"{choice.device}: {choice.reason}")


def check_mpi():
    """What training on several processes takes: mpi4py, an MPI that it finds, its mpirun, and NCCL where there are GPUs."""
    install = "pip install -r requirements-mpi.txt"
    beside = Path(sys.executable).parent
    run = shutil.which("mpirun", path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    try:
        version = f"mpi4py {metadata.version('mpi4py')}"
    except metadata.PackageNotFoundError:
        if run:
            return Line("MPI", "note", f"mpirun at {run}, but no mpi4py: training runs in one process", "pip install mpi4py")
        return Line("MPI", "ok", "none: training runs in one process", f"{install}   # for several")
    library = output([sys.executable, "-c", "from mpi4py import MPI; print(MPI.Get_library_version())"])
    if not library:
        return Line("MPI", "note", f"{version} finds no MPI library: training runs in one process", install)
    library = library.splitlines()[0].split(",")[0].strip("\0 ")
    if not run:
        return Line("MPI", "note", f"{version} on {library}, but no mpirun, which starts the processes", install)
    kind = (output([run, "--version"]).splitlines() or ["unknown"])[0]
    if "Open MPI" in library and "Open MPI" not in kind and "prte" not in kind.lower():
        return Line("MPI", "note", f"{version} on {library}, but mpirun at {run} is of another: {kind}",
                    f"{beside / 'mpirun'} -np ...   # the one beside this Python")
    count = probe_driver().gpus
    if count > 1 and not nccl():
        return Line("MPI", "note", f"{version} on {library}, {count} GPUs, but no NCCL, which sums their gradients",
                    "pip install nvidia-nccl-cu12   # or -cu11, -cu13: the CUDA of the driver")
    return Line("MPI", "ok", f"{version} on {library}, mpirun at {run}")


def nccl():
    """The NCCL wheel that is installed, "" for none."""
    for name in ("nvidia-nccl-cu11", "nvidia-nccl-cu12", "nvidia-nccl-cu13"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return ""


def check_disk():
    """Free space at the cache and in the working directory, and whether Jittor can write to its cache."""
    problem = tools.cache_problem(os.environ)
    lines = [Line("cache", "broken", problem, "HOME=/some/folder python -m runtime.doctor")] if problem else []
    for name, folder in (("cache", Path(os.environ.get("JITTOR_HOME") or Path.home())), ("here", Path("."))):
        try:
            free = shutil.disk_usage(folder).free / 2 ** 30
        except OSError as error:
            lines.append(Line(f"disk, {name}", "broken", f"{folder}: {error.strerror}"))
            continue
        enough = free >= NEEDED_GIB[name]
        lines.append(Line(f"disk, {name}", "ok" if enough else "note", f"{free:.0f} GiB free at {folder}"
                          + ("" if enough else f", expected {NEEDED_GIB[name]}")))
    return lines


def check_jittor(timeout=1800):
    """Starts Jittor in a process of its own: a convolution and a matrix product compared with NumPy's."""
    root = Path(__file__).resolve().parent.parent
    begun = time.time()
    try:
        done = subprocess.run([sys.executable, "-c", TRIAL], cwd=root, stdout=subprocess.PIPE, text=True,
                              timeout=timeout)
    except subprocess.TimeoutExpired:
        return Line("Jittor runs", "broken", f"no answer after {timeout} s", "python -c 'import runtime.backend'")
    answers = [line[6:] for line in done.stdout.splitlines() if line.startswith("TRIAL ")]
    if not answers:
        found = f"it ended with status {done.returncode} after {time.time() - begun:.0f} s"
        return Line("Jittor runs", "broken", found, "log_v=1 python -c 'import runtime.backend'")
    trial = json.loads(answers[0])
    found = (f"on the {trial['device'].upper()}: import {trial['import_s']:.1f} s, convolution and product "
             f"{trial['seconds'] - trial['import_s']:.1f} s, largest error {trial['error']:.0e}")
    limit = 1e-4 if trial["device"] == "cpu" else 1e-2          # a GPU may convolve in TF32
    if not trial["error"] < limit:
        return Line("Jittor runs", "broken", f"{found}, expected below {limit:.0e}", f"rm -r {trial['cache']}")
    if trial["device"] == "cpu" and not trial["mkl"]:
        return Line("Jittor runs", "note", f"{found}; without oneDNN, slowly", "unset use_mkl")
    return Line("Jittor runs", "ok", found)


def gpus(count):
    """(name, bytes of memory) per GPU, from libcuda."""
    cuda = ctypes.CDLL("libcuda.so.1")
    for index in range(count):
        device, name, memory = ctypes.c_int(0), ctypes.create_string_buffer(100), ctypes.c_size_t(0)
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(name, 100, device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        yield name.value.decode(), memory.value


def output(command):
    """What a program prints, "" when it does not run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def examine(quick=False):
    """All Lines, in the order in which one mends them."""
    lines = [check_python(), check_compiler(), check_headers(), check_package("numpy"), check_package("jittor"),
             check_onednn(), *check_gpu(), check_choice(), check_mpi(), *check_disk()]
    if not quick and not any(line.state == "broken" for line in lines):
        lines.append(check_jittor())
    return lines


def table(lines):
    """The Lines as text for a terminal."""
    wide = max(len(line.name) for line in lines)
    marks = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}
    rows = []
    for line in lines:
        rows.append(f"{marks[line.state]}  {line.name:<{wide}}  {line.found}")
        if line.mend:
            rows.append(f"{'':6}  {'':<{wide}}  mend: {line.mend}")
    return "\n".join(rows)


def parser():
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m runtime.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent("""\
            ok      as it should be           note    works, worth knowing
            BROKEN  Jittor cannot run; `mend:` is the command that helps (with sudo where it installs packages)

            The last line starts Jittor in a process of its own; the first time that builds its core, 3 to 6 minutes.
            A GPU is used when its driver works and a CUDA 11, 12 or 13 toolkit with cuDNN is found: a normal one, or an
            nvcc and NVIDIA's Python wheels (IIDM_CUDA_WHEELS=... names a site-packages folder that holds them). CUDA 13
            and cuDNN 9 run through a patched copy of Jittor. Without a GPU everything runs on the CPU.
            IIDM_DEVICE=cpu or IIDM_DEVICE=cuda forces one; nvcc_path=... names the toolkit.
            Exit status: 0 when Jittor can run, 1 when it cannot."""))
    p.add_argument("--quick", action="store_true", help="look only, do not start Jittor")
    p.add_argument("--json", action="store_true", help="the same as JSON, for programs")
    return p


def main(argv):
    """Prints the table; exit status 1 when Jittor cannot run."""
    args = parser().parse_args(argv)
    lines = examine(args.quick)
    print(json.dumps([asdict(line) for line in lines], indent=2) if args.json else table(lines))
    if any(line.state == "broken" for line in lines):
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
