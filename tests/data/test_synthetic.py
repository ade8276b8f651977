"""The synthetic landscapes: the same from the same numbers, and a style that the mask does not tell."""
import json
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.schema import DataConfig
from data import synthetic
from data.landscape import CLASSES, check_test, check_train, find_test, find_train
from data.scenery.palettes import PALETTES
from data.synthetic import family_of, palette_of, references, scene, write_dataset
from runtime.errors import UserError

ROOT = Path(synthetic.__file__).parents[1]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write(folder, **options):
    write_dataset(folder, **{**dict(train=3, test=2, width=40, height=30, progress=False), **options})


@pytest.mark.parametrize("height, width", [(30, 40), (17, 61), (70, 33)])
def test_a_scene_has_any_size_asked_for(height, width):
    image, labels = scene(0, 3, height, width)
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert labels.shape == (height, width) and labels.dtype == np.uint8 and labels.max() < len(CLASSES)


def test_a_scene_depends_on_its_seed_and_index_alone():
    first = scene(5, 7, 30, 40)
    scene(5, 8, 30, 40)
    for a, b in zip(first, scene(5, 7, 30, 40)):
        np.testing.assert_array_equal(a, b)
    assert (scene(5, 8, 30, 40)[0] != first[0]).mean() > 0.5 and (scene(6, 7, 30, 40)[0] != first[0]).mean() > 0.5


def test_a_scene_is_the_same_in_another_process():
    code = (
        "import zlib; from data.synthetic import scene; print([zlib.crc32(a.tobytes()) for a in scene(1, 2, 30, 40)])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout.strip() == str([zlib.crc32(a.tobytes()) for a in scene(1, 2, 30, 40)])


def test_a_larger_picture_shows_the_same_scene():
    small, large = scene(0, 4, 48, 64)[1], scene(0, 4, 144, 192)[1]
    assert (small == large[1::3, 1::3]).mean() > 0.85


@pytest.mark.parametrize("index", [0, 1, 2, 5])
def test_a_palette_changes_the_colours_strongly_and_the_mask_not_at_all(index):
    pictures = {name: scene(0, index, 30, 40, palette=name) for name in ("noon", "night", "sunset", "winter")}
    masks = [labels for _, labels in pictures.values()]
    assert all((mask == masks[0]).all() for mask in masks)
    images = [image.astype(float) for image, _ in pictures.values()]
    for i, a in enumerate(images):
        for b in images[:i]:
            assert np.abs(a - b).mean() > 20


def test_every_palette_paints_and_an_unknown_one_is_named():
    for name in PALETTES:
        assert scene(0, 1, 20, 30, palette=name)[0].std() > 4
    with pytest.raises(ValueError, match="found 'noonn', expected one of noon"):
        scene(0, 1, 20, 30, palette="noonn")
    with pytest.raises(ValueError, match="expected at least 16x16"):
        scene(0, 1, 8, 30)


def test_scenes_use_most_classes_families_and_palettes():
    seen = set().union(*(np.unique(scene(0, i, 48, 64)[1]) for i in range(40)))
    assert (
        len(seen) >= 20
        and {CLASSES.index(name) for name in ("sky", "tree", "water", "mountain", "sea", "road")} <= seen
    )
    assert len({family_of(0, i) for i in range(60)}) == len(synthetic.FAMILIES)
    assert len({palette_of(0, i) for i in range(120)}) == len(PALETTES)


def test_the_data_set_passes_the_challenges_checks(tmp_path, capsys):
    write(tmp_path)
    config = DataConfig(height=30, width=40)
    pairs, cases = find_train(tmp_path / "train"), find_test(tmp_path / "test", tmp_path / "train")
    check_train(pairs, config, progress=False)
    check_test(cases, config, progress=False)
    assert len(pairs) == 3 and len(cases) == 2
    assert capsys.readouterr().out.startswith(
        f"{tmp_path}: wrote 3 training and 2 test scenes of 40x30 with seed 0 in "
    )
    for case in cases:
        truth = tmp_path / "test_images" / f"{case.stem}.jpg"
        assert Image.open(truth).size == (40, 30) and Image.open(case.mask).mode == "L"
    image, labels = scene(0, 1, 30, 40)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "train/labels/train_00001.png")), labels)
    stored = np.asarray(Image.open(tmp_path / "train/imgs/train_00001.jpg")).astype(float)
    assert np.abs(stored - image).mean() < 6


