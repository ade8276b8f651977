import inspect

import numpy as np
import pytest

from benchmarks import two_trees
from benchmarks.twin_jittor import Ours
from runtime.errors import UserError


class Tree:
    """Stands in for a checkout's process: the other's is twice as slow, and what comes out differs by a half."""

    def __init__(self, name):
        self.slow, self.asked = name == "other", []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, do, **given):
        self.asked.append((do, given.get("t")))
        if do in ("draw", "prepare"):
            inspect.signature(getattr(Ours, do)).bind(self, **given)            # as the process itself takes it
        if do == "draw":
            return None
        if given.get("save"):
            np.save(given["save"], np.array([1.0, 2.5 if self.slow else 2.0]))
        return {"run": {"seconds": 2 - 1 * (not self.slow), "built": 0.25}, "operators": 30 - 10 * (not self.slow)}.get(do)


def test_both_run_the_same_steps_and_the_row_says_what_each_took(monkeypatch, capsys, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/twin_jittor.py").touch()
    trees = {}
    monkeypatch.setattr(two_trees, "side_of", lambda name, tree: trees.setdefault(name, Tree(name)))
    two_trees.main([str(tmp_path), "--what", "guided", "--repeats", "2"])
    row = capsys.readouterr().out
    for part in ('"ratio": 0.5', '"max_difference": 0.5', '"this_operators": 20', '"other_operators": 30', '"what": "guided"'):
        assert part in row
    assert [step for step in trees["this"].asked if step[0] != "draw"] == trees["other"].asked
    assert [t for _, t in trees["other"].asked] == [None, 500, 499, 480, 479, 400]


def test_a_folder_that_is_no_checkout_is_an_error_of_one_line(tmp_path):
    with pytest.raises(UserError, match="is no checkout of this repository"):
        two_trees.main([str(tmp_path)])
