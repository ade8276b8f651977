"""Jittor, started so that it works on this machine: `from runtime.backend import jt, nn` is how every module gets it.

Importing Jittor chooses a compiler, builds its core on first use, and changes the whole process (signal handlers, TLS
verification, sys.exit, sys.excepthook, the recursion limit). Here the device is chosen first, and the process is put
back afterwards: Ctrl-C raises KeyboardInterrupt, a killed child is not the end of its parent, tracebacks are Python's.
On CUDA 13 or with cuDNN 9 it is a patched copy of the installed Jittor that is started (runtime/cuda/patch.py).
"""
import contextlib
import glob
import os
import signal
import ssl
import sys
import time
from pathlib import Path

import numpy as np

from runtime import compile_pool, errors
from runtime.cuda.patch import patched_copy
from runtime.device import choose_device, settings
from runtime.errors import RunError
from runtime.interrupts import second_ends, second_would_end
from runtime.tiles import use_tiles
from runtime.tools import check_tools

MPI = "OMPI_COMM_WORLD_SIZE"      # by which Jittor knows that mpirun started it
NOTEBOOK = "JPY_PARENT_PID"       # by which it knows that a notebook did


def core_is_built(cache_path, device):
    """Whether Jittor's core for this interpreter, compiler and device lies in its cache."""
    pattern = "jittor_core.*" if device == "cpu" else "cu*/jittor_core.*"
    return bool(glob.glob(os.path.join(glob.escape(cache_path), pattern)))


@contextlib.contextmanager
def process_kept():
    """Undoes what importing Jittor does to the process: signals, TLS, exits, tracebacks, the recursion limit."""
    context, hook, leave, limit = ssl._create_default_https_context, sys.excepthook, sys.exit, sys.getrecursionlimit()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)}
    ending = second_would_end()
    try:
        # Jittor's progress goes to stdout: a script's own output stays readable by programs.
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ssl._create_default_https_context, sys.excepthook, sys.exit = context, hook, leave
        sys.setrecursionlimit(limit)
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError, TypeError):     # not the main thread; a handler Python did not set
                signal.signal(number, handler)
        if ending:
            second_ends()


@contextlib.contextmanager
def quiet(environ):
    """Hides what Jittor says about itself while it starts, but not its progress; log_v or log_silent show it."""
    if "log_v" in environ or "log_silent" in environ:
        yield
        return
    environ["log_silent"] = "1"                                  # read by the C++ side when it is loaded
    try:
        import jittor_utils
        jittor_utils.LOG.log_silent = 0                          # "Compiling jittor_core(7/151)" stays
        jittor_utils.LOG.i = lambda *message: None
        yield
        sys.modules["jittor"].flags.log_silent = 0
    finally:
        del environ["log_silent"]                                # a child process decides for itself


@contextlib.contextmanager
def without_mpi(environ):
    """Hides from Jittor that mpirun started this process: it would ask its own MPI part, which is not built (use_mpi=0)."""
    found = environ.pop(MPI, None) if environ.get("use_mpi") == "0" else None
    try:
        yield
    finally:
        if found is not None:
            environ[MPI] = found


@contextlib.contextmanager
def keeping_ctrl_c(environ):
    """Makes Jittor's libraries leave SIGINT alone, as they do within a notebook: otherwise each that is loaded puts a handler
    there which ends the process with status 1, until process_kept() has its turn."""
    found = environ.get(NOTEBOOK)
    environ[NOTEBOOK] = found or "0"
    try:
        yield
    finally:
        if found is None:
            del environ[NOTEBOOK]                                # a child process decides for itself


def start():
    """Imports Jittor and returns (jittor, device, reason). Raises UserError when something it needs is missing."""
    if "jittor" in sys.modules:
        jt = sys.modules["jittor"]
        return jt, "cuda" if jt.flags.use_cuda else "cpu", "Jittor was imported before"
    choice = choose_device(os.environ)
    if choice.idle_gpu:
        print(f"There is a GPU, but this runs on the CPU: {choice.reason}", file=sys.stderr)
    check_tools(os.environ)
    if choice.patched:
        put_first(patched_copy(os.environ))
    for kind in (np.float32, np.float64):
        np.finfo(kind)                               # kept by NumPy, which would warn once Jittor has turned denormals off
    before = os.environ.get("nvcc_path")
    os.environ.update(settings(os.environ, choice))
    try:
        with process_kept(), keeping_ctrl_c(os.environ), quiet(os.environ), without_mpi(os.environ):
            jt, built_in = import_jittor(choice)
    finally:
        del os.environ["nvcc_path"]                  # a child process chooses for itself
        if before is not None:
            os.environ["nvcc_path"] = before
    if built_in:
        print(f"Jittor's core is built ({built_in:.0f} s).", file=sys.stderr, flush=True)
    return jt, choice.device, choice.reason


def put_first(folder):
    """Makes `import jittor` take the packages in a folder. Raises RunError where the installed ones are loaded already."""
    loaded = sys.modules.get("jittor_utils")
    if loaded and os.path.dirname(os.path.dirname(os.path.realpath(loaded.__file__))) != os.path.realpath(folder):
        raise RunError(f"jittor_utils was imported from {loaded.__file__} before runtime.backend, expected {folder}")
    sys.path.insert(0, str(folder))


def import_jittor(choice):
    """Imports Jittor for a Choice: (jittor, the seconds its core took to build or 0)."""
    import jittor_utils
    compile_pool.guard(jittor_utils)
    begun = None if core_is_built(jittor_utils.cache_path, choice.device) else time.time()
    if begun:
        device = choice.device.upper()
        print(f"Building Jittor's core for the {device}, once, 3 to 6 minutes ...", file=sys.stderr, flush=True)
    try:
        import jittor as jt
    except SystemExit:                               # other headers or flags: it rebuilds its tools and exits with 0
        raise RunError("Jittor rebuilt its compiler tools for this Python; give the same command again") from None
    if choice.device == "cuda" and not jt.has_cuda:
        raise RunError(f"Jittor started without its GPU ({choice.reason}); IIDM_DEVICE=cpu runs on the CPU")
    jt.flags.use_cuda = int(choice.device == "cuda")
    use_tiles(os.environ, Path(jittor_utils.home()) / ".cache" / "jittor" / "mkl")
    if choice.device == "cuda":
        limit_convolutions(jt.cudnn)
    return jt, time.time() - begun if begun else 0


def limit_convolutions(cudnn):
    """Bounds for Jittor's own calls of cuDNN. By itself it keeps the fastest algorithm of 100 shapes and guesses anew at every
    call of another, and an algorithm may ask for a quarter of the GPU's memory, which then stays with Jittor."""
    cudnn.set_algorithm_cache_size(10000)
    cudnn.set_max_workspace_ratio(0.02)


hook_before = sys.excepthook
sys.excepthook = errors.excepthook   # a script's imports run before its run_script(): no traceback for a missing g++
jt, DEVICE, REASON = start()
sys.excepthook = hook_before
nn = jt.nn
