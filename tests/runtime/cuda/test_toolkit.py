import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cuda import toolkit
from runtime.cuda.toolkit import LIBRARIES, Toolkit, completed, cudnn_major, find_toolkits, inspect_toolkit, wheel_folders

ROOT = Path(__file__).resolve().parents[3]
OTHERS = tuple(name for name in LIBRARIES if name not in ("cudart", "cudnn", "cublasLt"))


def fake_toolkit(folder, release="12.2", cudart=True, cudnn="8.9.7", others=True):
    """A folder that looks like a CUDA toolkit; returns its nvcc."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib64").mkdir()
    nvcc = folder / "bin" / "nvcc"
    nvcc.write_text(f"#!/bin/sh\necho Cuda compilation tools, release {release}, V{release}.1\n"
                    f"test \"$1\" != --dryrun || echo '#$ _HERE_={folder}/bin' >&2\n")
    nvcc.chmod(0o755)
    if cudart:
        (folder / "lib64" / "libcudart.so").touch()
    for name in OTHERS if others else ():
        (folder / "lib64" / f"lib{name}.so").touch()
    if cudnn:
        (folder / "lib64" / f"libcudnn.so.{cudnn}").touch()
        (folder / "lib64" / "libcudnn.so").symlink_to(f"libcudnn.so.{cudnn}")
    return str(nvcc)


def test_a_toolkit_folder_is_read_as_jittor_reads_it(tmp_path):
    nvcc = fake_toolkit(tmp_path / "cuda")
    assert inspect_toolkit(nvcc) == Toolkit(nvcc, (12, 2), str(tmp_path / "cuda/lib64/libcudart.so"), 8)


def test_an_nvcc_that_prints_nonsense_is_no_toolkit(tmp_path):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho hello\n")
    nvcc.chmod(0o755)
    assert inspect_toolkit(str(nvcc)) is None and inspect_toolkit(str(tmp_path / "absent")) is None


def test_toolkits_are_found_in_jittors_cache_first_then_on_the_path(tmp_path):
    cached = fake_toolkit(tmp_path / ".cache/jittor/jtcuda/cuda12.2_cudnn8_linux")
    on_path = fake_toolkit(tmp_path / "other", release="13.0")
    environ = {"JITTOR_HOME": str(tmp_path), "PATH": str(tmp_path / "other/bin"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert [kit.nvcc for kit in find_toolkits(environ)][:2] == [cached, on_path]
    assert [kit.nvcc for kit in find_toolkits({**environ, "nvcc_path": on_path})] == [on_path]


def test_cudnn_is_absent_or_named_by_its_real_file(tmp_path):
    assert cudnn_major([str(tmp_path)]) == 0
    (tmp_path / "libcudnn.so.9.1.0").touch()
    (tmp_path / "libcudnn.so").symlink_to("libcudnn.so.9.1.0")
    assert cudnn_major([str(tmp_path / "absent"), str(tmp_path)]) == 9


# --------------------------------------------------------------------------------------------- wheels and an nvcc

def fake_wheels(site, cuda="cu13", cudnn="9"):
    """A site-packages folder as the nvidia-* wheels leave it: versioned names alone, no bin."""
    for folder, names in {cuda: ["cublas", "cublasLt", "cufft", "curand", "cusparse"], "cudnn": ["cudnn", "cudnn_ops"]}.items():
        (site / "nvidia" / folder / "lib").mkdir(parents=True)
        (site / "nvidia" / folder / "include").mkdir()
        for name in names:
            (site / "nvidia" / folder / "lib" / f"lib{name}.so.{cudnn if folder == 'cudnn' else '13'}").touch()
            (site / "nvidia" / folder / "include" / f"{name}.h").touch()
    return site


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An environment with an nvcc 13.0 that has libcudart alone, and the wheels beside Python."""
    nvcc = fake_toolkit(tmp_path / "cuda", release="13.0", cudnn="", others=False)
    (tmp_path / "cuda/include").mkdir()
    (tmp_path / "cuda/include/cuda_runtime.h").touch()
    monkeypatch.setattr(toolkit, "SYSTEM", str(tmp_path / "absent"))
    fake_wheels(tmp_path / "site")
    return {"nvcc_path": nvcc, "XDG_CACHE_HOME": str(tmp_path / "cache"), "IIDM_CUDA_WHEELS": str(tmp_path / "site")}


