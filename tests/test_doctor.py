import json

import pytest

from runtime import doctor
from runtime.device import Driver, Toolkit
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


def test_numpy_2_is_broken(cpu, monkeypatch):
    monkeypatch.setattr(doctor.tools.metadata, "version", lambda name: "2.1.0")
    assert doctor.check_package("numpy").state == "broken"
    assert doctor.check_package("jittor").state == "note"


def test_a_gpu_with_cuda_13_is_a_note_with_the_command_that_mends_it(monkeypatch):
    monkeypatch.setattr(doctor, "probe_driver", lambda: Driver((13, 0), 1))
    monkeypatch.setattr(doctor, "gpus", lambda count: [("NVIDIA H200", 141 * 2 ** 30)])
    monkeypatch.setattr(doctor, "find_toolkits", lambda environ: [Toolkit("/cuda/bin/nvcc", (13, 0), "x", 9)])
    lines = {line.name: line for line in doctor.check_gpu()}
    assert lines["GPU"].found == "NVIDIA H200, 141 GiB" and lines["driver"].state == "ok"
    assert lines["CUDA"].state == "note" and "install_cuda" in lines["CUDA"].mend


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
