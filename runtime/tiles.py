"""The tile registers of a server's processor (Intel AMX), with which oneDNN multiplies bfloat16 several times as fast.

Linux gives them to a process that asks, and the oneDNN that Jittor brings uses them only when told to. Both are done here,
before its first call: 16-bit convolutions and products on such a CPU are then 4 to 5 times as fast. float32 is not changed.
A user's own DNNL_MAX_CPU_ISA is left to decide.
"""
import ctypes
import platform
from pathlib import Path

NEEDED = {"amx_tile", "amx_bf16"}
ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18      # <asm/prctl.h>, <asm/fpu/types.h>
WITH_TILES = 0x3e7                                               # dnnl_cpu_isa_avx512_core_amx

enabled = False                                                  # for this process


def use_tiles(environ, folder, flags=None):
    """Lets oneDNN in a folder of Jittor's (its lib/) use the tile registers. -> whether it may. flags: the processor's."""
    global enabled
    library = next(iter(sorted(Path(folder).glob("dnnl*/lib/libdnnl.so"))), None)
    if library is None or "DNNL_MAX_CPU_ISA" in environ or platform.machine() != "x86_64":
        return False
    if not NEEDED <= (processor_flags() if flags is None else flags):
        return False
    enabled = permitted() and told(library)
    return enabled


def processor_flags():
    """The processor's abilities, as Linux names them."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def permitted():
    """Asks Linux for the tile registers, for this process and its threads; a child asks for itself. -> whether it has them."""
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0


def told(library):
    """Tells oneDNN, which listens until its first call. -> whether it listened."""
    return ctypes.CDLL(str(library)).dnnl_set_max_cpu_isa(WITH_TILES) == 0