def test_a_scene_of_a_data_set_does_not_depend_on_how_many_there_are(tmp_path):
    write(tmp_path / "few")
    write(tmp_path / "more", train=5, test=3)
    few, more = files(tmp_path / "few"), files(tmp_path / "more")
    assert all(more[name] == data for name, data in few.items() if not name.endswith(".json"))


def test_references_are_training_scenes_of_another_palette_each_used_once():
    chosen = references(0, 60, 20)
    assert len(set(chosen)) == 20 and all(0 <= k < 60 for k in chosen)
    assert all(palette_of(0, k) != palette_of(0, synthetic.FIRST_TEST + i) for i, k in enumerate(chosen))
    assert sorted(references(0, 2, 4)) == [0, 0, 1, 1]


def test_the_same_call_again_writes_nothing_and_says_so(tmp_path, capsys):
    write(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    write(tmp_path)
    assert "already holds 3 training and 2 test scenes of 40x30 with seed 0" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_a_stopped_call_goes_on_and_draws_only_what_is_missing(tmp_path, monkeypatch):
    drawn = []

    def stopping(*args):
        drawn.append(args[1])
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return scene(*args)

    monkeypatch.setattr(synthetic, "scene", stopping)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a")
    write(tmp_path / "a")
    monkeypatch.undo()
    write(tmp_path / "b")
    assert len(drawn) == 3 + 3 and files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_a_killed_command_leaves_nobody_who_goes_on_writing(tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "data.synthetic", "--output", str(tmp_path / "set"), "--train", "3000",
                                "--test", "1", "--width", "24", "--height", "18"], cwd=ROOT, stderr=subprocess.DEVNULL)
    children = lambda: {int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}
    end = time.monotonic() + 60
    while not list((tmp_path / "set").glob("train/labels/*.png")) and time.monotonic() < end:
        time.sleep(0.05)
    theirs = children()
    process.kill()
    process.wait()
    while any(Path(f"/proc/{child}").exists() for child in theirs) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(theirs) > 1 and not [child for child in theirs if Path(f"/proc/{child}").exists()]


def test_several_processes_write_the_same_files(tmp_path):
    for folder, processes in (("one", 1), ("two", 2)):
        write(tmp_path / folder, train=60, test=8, width=24, height=18, processes=processes)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one == two and len(one) == 2 * 68 + 2


def test_a_folder_with_something_else_is_refused_and_replaced_only_when_asked(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match=r"found scenes with train 3 \(asked: 4\), expected an empty or new folder"):
        write(tmp_path, train=4)
    write(tmp_path, train=2, seed=1, overwrite=True)
    assert len(find_train(tmp_path / "train")) == 2
    assert json.loads((tmp_path / "synthetic.json").read_text())["seed"] == 1
    (tmp_path / "synthetic.json").unlink()
    with pytest.raises(UserError, match="found other files"):
        write(tmp_path)
    (tmp_path / "train" / "imgs" / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match="holiday.jpg: found a file that is not of this data set"):
        write(tmp_path, overwrite=True)
    assert (tmp_path / "train" / "imgs" / "train_00000.jpg").exists()


@pytest.mark.parametrize("options, words", [(dict(train=0), "--train: found 0, expected at least 1"),
                                            (dict(width=8), "--width: found 8, expected at least 16"),
                                            (dict(seed=-1), "--seed: found -1, expected at least 0")])
def test_impossible_numbers_are_named(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        write(tmp_path / "d", **options)
    assert not (tmp_path / "d").exists()


def test_the_command_line_teaches_and_ends_with_status_2_on_a_mistake(tmp_path):
    def run(*args):
        return subprocess.run(
            [sys.executable, "-m", "data.synthetic", *args],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )

    assert "python train.py --input_path DIR/train" in run("--help").stdout
    wrong = run("--output", str(tmp_path / "d"), "--train", "0")
    assert wrong.returncode == 2 and wrong.stderr == "error: --train: found 0, expected at least 1\n"
