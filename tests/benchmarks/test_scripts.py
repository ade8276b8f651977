"""Every benchmark starts as a module and as a file."""
import ast
import subprocess
import sys

import pytest

from tests.helpers import ROOT

SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))
OWN = {path.name for path in ROOT.iterdir() if path.is_dir()}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_finds_its_repository_before_it_imports_from_it(script):
    body = ast.parse(script.read_text(encoding="utf-8")).body
    found = [i for i, line in enumerate(body) if isinstance(line, ast.If) and ast.unparse(line.test) == "not __package__"]
    ours = [i for i, line in enumerate(body) if isinstance(line, ast.ImportFrom) and line.module.split(".")[0] in OWN]
    assert len(found) == 1 and found[0] < min(ours)
    assert ast.unparse(body[found[0]].body[0]) == "sys.path[0] = str(Path(__file__).resolve().parents[1])"


@pytest.mark.parametrize("command", [["-m", "benchmarks.fid_stream"], [str(ROOT / "benchmarks/fid_stream.py")]])
def test_a_benchmark_explains_itself_run_as_a_module_and_as_a_file(command):
    done = subprocess.run([sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr
