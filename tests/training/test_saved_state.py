import errno
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from models.weights.checkpoint import Header, is_whole, read_header, write_checkpoint
from runtime.errors import RunError
from tests.training.crashing import begin, ended, killed, same
from training.saved_state import SavedState

HEADER = lambda step: Header("unet", {}, step=step)


def written(folder, steps):
    """A SavedState to which states of such steps were written."""
    saved = SavedState(folder)
    for step in steps:
        saved.write({"w": np.full((3, 5), step, np.float32)}, HEADER(step))
    return saved


def damage(path):
    """Changes one byte of a file's last tensor."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_a_changed_byte_is_noticed_and_the_state_before_is_taken(tmp_path, capsys):
    saved = written(tmp_path, [10, 20, 30])
    assert is_whole(saved.path) and saved.find("unet")[1].step == 30
    damage(saved.path)
    path, header = saved.find("unet")
    assert (path, header.step) == (saved.before, 20)
    assert "going on from step 20" in capsys.readouterr().out
    damage(saved.before)
    with pytest.raises(RunError, match="damaged"):
        saved.find("unet")


def test_a_state_that_is_cut_short_is_not_whole(tmp_path):
    saved = written(tmp_path, [10, 20])
    saved.path.write_bytes(saved.path.read_bytes()[:-4])
    assert saved.find("unet")[1].step == 10


@pytest.mark.parametrize("moment", range(2))
def test_killed_between_two_renames_the_newest_is_found(tmp_path, monkeypatch, moment):
    saved, calls, rename = written(tmp_path, [10, 20]), [], os.replace

    def replace(source, target):
        if Path(source).name in ("state.new.safetensors", "state.safetensors"):
            if len(calls) == moment:
                raise KeyboardInterrupt
            calls.append(source)
        rename(source, target)

    monkeypatch.setattr("os.replace", replace)
    with pytest.raises(KeyboardInterrupt):
        saved.write({"w": np.zeros(3, np.float32)}, HEADER(30))
    assert saved.find("unet")[1].step == 30


@pytest.mark.parametrize("noticed", ["before", "while writing"])
def test_a_full_disk_leaves_the_state_before_and_says_what_is_needed(tmp_path, monkeypatch, noticed):
    saved = written(tmp_path, [10])
    kept = saved.path.read_bytes()
    if noticed == "before":
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=3_000_000))
    else:
        monkeypatch.setattr("runtime.files.flush", lambda path: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(RunError, match=r"needs 0.004 GB, found .* GB free"):
        saved.write({"w": np.zeros(1_000_000, np.float32)}, HEADER(20))
    assert saved.path.read_bytes() == kept and not list(tmp_path.glob("*tmp*"))


def test_files_of_before_there_were_checksums_are_read(tmp_path):
    from safetensors.numpy import save_file
    path = tmp_path / "old.safetensors"
    write_checkpoint(path, {"w": np.ones(3, np.float32)}, HEADER(7))
    metadata = {"format": "iidm-1", "kind": "unet", "config": "{}", "step": "7", "weights": "ema", "metrics": "{}",
                "parents": "[]", "extra": "{}"}
    save_file(load_file(path), path, metadata)
    assert is_whole(path) and read_header(path).step == 7


def test_killed_five_times_at_random_moments_a_run_ends_with_the_same_bits(tmp_path):
    assert same(ended(tmp_path / "whole"), killed(tmp_path / "killed", 5, seed=1))


@pytest.mark.parametrize("signum, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_step_saves_and_ends_with_its_status(tmp_path, signum, status):
    process = begin(tmp_path)
    assert process.stdout.readline() == "stepped\n"         # in the loop it listens; before, a signal ends it as any program
    os.kill(process.pid, signum)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status and "stopped at step" in errors, errors
    saved = SavedState(tmp_path / "unet")
    assert f"stopped at step {saved.find('unet')[1].step}," in errors
