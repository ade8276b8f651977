"""benchmarks/gpu_check.sh, with a Python that only says what it was asked: order, deadline, reports, going on."""
import re
import shutil
import subprocess
import tarfile

import pytest

from tests.helpers import ROOT

PYTHON = """#!/bin/sh
case "$*" in
    *guided_step*) echo guided >> asked; [ ! -e slow ] || exec sleep 60 ;;
    *conv_layouts*) echo no layouts; exit 3 ;;
    *pytest*test_without_opencv*) exit 2 ;;
    *"import cv2"*) exit 1 ;;
esac
echo "asked: $*"
"""
ORDER = ["versions", "doctor", "build", "test_devices", "forward", "guided16", "guided", "layouts", "kernels16",
         "guided16_last", "train16", "train16_last", "train", "guided16_1", "guided_1", "autoencoder", "twin", "kernels",
         "configs-test_two", "rooms-test_without_opencv", "test_one", "kernels_float16"]


@pytest.fixture
def tree(tmp_path):
    """A folder with the script, three tests and the Python."""
    for name in ("benchmarks", "tests/runtime", "tests/rooms", "tests/configs", "venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks/gpu_check.sh", tmp_path / "benchmarks")
    for name in ("runtime/test_devices.py", "test_one.py", "configs/test_two.py", "rooms/test_without_opencv.py"):
        (tmp_path / "tests" / name).touch()
    (tmp_path / "venv/bin/python").write_text(PYTHON)
    (tmp_path / "venv/bin/python").chmod(0o755)
    return tmp_path


def check(tree, *options):
    """Runs the script from elsewhere; (status, {part: how it ended} as the report has it, standard error)."""
    done = subprocess.run(["sh", tree / "benchmarks/gpu_check.sh", "--venv", "venv", *options], cwd=tree, text=True,
                          capture_output=True, env={"PATH": "/usr/bin:/bin", "TORCH_PYTHON": "absent"}, timeout=120)
    report = tree / ("runs/gpu_check_cpu/report.md" if "--cpu" in options else "runs/gpu_check/report.md")
    rows = re.findall(r"^\| (\S+) \| (.*?) \|", report.read_text(), re.MULTILINE) if report.exists() else []
    return done.returncode, dict(rows[1:]), done.stderr


def test_device_tests_come_first_then_timings_then_the_rest_and_a_failed_part_does_not_end_it(tree):
    status, ended, said = check(tree, "--output", "out")
    assert status == 1 and "not whole: layouts" in said
    assert list(ended) == ORDER
    assert {name for name, how in ended.items() if not how.startswith("ended well")} == {"layouts"}
    assert ended["layouts"].startswith("status 3")
    text = (tree / "out/report.md").read_text()
    assert "left out: no OpenCV" in text and "no layouts" in text and "left out: absent has no PyTorch" in text
    with tarfile.open(tree / "out/logs.tar.gz") as logs:
        assert {f"log/{name}" for name in ORDER} <= set(logs.getnames())


def test_what_ended_well_is_not_repeated_and_named_parts_run_alone(tree):
    status, ended, _ = check(tree, "guided", "forward")
    assert status == 0 and list(ended) == ["versions", "doctor", "build", "forward", "guided"]
    check(tree, "guided")
    assert (tree / "asked").read_text() == "guided\n"


def test_on_the_cpu_nothing_is_asked_that_only_a_gpu_has_and_few_tests_run(tree):
    status, ended, _ = check(tree, "--cpu")
    absent = {"layouts", "kernels16", "kernels_float16", "rooms-test_without_opencv", "test_one"}
    assert status == 0 and list(ended) == [name for name in ORDER if name not in absent]


def test_at_the_deadline_the_part_is_cut_off_the_rest_not_begun_and_the_report_says_so(tree):
    (tree / "slow").touch()
    status, ended, _ = check(tree, "--limit", "7", "guided", "layouts")
    assert status == 1 and ended["guided"].startswith("cut off after") and ended["layouts"].startswith("not begun")
    (tree / "slow").unlink()
    status, ended, _ = check(tree, "guided")
    assert status == 0 and ended["guided"].startswith("ended well")


@pytest.mark.parametrize("options, why", [(["--all"], "unknown option --all"), (["--limit", "soon"], "expected seconds"),
                                          (["--output"], "--output needs a value")])
def test_wrong_options_are_one_line_and_status_2(tree, options, why):
    status, ended, said = check(tree, *options)
    assert status == 2 and not ended and why in said and said.count("\n") == 1
