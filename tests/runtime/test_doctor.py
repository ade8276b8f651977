import json

import pytest

from runtime import doctor
from runtime.cuda.toolkit import Toolkit
from runtime.device import Driver
from runtime.doctor import Line, main, table


@pytest.fixture
def cpu(monkeypatch):
    """A machine without a GPU, whatever the one that runs the tests has."""
    monkeypatch.setattr(doctor, "probe_driver", lambda: Driver(problem="there is no NVIDIA driver"))
    monkeypatch.setenv("IIDM_DEVICE", "cpu")


def test_a_machine_without_a_gpu_is_fit(cpu, capsys):
    main(["--quick"])
    shown = capsys.readouterr().out
    assert "none: runs on the CPU" in shown and "BROKEN" not in shown and "Jittor runs" not in shown


def test_json_holds_the_same_lines(cpu, capsys):
    main(["--quick", "--json"])
    lines = json.loads(capsys.readouterr().out)
    assert {"Python", "compiler", "headers", "numpy", "jittor", "oneDNN", "GPU", "MPI"} <= {x["name"] for x in lines}
    assert all(set(x) == {"name", "state", "found", "mend"} for x in lines)


def test_a_missing_compiler_is_broken_with_one_command_and_status_1(cpu, capsys, monkeypatch):
    monkeypatch.setenv("cc_path", "/absent/g++")
    with pytest.raises(SystemExit) as exit_:
        main([])                                       # Jittor is not even started
    assert exit_.value.code == 1
    assert "mend: apt-get install g++" in capsys.readouterr().out


@pytest.mark.parametrize("version, library, mpirun, kind, gpus, state, said", [
    ("", "", "", "", 0, "ok", "none: training runs in one process"),
    ("", "", "/bin/mpirun", "", 0, "note", "no mpi4py"),
    ("4.1", "", "/bin/mpirun", "", 0, "note", "finds no MPI library"),
    ("4.1", "Open MPI v5.0, package", "", "", 0, "note", "no mpirun"),
    ("4.1", "Open MPI v5.0, package", "/bin/mpirun", "HYDRA build details:", 0, "note", "is of another: HYDRA"),
    ("4.1", "Open MPI v5.0, package", "/bin/mpirun", "mpirun (Open MPI) 5.0", 2, "note", "no NCCL"),
    ("4.1", "Open MPI v5.0, package", "/bin/mpirun", "mpirun (Open MPI) 5.0", 1, "ok", "mpi4py 4.1 on Open MPI v5.0, mpirun"),
])
def test_what_several_processes_lack_is_said_with_what_mends_it(monkeypatch, version, library, mpirun, kind, gpus, state, said):
    def installed(name):
        if name == "mpi4py" and version:
            return version
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", installed)
    monkeypatch.setattr(doctor.shutil, "which", lambda name, path=None: mpirun or None)
    monkeypatch.setattr(doctor, "output", lambda command: library if "-c" in command else kind)
    monkeypatch.setattr(doctor, "probe_driver", lambda: Driver((12, 2), gpus))
    line = doctor.check_mpi()
    assert (line.name, line.state) == ("MPI", state) and said in line.found
    assert bool(line.mend) == (not (version and state == "ok"))


def test_numpy_2_is_broken(cpu, monkeypatch):
    monkeypatch.setattr(doctor.tools.metadata, "version", lambda name: "2.1.0")
    assert doctor.check_package("numpy").state == "broken"
    assert doctor.check_package("jittor").state == "note"


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Gives the machine one GPU, an empty cache and the toolkits it is called with."""
    def machine(*toolkits):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(doctor, "probe_driver", lambda: Driver((13, 0), 1))
        monkeypatch.setattr(doctor, "gpus", lambda count: [("NVIDIA H200", 141 * 2 ** 30)])
        monkeypatch.setattr(doctor, "find_toolkits", lambda environ: list(toolkits))
        return doctor.check_gpu()
    return machine


def test_cuda_13_is_shown_with_its_patches_and_why_each_is_there(gpu):
    lines = gpu(Toolkit("/cuda/bin/nvcc", (13, 0), "x", 9, wheels=True))
    found = {line.name: line for line in lines}
    assert found["GPU"].found == "NVIDIA H200, 141 GiB" and found["driver"].state == "ok"
    assert found["CUDA"].found == "13.0 at /cuda/bin/nvcc, assembled from NVIDIA's wheels" and found["cuDNN"].found == "9"
    assert "to be made" in found["patched copy"].found and "not touched" in found["patched copy"].found
    patches = [line.found for line in lines if line.name == "patch"]
    assert any(text.startswith("C++17: #error") for text in patches) and any("cub::Max" in text for text in patches)
    assert all(line.state == "ok" for line in lines)


def test_cuda_12_with_cudnn_8_needs_no_patches(gpu):
    assert [line.name for line in gpu(Toolkit("/cuda/bin/nvcc", (12, 2), "x", 8))] == ["driver", "GPU", "CUDA", "cuDNN"]


def test_patches_that_do_not_fit_are_broken(gpu, monkeypatch, tmp_path):
    (tmp_path / "jittor").mkdir()
    (tmp_path / "jittor" / "__init__.py").write_text("__version__ = '9.9'\n")
    monkeypatch.setattr(doctor, "installed", lambda: tmp_path)
    line = gpu(Toolkit("/cuda/bin/nvcc", (13, 0), "x", 9))[-1]
    assert (line.name, line.state) == ("patches", "broken") and "Jittor is 9.9, expected 1.3.11.0" in line.found


def test_a_toolkit_that_cannot_be_used_is_a_note_with_the_command_that_mends_it(gpu):
    found = {line.name: line for line in gpu(Toolkit("/cuda/bin/nvcc", (13, 0), "x", 0))}
    assert found["CUDA"].state == "note" and "no cuDNN" in found["CUDA"].found and "install_cuda" in found["CUDA"].mend


def test_cuda_asked_for_where_it_cannot_be_is_broken(cpu, monkeypatch):
    monkeypatch.setenv("IIDM_DEVICE", "cuda")
    monkeypatch.setenv("nvcc_path", "")
    assert doctor.check_choice().state == "broken"


def test_the_trial_compares_jittor_with_numpy(cpu):
    line = doctor.check_jittor()
    assert line.state == "ok" and "on the CPU" in line.found, line


def test_a_trial_that_fails_is_broken(cpu, monkeypatch):
    monkeypatch.setattr(doctor, "TRIAL", "raise SystemExit(3)")
    line = doctor.check_jittor()
    assert line.state == "broken" and "status 3" in line.found and line.mend


def test_the_table_puts_the_command_under_its_line():
    text = table([Line("a", "ok", "fine"), Line("longer", "broken", "bad", "do this")])
    assert text.splitlines() == ["ok      a       fine", "BROKEN  longer  bad", "                mend: do this"]
