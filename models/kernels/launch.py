"""How a kernel is chosen and launched: `impl` is "auto", "kernel" or "reference"."""
import os
from pathlib import Path

from runtime.backend import jt

FOLDER = Path(__file__).resolve().parent
PLAIN = os.environ.get("IIDM_KERNELS") == "reference"   # for comparing: plain Jittor wherever nothing else is asked for


def include(*names):
    """The C++ lines that include NAME.cuh; quoted, so that Jittor rebuilds the operator when a file changes."""
    return "".join(f'#include "{FOLDER / name}.cuh"\n' for name in names)


def gpu():
    """Whether operators are made for the GPU."""
    return bool(jt.flags.use_cuda)


def oldest_gpu():
    """The architecture that operators are compiled for, the oldest GPU's: 90 for compute capability 9.0; 0 without one."""
    return min(jt.flags.cuda_archs, default=0) if gpu() else 0


def choose(impl, cuda=False, gradient=True):
    """Whether to launch the kernel. `cuda`: whether it has a CUDA version; `gradient`: whether it has a gradient, else "auto"
    takes it within jt.no_grad() only. A kernel asked for by name never falls back: ValueError where it cannot run."""
    if impl not in ("auto", "kernel", "reference"):
        raise ValueError(f"impl is {impl!r}, expected auto, kernel or reference")
    runs = cuda or not gpu()
    if impl == "kernel" and not runs:
        raise ValueError("impl is 'kernel', but there is no CUDA version for these sizes and GPU; expected auto or reference")
    if impl == "auto" and (not gradient and not jt.flags.no_grad or PLAIN):
        return False
    return impl != "reference" and runs


def code(shapes, dtypes, inputs, header, cpu, cuda, data=None):
    """One operator of a kernel: Jittor's jt.code with several outputs, its source for either processor, None where it has
    none for one."""
    sources = {"cpu": cpu, "cuda": cuda}
    given = {f"{kind}_{part}": text for kind, source in sources.items() if source is not None
             for part, text in (("header", header), ("src", source))}
    return jt.code(shapes, dtypes, inputs, data=data or {}, **given)


def code_in_place(inputs, outputs, header, cpu, cuda, data=None):
    """The same where the outputs are some of the inputs: each result lies where its input lay."""
    return jt.code(inputs, outputs, cpu_header=header, cpu_src=cpu, cuda_header=header, cuda_src=cuda, data=data or {})


def or_null(present, pointer):
    """A pointer to floats as C++ text, or the null one."""
    return pointer if present else "(float*)nullptr"
