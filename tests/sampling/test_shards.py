"""sampling/shards.py, plan.py, leases.py, merge.py: many processes, every mask once, one unit lost at most."""
import os
import shutil
import signal
import threading
import time
import zipfile

import numpy as np
import pytest

from configs.schema import Config, OutputConfig
from data.landscape import find_test
from data.synthetic import write_dataset
from runtime.errors import UserError
from sampling import leases, merge, shards
from sampling.plan import make_plan, open_plan
from tests.helpers import run_python

MASKS, UNIT = 23, 5


class Painted:
    """A painter without networks: an image that follows from the mask's name alone."""

    def __init__(self, unit, on_image=lambda stem: None):
        self.unit, self.on_image = unit, on_image

    def run(self, cases):
        for case in cases:
            self.on_image(case.stem)
            self.unit.write(case.stem, np.random.default_rng(list(case.stem.encode())).integers(0, 256, (48, 64, 3), np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_dataset(folder, train=4, test=MASKS, width=64, height=48, seed=3, progress=False)
    return folder


@pytest.fixture
def plan(data, tmp_path):
    make_plan(tmp_path, data / "test", data / "train", UNIT)
    return open_plan(tmp_path)


def config():
    found = Config()
    found.data.height, found.data.width, found.output = 48, 64, OutputConfig()
    return found


def paint(plan, folder, part=(0, 1), tar=False, on_image=lambda stem: None):
    return shards.paint(plan, folder, part, lambda unit: Painted(unit, on_image), config(), tar, expires=60)


@pytest.mark.parametrize("text, environ, expected", [
    ("3/8", {}, (3, 8)), (None, {}, None), (None, {"SLURM_ARRAY_TASK_ID": "5"}, None),
    (None, {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "8"}, (5, 8)),
    (None, {"SLURM_ARRAY_TASK_ID": "30", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "10",
            "SLURM_ARRAY_TASK_STEP": "10"}, (2, 4)),
    ("0/2", {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "8"}, (0, 2))])
def test_the_shard_is_the_one_told_or_the_place_in_a_job_array(text, environ, expected):
    assert shards.asked(text, environ) == expected


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "1/2/3"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UserError, match="expected I/N"):
        shards.asked(text, {})


def test_a_plan_gives_every_unit_without_the_others(plan, data):
    cases = find_test(data / "test", data / "train")
    assert [case for k in range(len(plan)) for case in plan.cases(k)] == cases and len(plan) == 5
    text = (plan.folder / "masks.jsonl").read_bytes()
    third = text.index(plan.cases(3)[0].name.encode()) - 2
    (plan.folder / "masks.jsonl").write_bytes(b"?" * third + text[third:])       # what comes before it is not read
    assert plan.cases(3) == cases[15:20]
    with pytest.raises(UserError, match="damaged list of masks"):
        (plan.folder / "offsets.bin").write_bytes(b"")
        open_plan(plan.folder.parent)


@pytest.mark.parametrize("tar", [False, True])
def test_several_at_once_paint_every_mask_once_and_the_merge_packs_them(plan, tmp_path, tar):
    seen, counts = [], []
    slowly = lambda stem: (seen.append(stem), time.sleep(0.002))
    threads = [threading.Thread(target=lambda i=i: counts.append(paint(plan, tmp_path, (i, 3), tar, slowly))) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [f"test_{i:05d}" for i in range(MASKS)] and sum(counts) == 5 and max(counts) < 5
    found = len(list(tmp_path.glob("*.jpg"))), len(list(tmp_path.glob("tars/*.tar")))
    assert found == ((0, 5) if tar else (MASKS, 0))
    merge.main([str(tmp_path), "--zip"])
    with zipfile.ZipFile(tmp_path / "result.zip") as archive:
        assert sorted(archive.namelist()) == sorted(f"{stem}.jpg" for stem in seen)
    assert len((tmp_path / "images.sha256").read_text().splitlines()) == MASKS
    assert paint(plan, tmp_path, tar=tar) == 0                                  # nothing is left


def test_a_killed_process_loses_its_unit_at_most_and_another_takes_it_over_at_once(plan, tmp_path):
    done = run_python(f"""
import os, signal, sys
from pathlib import Path
from sampling.plan import open_plan
from tests.sampling.test_shards import paint
paint(open_plan({str(tmp_path)!r}), Path({str(tmp_path)!r}),
      on_image=lambda stem: stem == "test_00012" and os.kill(os.getpid(), signal.SIGKILL))""")
    assert done.returncode == -signal.SIGKILL and [p.name for p in (tmp_path / "leases").iterdir()] == ["000002"]
    seen = []
    assert paint(plan, tmp_path, on_image=seen.append) == 3
    assert sorted(seen) == [f"test_{i:05d}" for i in range(10, MASKS)]          # units 0 and 1 were done
    assert merge.merge(tmp_path) == MASKS


def test_a_lease_of_another_machine_is_respected_until_it_is_not_touched_any_more(tmp_path):
    (tmp_path / "leases").mkdir()
    theirs = tmp_path / "leases/000001"
    theirs.write_text("elsewhere 1\n")
    with leases.lease(tmp_path, "000001", expires=100) as mine:
        assert not mine
    os.utime(theirs, (time.time() - 101,) * 2)
    with leases.lease(tmp_path, "000001", expires=100) as mine:
        assert mine and theirs.exists()
        with leases.lease(tmp_path, "000001", expires=100) as again:
            assert not again
    assert not theirs.exists()


def test_a_unit_with_a_wrong_mask_is_named_and_the_others_are_painted(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    bad = find_test(tmp_path / "data/test", tmp_path / "data/train")[7].mask
    bad.write_bytes(b"no mask")
    make_plan(tmp_path / "out", tmp_path / "data/test", tmp_path / "data/train", UNIT)
    with pytest.raises(UserError, match="test_00007.png: found a file that cannot be read"):
        paint(open_plan(tmp_path / "out"), tmp_path / "out")
    assert len(list((tmp_path / "out/units").iterdir())) == 4


def shuffled(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("tar, damage, line", [
    (False, lambda f: (f / "test_00003.jpg").unlink(), "test_00003.jpg: missing; remove"),
    (False, lambda f: shuffled(f, "test_00003.jpg"), "test_00003.jpg: is another image than the one that was painted"),
    (False, lambda f: (f / "units/000004.json").unlink(), "000004.json: missing, expected the unit of test_00020.jpg to"),
    (False, lambda f: (f / "units/000004.json").write_text("{}"), "000004.json: no manifest of a unit"),
    (False, lambda f: (f / "units/000001.json").write_bytes((f / "units/000000.json").read_bytes()), "none of its masks"),
    (True, lambda f: (f / "tars/000002.tar").unlink(), "000002.tar: no whole tar file"),
    (True, lambda f: (f / "tars/000002.tar").write_bytes((f / "tars/000002.tar").read_bytes()[:9000]), "000002.tar: "),
    (True, lambda f: (f / "tars/000002.tar").write_bytes((f / "tars/000001.tar").read_bytes()), "found 5 files, expected the")])
def test_the_merge_names_what_is_wrong(tar, damage, line, plan, tmp_path):
    paint(plan, tmp_path, tar=tar)
    damage(tmp_path)
    with pytest.raises(UserError) as raised:
        merge.main([str(tmp_path), "--zip"])
    assert line in str(raised.value) and not (tmp_path / "result.zip").exists() and not (tmp_path / "images.sha256").exists()
