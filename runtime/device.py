"""CPU or CUDA: decided before Jittor is imported, because a Jittor that finds half a CUDA dies while importing."""
import ctypes
import glob
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runtime.errors import UserError

INSTALL_CUDA = "python -m jittor_utils.install_cuda"  # Jittor's own CUDA 12.2 with cuDNN 8, in ~/.cache/jittor


@dataclass(frozen=True)
class Driver:
    """What NVIDIA's driver says. cuda: the newest CUDA it runs, such as (12, 4); problem: why no GPU can be used."""
    cuda: Optional[tuple] = None
    gpus: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit as Jittor would use it. cuda: (major, minor); cudart: libcudart.so or ""; cudnn: major or 0."""
    nvcc: str
    cuda: tuple
    cudart: str = ""
    cudnn: int = 0


@dataclass(frozen=True)
class Choice:
    """device: "cpu" or "cuda"; reason: one line; nvcc_path: what Jittor is told; idle_gpu: there is a GPU, not used."""
    device: str
    reason: str
    nvcc_path: str = ""
    idle_gpu: bool = False


def unusable(toolkit, driver):
    """Why Jittor 1.3.11 cannot start on this toolkit and driver; "" when it can."""
    if not toolkit.cudart:
        return f"{toolkit.nvcc}: no lib64/libcudart.so beside it"
    if toolkit.cuda[0] not in (11, 12):
        return f"{toolkit.nvcc}: CUDA {dotted(toolkit.cuda)}, Jittor 1.3.11 starts on CUDA 11 and 12"
    if driver.cuda and driver.cuda[0] < toolkit.cuda[0]:
        return f"{toolkit.nvcc}: CUDA {dotted(toolkit.cuda)}, the driver runs CUDA {dotted(driver.cuda)} at most"
    if not toolkit.cudnn:
        return f"{toolkit.nvcc}: no cuDNN (libcudnn.so) found for it"
    if toolkit.cudnn != 8:
        return f"{toolkit.nvcc}: cuDNN {toolkit.cudnn}, Jittor 1.3.11 starts on cuDNN 8"
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
    for toolkit in offered:
        problem = unusable(toolkit, found) if "nvcc_path" not in environ or not toolkit.cudart else ""
        if not problem:
            return Choice("cuda", f"CUDA {dotted(toolkit.cuda)}, cuDNN {toolkit.cudnn or 'unknown'}, {toolkit.nvcc}",
                          nvcc_path=toolkit.nvcc)
        problems.append(problem)
    if not problems:
        named = environ.get("nvcc_path")
        problems = [f"nvcc_path is {named}, which does not run" if named else "no CUDA toolkit (nvcc) was found"]
    return without(f"{'; '.join(problems)} (mend: {INSTALL_CUDA})", idle_gpu=True)


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
        return Driver(version, number.value)
    if status in (0, 100):                                   # 100: CUDA_ERROR_NO_DEVICE
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = "" if hidden is None else f" with CUDA_VISIBLE_DEVICES={hidden}"
        return Driver(version, 0, f"the NVIDIA driver shows no GPU{seen}")
    return Driver(version, 0, f"the NVIDIA driver does not start (cuInit gives error {status})")


def find_toolkits(environ):
    """The toolkits Jittor could be told to use, best first: nvcc_path alone when it is set."""
    if environ.get("nvcc_path"):
        candidates = [environ["nvcc_path"]]
    else:
        jittor_home = Path(environ.get("JITTOR_HOME") or Path.home())
        candidates = sorted(glob.glob(str(jittor_home / ".cache/jittor/jtcuda/*/bin/nvcc")), reverse=True)
        homes = [environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
        candidates += [os.path.join(home, "bin", "nvcc") for home in homes if home]
        candidates += [shutil.which("nvcc", path=environ.get("PATH")) or ""]
        candidates += ["/usr/local/cuda/bin/nvcc", "/usr/bin/nvcc", "/opt/cuda/bin/nvcc"]
    kits, seen = [], set()
    for nvcc in candidates:
        if not nvcc or not os.access(nvcc, os.X_OK) or os.path.realpath(nvcc) in seen:
            continue
        seen.add(os.path.realpath(nvcc))
        kits += [kit for kit in [inspect_toolkit(nvcc)] if kit]
    return kits


def inspect_toolkit(nvcc):
    """The Toolkit around an nvcc, looked at in the places where Jittor looks; None when nvcc does not run."""
    try:
        text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    release = re.search(r"release (\d+)\.(\d+)", text)
    if not release:
        return None
    machine = "x86_64" if platform.machine() in ("x86_64", "AMD64") else "aarch64"
    system = f"/usr/lib/{machine}-linux-gnu"
    binaries = os.path.dirname(os.path.realpath(nvcc) if os.path.islink(nvcc) else nvcc)
    libraries = system if nvcc == "/usr/bin/nvcc" else os.path.normpath(os.path.join(binaries, "..", "lib64"))
    cudart = os.path.join(libraries, "libcudart.so")
    cudart = cudart if os.path.exists(cudart) else ""
    folders = [libraries, os.path.join(libraries, "..", "targets", f"{machine}-linux", "lib"), system, "/usr/lib"]
    return Toolkit(nvcc, (int(release[1]), int(release[2])), cudart, cudnn_major(folders))


def cudnn_major(folders):
    """The major version of the first libcudnn.so in these folders, read from the names beside it; 0 without one."""
    for folder in folders:
        library = os.path.join(folder, "libcudnn.so")
        if os.path.exists(library):
            names = [os.path.realpath(library)] + sorted(glob.glob(library + ".*"))
            majors = [match[1] for match in (re.search(r"libcudnn\.so\.(\d+)", name) for name in names) if match]
            return int(majors[0]) if majors else 0
    return 0


def dotted(version):
    """(12, 4) -> "12.4"; None -> "unknown"."""
    return ".".join(map(str, version)) if version else "unknown"
