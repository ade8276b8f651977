"""The CUDA toolkits of this machine: whole ones as they are, others made whole from NVIDIA's Python wheels.

An nvcc without its libraries and the packages `nvidia-cublas`, `nvidia-cudnn-cu13` ... are together all that is needed, but
Jittor looks for one folder: bin/nvcc, include/, lib64/ with names such as libcudnn.so. Such a folder (a prefix) is assembled
of symbolic links in the user's cache.
"""
import glob
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.cuda.patch import cache_folder
from runtime.files import HOST

MACHINE = "x86_64" if platform.machine() in ("x86_64", "AMD64") else "aarch64"
SYSTEM = f"/usr/lib/{MACHINE}-linux-gnu"
LIBRARIES = {"cudart": "nvidia-cuda-runtime", "cublas": "nvidia-cublas", "cublasLt": "nvidia-cublas",       # and wheels
             "cudnn": "nvidia-cudnn-cu13", "curand": "nvidia-curand", "cufft": "nvidia-cufft",
             "cusparse": "nvidia-cusparse"}


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit as Jittor would use it. cuda: (major, minor); cudart: libcudart.so or ""; cudnn: major or 0.

    missing: the other libraries that Jittor loads and that are not there; wheels: whether it was assembled here.
    """
    nvcc: str
    cuda: tuple
    cudart: str = ""
    cudnn: int = 0
    missing: tuple = ()
    wheels: bool = False


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
        candidates += [str(folder / "bin" / "nvcc") for folder in wheel_folders(environ)]
    kits, seen = [], set()
    for nvcc in candidates:
        if not nvcc or not os.access(nvcc, os.X_OK) or os.path.realpath(nvcc) in seen:
            continue
        seen.add(os.path.realpath(nvcc))
        kits += [kit for kit in [inspect_toolkit(nvcc)] if kit]
    return list(dict.fromkeys(kits + [kit for kit in [completed(kit, environ) for kit in kits] if kit]))


def inspect_toolkit(nvcc):
    """The Toolkit around an nvcc, looked at in the places where Jittor looks; None when nvcc does not run."""
    try:
        text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    release = re.search(r"release (\d+)\.(\d+)", text)
    if not release:
        return None
    binaries = os.path.dirname(os.path.realpath(nvcc) if os.path.islink(nvcc) else nvcc)
    libraries = SYSTEM if nvcc == "/usr/bin/nvcc" else os.path.normpath(os.path.join(binaries, "..", "lib64"))
    cudart = os.path.join(libraries, "libcudart.so")
    cudart = cudart if os.path.exists(cudart) else ""
    folders = [libraries, os.path.join(libraries, "..", "targets", f"{MACHINE}-linux", "lib"), SYSTEM, "/usr/lib"]
    missing = tuple(name for name in LIBRARIES if name not in ("cudart", "cudnn", "cublasLt")
                    and not any(os.path.exists(os.path.join(folder, f"lib{name}.so")) for folder in folders))
    return Toolkit(nvcc, (int(release[1]), int(release[2])), cudart, cudnn_major(folders), missing)


def cudnn_major(folders):
    """The major version of the first libcudnn.so in these folders, read from the names beside it; 0 without one."""
    for folder in folders:
        library = os.path.join(folder, "libcudnn.so")
        if os.path.exists(library):
            names = [os.path.realpath(library)] + sorted(glob.glob(library + ".*"))
            majors = [match[1] for match in (re.search(r"libcudnn\.so\.(\d+)", name) for name in names) if match]
            return int(majors[0]) if majors else 0
    return 0


def wheel_folders(environ):
    """The folders that nvidia-* wheels filled (nvidia/cu13, nvidia/cudnn ...), those of this Python first.

    IIDM_CUDA_WHEELS names site-packages folders to look in before; the last ones belong to the Python that a virtual
    environment was made from and to every `python3` on PATH, because machines with a GPU often carry the wheels there:
    the `python3` that holds PyTorch may itself be a virtual environment, of which this one's base tells nothing.
    """
    places = [place for place in environ.get("IIDM_CUDA_WHEELS", "").split(os.pathsep) if place] + sys.path
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    places += [f"{base}/lib/{folder}" for base in (sys.base_prefix, "/usr/local", "/usr")
               for folder in (f"{python}/site-packages", f"{python}/dist-packages", "python3/dist-packages")]
    places += [place for other in pythons(environ) for place in module_folders(other)]
    found = [Path(path) for place in places for path in sorted(glob.glob(os.path.join(glob.escape(place), "nvidia", "*")))]
    return list(dict.fromkeys(path for path in found if (path / "include").is_dir() or (path / "lib").is_dir()))


def pythons(environ):
    """Every `python3` on PATH that is not this one, in PATH's order."""
    paths = [os.path.join(folder, "python3") for folder in environ.get("PATH", "").split(os.pathsep) if folder]
    return [path for path in dict.fromkeys(paths) if os.access(path, os.X_OK) and path != sys.executable]


