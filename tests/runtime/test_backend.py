import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.device import Choice
from tests.helpers import ROOT, run_python

CPU = Choice("cpu", "because")

PROCESS = """
import json, os, resource, signal, ssl, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started with it ignored
before = ssl._create_default_https_context, sys.excepthook, sys.exit, sys.getrecursionlimit()
from runtime.backend import DEVICE, REASON, jt, nn
facts = dict(device=DEVICE, same=before == (
    ssl._create_default_https_context, sys.excepthook, sys.exit, sys.getrecursionlimit()))
facts["verified"] = ssl._create_default_https_context().verify_mode == ssl.CERT_REQUIRED
facts["torch"] = "torch" in sys.modules
facts["killed_child"] = subprocess.run(["sh", "-c", "kill -9 $$"]).returncode
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    facts["interrupt"] = "KeyboardInterrupt"
facts["sum"] = float((jt.ones((2, 3)) * 2).sum().item())
facts["mpi"] = [os.environ.get("OMPI_COMM_WORLD_SIZE"), jt.world_size]
facts["nn"] = nn is jt.nn
facts["environ"] = {name: os.environ.get(name) for name in ("nvcc_path", "log_silent", "cache_name", "JPY_PARENT_PID")}
print(json.dumps(facts))
sys.exit(2)
"""


@pytest.fixture(scope="module")
def process():
    """What a fresh process finds after importing the back end, and how it ended."""
    done = run_python(PROCESS, IIDM_DEVICE="cpu", nvcc_path=None, log_silent=None, log_v=None, cache_name=None,
                      JPY_PARENT_PID=None, OMPI_COMM_WORLD_SIZE="3")
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done


def test_jittor_starts_and_computes(process):
    facts, _ = process
    assert (facts["device"], facts["sum"], facts["nn"]) == ("cpu", 12.0, True)


def test_jittor_is_alone_under_mpirun_too_and_the_process_still_knows(process):
    assert process[0]["mpi"] == ["3", 1]


def test_importing_jittor_leaves_tls_hooks_exit_and_recursion_limit_as_they_were(process):
    facts, _ = process
    assert facts["same"] and facts["verified"]


def test_torch_is_never_imported(process):
    assert process[0]["torch"] is False


def test_ctrl_c_is_a_keyboard_interrupt_and_a_killed_child_does_not_kill_its_parent(process):
    facts, _ = process
    assert (facts["interrupt"], facts["killed_child"]) == ("KeyboardInterrupt", -9)


def test_sys_exit_gives_its_status(process):
    assert process[1].returncode == 2


def test_jittor_says_nothing_about_itself_and_hands_no_device_to_child_processes(process):
    facts, done = process
    assert facts["environ"] == {"nvcc_path": None, "log_silent": None, "cache_name": "default", "JPY_PARENT_PID": None}
    assert "[i " not in done.stderr, done.stderr


def test_an_uncaught_exception_shows_its_traceback_and_gives_status_1():
    done = run_python("import runtime.backend\n1 / 0", IIDM_DEVICE="cpu")
    assert done.returncode == 1 and "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


