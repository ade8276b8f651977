"""How a kernel is chosen and launched: `impl` is "auto", "kernel" or "reference"."""
from pathlib import Path

from runtime.backend import jt

FOLDER = Path(__file__).resolve().parent


def include(name):
    """The C++ line that includes NAME.cuh; quoted, so that Jittor rebuilds the operator when the file changes."""
    return f'#include "{FOLDER / name}.cuh"\n'


def choose(impl, cuda=False, gradient=True):
    """Whether to launch the kernel. `cuda`: whether it has a CUDA version; `gradient`: whether it has a gradient, else "auto"
    takes it within jt.no_grad() only. A kernel asked for by name never falls back: ValueError where it cannot run."""
    if impl not in ("auto", "kernel", "reference"):
        raise ValueError(f"impl is {impl!r}, expected auto, kernel or reference")
    runs = cuda or not jt.flags.use_cuda
    if impl == "kernel" and not runs:
        raise ValueError("impl is 'kernel', but this kernel has no CUDA version; expected auto or reference on a GPU")
    if impl == "auto" and not gradient and not jt.flags.no_grad:
        return False
    return impl != "reference" and runs
