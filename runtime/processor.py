"""What this machine's processor can do beyond float32, and the library that does it."""
import functools
from pathlib import Path

from runtime.backend import jt


@functools.cache
def multiplies_bfloat16():
    """Whether the processor has AVX512_BF16, and Jittor oneDNN with its headers."""
    file = Path("/proc/cpuinfo")
    return bool(jt.compile_extern.mkl_ops and onednn()) and file.exists() and "avx512_bf16" in file.read_text().split()


@functools.cache
def onednn():
    """oneDNN's C++ header, where Jittor unpacked it, or None."""
    import jittor_utils
    return next(iter(sorted(Path(jittor_utils.home()).glob(".cache/jittor/mkl/dnnl*/include/dnnl.hpp"))), None)
