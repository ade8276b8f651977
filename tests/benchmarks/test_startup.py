"""benchmarks/startup.py: what it waits for."""
import sys

import pytest

from benchmarks.startup import measure
from runtime.errors import RunError


def script(text):
    return [sys.executable, "-c", text]


def test_the_time_ends_with_the_picture_not_with_the_process(tmp_path):
    picture = tmp_path / "one.jpg"
    picture.write_bytes(b"of the run before")
    there, ended = measure("torch", script(f"import time; open({str(picture)!r}, 'w'); time.sleep(0.5)"), picture, tmp_path)
    assert there + 0.3 < ended


@pytest.mark.parametrize("text", ["raise SystemExit('no weights')", "print('no weights')"])
def test_a_run_that_leaves_no_picture_is_an_error_that_says_what_it_said(text, tmp_path):
    with pytest.raises(RunError, match="no weights"):
        measure("torch", script(text), tmp_path / "one.jpg", tmp_path)
