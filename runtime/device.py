"""CPU or CUDA: decided before Jittor is imported, because a Jittor that finds half a CUDA dies while importing."""
import ctypes
import os
from dataclasses import dataclass
from typing import Optional

from runtime.cuda.toolkit import LIBRARIES, Toolkit, find_toolkits  # noqa: F401 (Toolkit stands beside Driver and Choice)
from runtime.distributed import own_gpu
from runtime.errors import UserError
from runtime.tools import jittor_finds_config, python_config

INSTALL_CUDA = "python -m jittor_utils.install_cuda"  # Jittor's own CUDA 12.2 with cuDNN 8, in ~/.cache/jittor


@dataclass(frozen=True)
class Driver:
    """What NVIDIA's driver says. cuda: the newest CUDA it runs, such as (12, 4); problem: why no GPU can be used.

    capability: of the oldest GPU, such as (8, 6) for a 3090.
    """
    cuda: Optional[tuple] = None
    gpus: int = 0
    problem: str = ""
    capability: Optional[tuple] = None


@dataclass(frozen=True)
class Choice:
    """device: "cpu" or "cuda"; reason: one line; nvcc_path: what Jittor is told; idle_gpu: there is a GPU, not used.

    patched: a patched copy of Jittor has to be started (runtime/cuda/patch.py) instead of the installed one.
    """
    device: str
    reason: str
    nvcc_path: str = ""
    idle_gpu: bool = False
    patched: bool = False


def needs_patches(toolkit):
    """Whether Jittor 1.3.11 as it is installed would not start on this toolkit: CUDA 13, or any CUDA with cuDNN 9."""
    return toolkit.cuda[0] >= 13 or toolkit.cudnn >= 9


def unusable(toolkit, driver):
    """Why Jittor 1.3.11, patched where it has to be, cannot start on this toolkit and driver; "" when it can."""
    if not toolkit.cudart:
        return f"{toolkit.nvcc}: no lib64/libcudart.so beside it"
    if toolkit.cuda[0] not in (11, 12, 13):
        return f"{toolkit.nvcc}: CUDA {dotted(toolkit.cuda)}, expected 11, 12 or 13"
    if driver.cuda and driver.cuda[0] < toolkit.cuda[0]:
        return f"{toolkit.nvcc}: CUDA {dotted(toolkit.cuda)}, the driver runs CUDA {dotted(driver.cuda)} at most"
    if not toolkit.cudnn:
        return f"{toolkit.nvcc}: no cuDNN (libcudnn.so) found for it"
    if toolkit.cudnn not in ((9,) if toolkit.cuda[0] == 13 else (8, 9)):
        return f"{toolkit.nvcc}: cuDNN {toolkit.cudnn}, expected 9, or 8 with CUDA 11 and 12"
    if toolkit.missing:
        wheels = " ".join(dict.fromkeys(LIBRARIES[name] for name in toolkit.missing))
        return f"{toolkit.nvcc}: no {', '.join(f'lib{name}.so' for name in toolkit.missing)} found for it ({wheels})"
    capability = driver.capability
    if capability and toolkit.cuda[0] == 13 and capability < (7, 5):
        return f"{toolkit.nvcc}: CUDA 13 has no code for a GPU of compute capability {dotted(capability)}, 7.5 is its first"
    if capability and capability >= (10, 0) and not needs_patches(toolkit):
        return f"{toolkit.nvcc}: with cuDNN 8 there is no code for a GPU of compute capability {dotted(capability)}"
    return ""


def choose_device(environ, driver=None, toolkits=None):
    """The Choice for this machine; driver() -> Driver and toolkits(environ) -> [Toolkit] are asked when they matter.

    IIDM_DEVICE=cpu|cuda forces it, and cuda where it cannot be is a UserError; nvcc_path, when set, names the one
    toolkit to use and is taken at its word (its versions are the user's business), and an empty one means CPU.
    """
    wanted = environ.get("IIDM_DEVICE", "").strip().lower()
    if wanted not in ("", "cpu", "cuda"):
        raise UserError(f"IIDM_DEVICE is {environ['IIDM_DEVICE']!r}, expected cpu or cuda")
    if wanted == "cpu":
        return Choice("cpu", "IIDM_DEVICE=cpu")

    def without(reason, idle_gpu=False):
        if wanted == "cuda":
            raise UserError(f"IIDM_DEVICE is cuda, but {reason}")
        return Choice("cpu", reason, idle_gpu=idle_gpu)

    if environ.get("nvcc_path") == "":
        return without("nvcc_path is set to nothing in the environment, which means CPU")
    found = (driver or probe_driver)()
    if not found.gpus:
        return without(found.problem or "there is no NVIDIA GPU")
    offered = (toolkits or find_toolkits)(environ)
    problems = []
    for toolkit in sorted(offered, key=needs_patches):               # the installed Jittor where that is possible
        problem = unusable(toolkit, found)
        if not problem:
            return with_toolkit(toolkit)
        problems.append(problem)
    if "nvcc_path" in environ and any(toolkit.cudart for toolkit in offered):
        return with_toolkit(next(toolkit for toolkit in offered if toolkit.cudart))
    if not problems:
        named = environ.get("nvcc_path")
        problems = [f"nvcc_path is {named}, which does not run" if named else "no CUDA toolkit (nvcc) was found"]
    return without(f"{'; '.join(problems)} (mend: {INSTALL_CUDA})", idle_gpu=True)


def with_toolkit(toolkit):
    """The Choice of a toolkit."""
    patched = needs_patches(toolkit)
    parts = [f"CUDA {dotted(toolkit.cuda)}", f"cuDNN {toolkit.cudnn or 'unknown'}", toolkit.nvcc]
    return Choice("cuda", ", ".join(parts + ["a patched copy of Jittor"] * patched), toolkit.nvcc, patched=patched)


def settings(environ, choice):
    """The environment variables Jittor is started with, but for those a user has set."""
    values = {
        "cache_name": "default",                                        # else the git branch that Jittor lies in
        "use_mpi": "0",                                                 # mpicc on PATH is no reason to build for MPI
        "GOMP_SPINCOUNT": "10000",                                      # threads wait briefly awake, then asleep: awake
                                                                        # for long they starve any other process
        "FIX_TORCH_ERROR": "0",                                         # else it imports PyTorch, when there is one
    }
    if choice.device == "cuda":                                         # parts Jittor would download while importing
        values.update(use_cutt="0", use_cutlass="0")
    if choice.patched:
        values["cache_name"] = "patched"
        if not ("nccl_include_path" in environ and "nccl_lib_path" in environ):
            values["use_nccl"] = "0"                                    # its 2.8.4, of 2021, knows no CUDA 12 or 13
    if not jittor_finds_config(environ) and python_config(environ):
        values["python_config_path"] = python_config(environ)
    values = {name: value for name, value in values.items() if name not in environ}
    values["nvcc_path"] = choice.nvcc_path
    if choice.device == "cuda" and own_gpu(environ) is not None:
        values["CUDA_VISIBLE_DEVICES"] = own_gpu(environ)
    return values


def probe_driver():
    """The Driver of this machine, through libcuda alone: no toolkit and no nvidia-smi needed."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Driver(problem="there is no NVIDIA driver (libcuda.so.1)")
    number = ctypes.c_int(0)
    version = None
    if cuda.cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value:
        version = (number.value // 1000, number.value % 1000 // 10)
    status = cuda.cuInit(0)
    if status == 0:
        status = cuda.cuDeviceGetCount(ctypes.byref(number))
    if status == 0 and number.value:
        return Driver(version, number.value, capability=oldest_capability(cuda, number.value))
    if status in (0, 100):                                   # 100: CUDA_ERROR_NO_DEVICE
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = "" if hidden is None else f" with CUDA_VISIBLE_DEVICES={hidden}"
        return Driver(version, 0, f"the NVIDIA driver shows no GPU{seen}")
    return Driver(version, 0, f"the NVIDIA driver does not start (cuInit gives error {status})")


def oldest_capability(cuda, gpus):
    """The compute capability of the oldest GPU through libcuda, None where it does not tell."""
    found = []
    for index in range(gpus):
        device, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
        status = cuda.cuDeviceGet(ctypes.byref(device), index)
        status = status or cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)      # ..._CAPABILITY_MAJOR
        status = status or cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)      # ..._CAPABILITY_MINOR
        found += [] if status else [(major.value, minor.value)]
    return min(found) if found else None


def dotted(version):
    """(12, 4) -> "12.4"; None -> "unknown"."""
    return ".".join(map(str, version)) if version else "unknown"
