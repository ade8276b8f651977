"""What this machine's processor can do beyond float32, and the library that does it."""
import functools
from pathlib import Path

from runtime.backend import jt


@functools.cache
def multiplies_bfloat16():
    """Whether the processor has AVX512_BF16, and Jittor oneDNN with its headers."""
    file = Path("/proc/cpuinfo")
    return onednn() is not None and file.exists() and "avx512_bf16" in file.read_text().split()


@functools.cache
def onednn():
    """The C++ header of the oneDNN that Jittor computes with, or None where it has none."""
    import jittor_utils
    if not jt.compile_extern.mkl_ops:
        return None
    return next(iter(sorted(Path(jittor_utils.home()).glob(".cache/jittor/mkl/dnnl*/include/dnnl.hpp"))), None)
