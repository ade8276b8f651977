import subprocess
import zipfile

import pytest

from benchmarks.gpu_wheels import strip, weigh
from runtime.errors import RunError
from tests.helpers import ROOT

NAMES = [f"jittor_offline/{name}" for name in ("__init__.py", "train-images-idx3-ubyte.gz", "dnnl_lnx_2.2.0_cpu_gomp.tgz",
                                               "dnnl_lnx_2.2.0_cpu_gomp_aarch64.tgz", "nccl.tgz", "tests/test_one.py")]


def wheel_of(folder):
    """A wheel with the names that jittor_offline's has."""
    path, info = folder / "jittor_offline-0.0.7-py3-none-any.whl", "jittor_offline-0.0.7.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for name in NAMES:
            wheel.writestr(name, name * 100)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},sha256=0,0\n" for name in NAMES) + f"{info}/RECORD,,\n")
    return path


@pytest.mark.parametrize("machine, kept", [("x86_64", 2), ("aarch64", 3)])
def test_a_stripped_wheel_keeps_its_processors_library_and_its_record_lists_what_it_holds(tmp_path, machine, kept):
    path = wheel_of(tmp_path)
    strip(path, machine)
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        assert names == [NAMES[0], NAMES[kept], "jittor_offline-0.0.7.dist-info/RECORD"]
        assert [line.split(",")[0] for line in wheel.read(names[-1]).decode().splitlines()] == names
        assert wheel.read(NAMES[kept]).decode() == NAMES[kept] * 100


def test_wheels_and_repository_are_weighed_together_and_too_much_is_an_error(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("ignored\n")
    (tmp_path / "wheels").mkdir()
    for name, size in (("wheels/one.whl", 3), ("file", 2), ("ignored", 50)):
        (tmp_path / name).write_bytes(bytes(size << 20))
    assert weigh(tmp_path / "wheels", 6, tmp_path) == "wheels 3.0 MiB, the repository's files 2.0, together 5.0"
    with pytest.raises(RunError, match="together 5.0, expected at most 4"):
        weigh(tmp_path / "wheels", 4, tmp_path)


def test_the_repository_leaves_38_mib_for_the_wheels():
    from benchmarks.gpu_wheels import mebibytes, repository_files
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    files = [file for file in repository_files(ROOT) if "gpu_wheels" not in file.parts]
    assert mebibytes(files) <= 60 - 38
