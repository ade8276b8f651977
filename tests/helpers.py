"""Marks and small tools for tests."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


needs_cuda = pytest.mark.cuda    # conftest.py skips it, with the reason, where Jittor runs on the CPU


def run_python(code, *args, **environ):
    """Runs Python source in a process of its own, in the repository; environ: variables to set, None removes one."""
    values = {**os.environ, **environ}
    values = {name: value for name, value in values.items() if value is not None}
    return subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, env=values, capture_output=True, text=True,
                          timeout=1800)