def test_an_nvcc_and_the_wheels_become_one_toolkit(machine):
    bare, whole = find_toolkits(machine)
    assert (bare.nvcc, bare.cudnn, bare.missing, bare.wheels) == (machine["nvcc_path"], 0, OTHERS, False)
    assert (whole.cuda, whole.cudnn, whole.missing, whole.wheels) == ((13, 0), 9, (), True)
    prefix = Path(whole.nvcc).parent.parent
    assert whole.cudart == str(prefix / "lib64/libcudart.so") and not os.path.islink(whole.nvcc)
    assert {"libcublas.so", "libcublas.so.13", "libcudnn.so", "libcudnn.so.9", "libcudart.so"} <= {
        path.name for path in (prefix / "lib64").iterdir()}
    assert {"cuda_runtime.h", "cudnn.h", "cublas.h"} <= {path.name for path in (prefix / "include").iterdir()}
    assert all(path.exists() for path in prefix.rglob("*"))                                     # no link leads nowhere


def test_the_same_toolkit_is_assembled_once_and_another_one_when_a_wheel_changes(machine):
    first = find_toolkits(machine)[1].nvcc
    assert find_toolkits(machine)[1].nvcc == first
    (Path(machine["IIDM_CUDA_WHEELS"]) / "nvidia/cudnn/lib/libcudnn_adv.so.9").touch()
    assert find_toolkits(machine)[1].nvcc != first
    assert not list((Path(machine["XDG_CACHE_HOME"]) / "iidm").glob(".*"))


def test_the_toolkits_own_libraries_win_over_the_wheels(machine):
    own = Path(machine["nvcc_path"]).parent.parent / "lib64/libcublas.so.13"
    own.touch()
    whole = find_toolkits(machine)[1]
    assert os.path.samefile(Path(whole.nvcc).parent.parent / "lib64/libcublas.so", own)


def test_a_toolkit_that_lacks_nothing_is_left_as_it_is(tmp_path, machine):
    nvcc = fake_toolkit(tmp_path / "whole", release="13.0", cudnn="9.1.0")
    kits = find_toolkits({**machine, "nvcc_path": nvcc})
    assert [(kit.nvcc, kit.wheels) for kit in kits] == [(nvcc, False)]


def test_wheels_for_another_cuda_are_not_mixed_in(tmp_path, machine):
    nvcc = fake_toolkit(tmp_path / "old", release="12.4", cudnn="", others=False)
    assert completed(inspect_toolkit(nvcc), machine) is None


def test_a_script_named_nvcc_leads_to_the_real_one(tmp_path, machine):
    real = Path(machine["nvcc_path"])
    script = tmp_path / "bin" / "nvcc"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{real}" "$@"\n')
    script.chmod(0o755)
    kits = find_toolkits({**machine, "nvcc_path": str(script)})
    assert (kits[0].cudart, kits[-1].cudnn, kits[-1].wheels) == ("", 9, True)


def test_wheels_are_looked_for_where_they_are_named_first(tmp_path):
    named = fake_wheels(tmp_path / "named")
    assert wheel_folders({"IIDM_CUDA_WHEELS": str(named)})[:2] == [named / "nvidia/cu13", named / "nvidia/cudnn"]
    assert wheel_folders({"IIDM_CUDA_WHEELS": str(tmp_path / "absent")}) == wheel_folders({})


def test_wheels_of_a_virtual_environment_are_found_from_one_that_was_made_from_it(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "outer"], check=True)
    outer = tmp_path / "outer/bin/python3"
    subprocess.run([outer, "-m", "venv", "--without-pip", tmp_path / "inner"], check=True)
    site, = (tmp_path / "outer/lib").glob("python3*/site-packages")
    fake_wheels(site)
    ask = "import os; from runtime.cuda.toolkit import wheel_folders; print(*wheel_folders(os.environ), sep='\\n')"
    environ = {"PATH": f"{outer.parent}{os.pathsep}{os.environ['PATH']}"}
    found = subprocess.run([tmp_path / "inner/bin/python3", "-c", ask], cwd=ROOT, env=environ, capture_output=True, text=True,
                           check=True).stdout.splitlines()
    assert [str(site / "nvidia" / name) for name in ("cu13", "cudnn")] == [path for path in found if str(tmp_path) in path]


def test_a_python3_on_the_path_that_does_not_run_has_no_wheels(tmp_path):
    broken = tmp_path / "bin/python3"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    assert wheel_folders({"PATH": str(broken.parent)}) == wheel_folders({})