def module_folders(python):
    """Where another Python looks for modules, as it says itself; [] when it does not run."""
    try:
        text = subprocess.run([python, "-c", "import sys; print(*sys.path, sep='\\n')"], capture_output=True, text=True,
                              timeout=30, cwd=os.sep).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [place for place in text.splitlines() if os.path.isabs(place)]


def completed(kit, environ):
    """A Toolkit with what `kit` lacks taken from the wheels; None when it lacks nothing or the wheels do not help."""
    if kit.cudart and kit.cudnn and not kit.missing:
        return None
    folders = wheel_folders(environ)
    home = Path(os.path.realpath(real_nvcc(kit.nvcc))).parent.parent
    links = prefix_links([home, home / f"targets/{MACHINE}-linux"], folders, kit.cuda[0])
    if not any(name.startswith("lib/libcublas.so") for name in links):
        return None
    whole = inspect_toolkit(str(assemble(links, str(home / "bin" / "nvcc"), cache_folder(environ)) / "bin" / "nvcc"))
    return whole and replace(whole, wheels=True)


def real_nvcc(nvcc):
    """Where nvcc itself lies, which tells its own place when asked: /usr/local/bin/nvcc may be a script that calls it."""
    try:
        text = subprocess.run([nvcc, "--dryrun", "-x", "cu", "/dev/null"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return nvcc
    here = re.search(r"^#\$ _HERE_=(.+)$", text.stdout + text.stderr, re.MULTILINE)
    return os.path.join(here[1], "nvcc") if here else nvcc


def prefix_links(homes, wheels, cuda):
    """{name in the prefix: what it points to}. The nvcc's own folders (homes) win, the wheels fill the gaps.

    Libraries are given the unversioned names that linkers look for. CUDA's own major version has to be `cuda`:
    wheels for another one are left alone, except cuDNN's, which does not say it.
    """
    links = {}
    for home in homes + wheels:
        if home in wheels and other_cuda(home, cuda):
            continue
        for path in sorted((home / "include").glob("*")):
            links.setdefault(f"include/{path.name}", path)
        for path in sorted([*(home / "lib64").glob("lib*.so*"), *(home / "lib").glob("lib*.so*"),
                            *(home / "lib").glob("libcuda*.a")]):
            links.setdefault(f"lib/{path.name}", path)
    for name in sorted(links):
        plain = re.sub(r"(\.so)\.[0-9.]+$", r"\1", name)
        links.setdefault(plain, links[name])
    return links


def other_cuda(folder, cuda):
    """Whether a wheel's folder is for another CUDA: nvidia/cu13 says so, older ones (nvidia/cublas) are for 11 and 12."""
    named = re.fullmatch(r"cu(\d+)", folder.name)
    if named:
        return int(named[1]) != cuda
    return folder.name != "cudnn" and cuda > 12


def assemble(links, nvcc, cache):
    """The prefix of these links, made when it is not there: its folder. It is named after everything it holds."""
    links = {name: os.path.realpath(path) if name.startswith("include/") else str(path) for name, path in links.items()}
    digest = hashlib.sha256(repr((nvcc, sorted(links.items()))).encode()).hexdigest()
    target = cache / f"toolkit-{digest[:12]}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    temporary = cache / f".{target.name}.{HOST}-{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for folder in ("bin", "include", "lib"):
            (temporary / folder).mkdir(parents=True)
        for name, path in links.items():
            (temporary / name).symlink_to(path)
        (temporary / "lib64").symlink_to("lib")
        # Not a link: Jittor follows links to find the toolkit, and would find the one without libraries.
        script = temporary / "bin" / "nvcc"
        script.write_text(f'#!/bin/sh\nexec "{nvcc}" "$@"\n')
        script.chmod(0o755)
        try:
            os.rename(temporary, target)
        except OSError:
            if not target.is_dir():                              # else another process assembled the same one first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