def test_a_wrong_device_is_one_line_and_status_2():
    done = run_python("import runtime.backend", IIDM_DEVICE="tpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: IIDM_DEVICE is 'tpu', expected cpu or cuda\n"


def test_a_missing_compiler_is_one_line_with_its_command():
    done = run_python("import runtime.backend", IIDM_DEVICE="cpu", cc_path="/absent/g++")
    assert done.returncode == 2 and "apt-get install g++" in done.stderr and "Traceback" not in done.stderr


def test_a_users_settings_are_kept_but_for_the_nvcc_that_was_chosen():
    from runtime.backend import settings
    assert settings({"cache_name": "mine", "nvcc_path": "/x"}, CPU).get("cache_name") is None
    assert settings({"nvcc_path": "/x"}, CPU)["nvcc_path"] == ""
    assert settings({}, Choice("cuda", "", "/cuda/bin/nvcc"))["nvcc_path"] == "/cuda/bin/nvcc"


def test_the_patched_copy_has_a_build_cache_of_its_own_and_leaves_out_the_old_nccl():
    from runtime.backend import settings
    patched = Choice("cuda", "", "/cuda/bin/nvcc", patched=True)
    assert (settings({}, patched)["cache_name"], settings({}, patched)["use_nccl"]) == ("patched", "0")
    assert "use_nccl" not in settings({"nccl_include_path": "/i", "nccl_lib_path": "/l"}, patched)
    stock = settings({}, Choice("cuda", "", "/cuda/bin/nvcc"))
    assert stock["cache_name"] == "default" and "use_nccl" not in stock
    assert "use_nccl" not in settings({}, CPU) and "use_cutt" not in settings({}, CPU)


PATCHED = """
import sys
from runtime import device
from runtime.cuda import patch
device.probe_driver = lambda: device.Driver((13, 0), 1)
device.find_toolkits = lambda environ: [device.Toolkit("/absent/bin/nvcc", (13, 0), "x", 9)]
{before}
try:
    import runtime.backend
except BaseException as error:
    import jittor_utils
    print(jittor_utils.__file__)
    print(error)
"""


def test_on_cuda_13_the_copy_is_what_python_imports(tmp_path):
    done = run_python(PATCHED.format(before=""), IIDM_DEVICE="cuda", nvcc_path=None, XDG_CACHE_HOME=str(tmp_path),
                      HOME=str(tmp_path), JITTOR_HOME=None, DISABLE_MULTIPROCESSING="1")
    assert done.stdout.startswith(str(tmp_path / "iidm")), done.stdout + done.stderr


def test_a_jittor_loaded_before_the_copy_is_an_error(tmp_path):
    done = run_python(PATCHED.format(before="import jittor_utils"), IIDM_DEVICE="cuda", nvcc_path=None,
                      XDG_CACHE_HOME=str(tmp_path))
    assert "was imported from" in done.stdout and "expected" in done.stdout, done.stdout + done.stderr


def test_jittor_imported_before_is_used_as_it_is():
    code = ("import jittor\nfrom runtime.backend import DEVICE, REASON, jt\n"
            "print(DEVICE, jt is jittor, REASON)")
    done = run_python(code, nvcc_path="", use_mpi="0", cache_name="default", FIX_TORCH_ERROR="0", log_silent="1")
    assert done.stdout.strip() == "cpu True Jittor was imported before", done.stderr


def test_tools_say_what_is_missing_and_how_to_get_it(monkeypatch, tmp_path):
    from runtime import tools
    versions = {"numpy": "2.1.0"}

    def version(name):
        if name not in versions:
            raise tools.metadata.PackageNotFoundError(name)
        return versions[name]
    monkeypatch.setattr(tools.metadata, "version", version)
    monkeypatch.setattr(tools, "CONFIG", "python3.99-config")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(tools.sysconfig, "get_path", lambda name: str(tmp_path))              # no Python.h there
    found = tools.problems({"cc_path": "absent-g++"})
    assert [mend for _, mend in found] == [tools.INSTALL, tools.INSTALL, tools.GXX, tools.HEADERS]
    assert "numpy is 2.1.0, expected below 2" in found[0][0] and "jittor is not installed" in found[1][0]


def test_headers_without_their_config_script_are_enough(monkeypatch, tmp_path):
    from runtime import tools
    monkeypatch.setattr(tools, "CONFIG", "python3.99-config")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(tools, "jittor_finds_config", lambda environ: "")
    script = tools.python_config({"XDG_CACHE_HOME": str(tmp_path)})
    assert script.startswith(str(tmp_path)) and script == tools.python_config({"XDG_CACHE_HOME": str(tmp_path)})
    found = [subprocess.run([script, question], capture_output=True, text=True) for question in
             ("--includes", "--extension-suffix", "--ldflags")]
    assert all((Path(folder[2:]) / "Python.h").is_file() for folder in found[0].stdout.split()) and found[0].stdout
    assert found[1].stdout.strip() == sysconfig.get_config_var("EXT_SUFFIX")
    assert found[2].returncode == 1 and "--ldflags" in found[2].stderr


def test_a_built_core_is_recognised(tmp_path):
    from runtime.backend import core_is_built
    assert not core_is_built(str(tmp_path), "cpu")
    (tmp_path / "jittor_core.so").touch()
    assert core_is_built(str(tmp_path), "cpu") and not core_is_built(str(tmp_path), "cuda")
    os.makedirs(tmp_path / "cu12.2_sm_90")
    (tmp_path / "cu12.2_sm_90" / "jittor_core.so").touch()
    assert core_is_built(str(tmp_path), "cuda")


def test_on_a_gpu_every_convolutions_algorithm_is_kept_and_its_workspace_is_bounded(monkeypatch):
    from runtime import backend
    asked = {}
    cudnn = SimpleNamespace(set_algorithm_cache_size=lambda size: asked.update(size=size),
                            set_max_workspace_ratio=lambda ratio: asked.update(ratio=ratio))
    monkeypatch.setitem(sys.modules, "jittor", SimpleNamespace(has_cuda=True, flags=SimpleNamespace(), cudnn=cudnn))
    jt, _ = backend.import_jittor(Choice("cuda", "a test"))
    assert jt.flags.use_cuda == 1 and asked == {"size": 10000, "ratio": 0.02}


def test_ctrl_c_while_jittor_is_imported_ends_as_any_other():
    """Its libraries each take the signal for themselves when they are loaded, unless told not to."""
    code = ("import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "class CtrlC:\n    def find_spec(self, name, path=None, target=None):\n"
            "        if name == 'jittor_core':\n            print('sent', file=sys.__stdout__, flush=True)\n"
            "            os.kill(os.getpid(), signal.SIGINT)\n"
            "from runtime.errors import run_script\n"
            "def main(argv):\n    sys.meta_path.insert(0, CtrlC())\n    import runtime.backend\nrun_script(main)")
    done = run_python(code, JPY_PARENT_PID=None)
    assert done.stdout == "sent\n"
    assert (done.returncode, done.stderr) == (130, "interrupted; what was saved is intact\n")


@pytest.mark.parametrize("number, said, status", [
    (signal.SIGINT, "interrupted; what was saved is intact\n", 130), (signal.SIGTERM, "stopped\n", 143)])
def test_a_signal_to_all_ends_a_program_whose_compile_pool_runs(number, said, status):
    """A terminal sends Ctrl-C to the pool's processes too, Slurm SIGTERM; one that dies with the pool's lock in its hand would
    let the end wait."""
    # A suite in the background of a shell ignores Ctrl-C, and so would what it starts.
    code = ("import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from runtime.backend import jt\nfrom runtime.errors import Stopped, run_script\n"
            "import jittor_utils\ndef stop(*_):\n    raise Stopped('stopped', 143)\n"
            "def main(argv):\n    signal.signal(signal.SIGTERM, stop)\n"
            "    jittor_utils.run_cmds([], '', '')\n    time.sleep(0.5)\n    print('ready', flush=True)\n"
            "    time.sleep(60)\nrun_script(main)")
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, start_new_session=True)
        try:
            assert process.stdout.readline() == "ready\n"
            os.killpg(process.pid, number)
            assert process.communicate(timeout=60)[1] == said
            assert process.returncode == status
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["HOME", "JITTOR_HOME"])
def test_a_home_that_cannot_be_written_to_is_a_line_with_the_variable_to_set(name, tmp_path):
    (tmp_path / "file").write_text("")
    done = run_python("import runtime.backend", **{name: str(tmp_path / "file/home")})
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "Not a directory" in done.stderr and f": {name}=/some/folder in front of the command" in done.stderr
