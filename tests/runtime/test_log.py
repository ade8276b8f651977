import io
import json
import sys

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.log import RunLog, progress_bar


def test_what_is_written_is_read_back_by_kind(tmp_path):
    log = RunLog(tmp_path / "run")
    log.write("train", step=1, loss=np.float32(0.5), where=tmp_path)
    log.write("validate", step=1, loss=0.4)
    log.write("train", step=2, loss=np.array([1, 2]))
    again = RunLog(tmp_path / "run")
    assert [entry["loss"] for entry in again.history("train")] == [0.5, [1, 2]]
    assert len(again.history()) == 3 and again.history("absent") == []


def test_a_line_is_on_the_disk_when_write_returns(tmp_path):
    log = RunLog(tmp_path)
    log.write("train", step=1)
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"kind": "train", "step": 1}


def test_a_half_written_last_line_is_dropped_by_the_next_write_only(tmp_path):
    log = RunLog(tmp_path)
    log.write("train", step=1)
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind": "train", "st\xc3')
    half = path.read_bytes()
    again = RunLog(tmp_path)
    assert [entry["step"] for entry in again.history()] == [1] and path.read_bytes() == half  # reading changes nothing
    again.write("train", step=2)
    assert [entry["step"] for entry in RunLog(tmp_path).history()] == [1, 2]


def test_resuming_drops_what_was_logged_past_the_checkpoint(tmp_path):
    log = RunLog(tmp_path)
    log.write("start", seed=0, note="l'été\u2028")
    for step in (10, 20, 30):
        log.write("train", step=step)
    log.truncate_after(20)
    log.write("train", step=21)
    assert [entry.get("step") for entry in log.history()] == [None, 10, 20, 21]
    assert log.history("start")[0]["note"] == "l'été\u2028"


def test_a_run_without_a_log_has_an_empty_history(tmp_path):
    log = RunLog(tmp_path / "new")
    log.truncate_after(5)
    assert log.history() == []


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"kind": "a"}\nnot json\n')
    with pytest.raises(UserError, match="log.jsonl: line 2 is not JSON"):
        RunLog(tmp_path).history()


def test_a_bar_counts_its_items_and_shows_a_line_in_a_log_file(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress_bar(range(5), label="reading")) == [0, 1, 2, 3, 4]
    steps = progress_bar(total=10, initial=4, unit="step")
    steps.update(6)
    steps.close()
    shown = stream.getvalue()
    assert "reading: 100%" in shown and "5/5" in shown and "10/10" in shown and shown.count("\r") <= 6
