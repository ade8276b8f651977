"""sampling/submission.py: the results folder of one run."""
import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from configs.schema import OutputConfig
from runtime.errors import RunError, UserError
from runtime.files import sha256
from sampling.submission import Submission, not_an_input
from tests.helpers import run_python

SETTINGS = {"weights": {"unet": "a"}, "sampling": {"seed": 0}}


def submission(folder, settings=SETTINGS, inputs=None, **options):
    """A Submission of 16x12 images."""
    return Submission(folder, settings, inputs or {"a.b.png": "1"}, 12, 16, OutputConfig(), **options)


def test_images_come_out_as_a_flat_archive_of_valid_jpegs(tmp_path, rng):
    results, stems = submission(tmp_path / "r"), ["a.b", "c d", "ä"]
    images = {stem: np.full((12, 16, 3), rng.integers(256, size=3), np.uint8) for stem in stems}
    for stem in stems:
        results.write(stem, images[stem])
    archive = results.finish(stems)
    with zipfile.ZipFile(archive) as stream:
        assert sorted(stream.namelist()) == sorted(f"{stem}.jpg" for stem in stems)
    for stem in stems:
        found = np.asarray(Image.open(results.path(stem)))
        assert found.shape == (12, 16, 3) and abs(found.astype(int) - images[stem]).max() <= 3


def test_the_same_images_make_the_same_archive(tmp_path):
    archives = []
    for name in "xy":
        results = submission(tmp_path / name)
        results.write("a.b", np.zeros((12, 16, 3), np.uint8))
        archives.append(results.finish(["a.b"]).read_bytes())
    assert archives[0] == archives[1]


def test_an_image_counts_as_done_only_when_it_is_valid(tmp_path):
    results = submission(tmp_path)
    assert not results.has("a.b")
    results.write("a.b", np.zeros((12, 16, 3), np.uint8))
    assert results.has("a.b")
    whole = results.path("a.b").read_bytes()
    for broken in (whole[:len(whole) // 2], b"", b"no image"):
        results.path("a.b").write_bytes(broken)
        assert not results.has("a.b")
    Image.new("RGB", (12, 16)).save(results.path("a.b"))
    assert "12x16" in results.problem("a.b")
    Image.new("L", (16, 12)).save(results.path("a.b"))
    assert not results.has("a.b")
    with pytest.raises(RunError, match="expected JPEG RGB 16x12"):
        results.finish(["a.b"])


def test_a_missing_image_is_not_packed_over(tmp_path):
    with pytest.raises(RunError, match="missing"):
        submission(tmp_path).finish(["a.b"])
    assert not (tmp_path / "result.zip").exists()


def test_another_call_with_the_same_settings_keeps_what_is_there(tmp_path):
    submission(tmp_path).write("a.b", np.zeros((12, 16, 3), np.uint8))
    assert submission(tmp_path, inputs={"a.b.png": "1", "more.png": "2"}).has("a.b")
    assert set(json.loads((tmp_path / "manifest.json").read_text())["inputs"]) == {"a.b.png", "more.png"}


@pytest.mark.parametrize("settings, inputs, words", [
    ({"weights": {"unet": "b"}, "sampling": {"seed": 0}}, None, 'weights was {"unet": "a"}, now {"unet": "b"}'),
    ({"weights": {"unet": "a"}, "sampling": {"seed": 1}}, None, 'sampling was {"seed": 0}'),
    (SETTINGS, {"a.b.png": "other"}, "a.b.png: the mask or its reference is not")])
def test_another_run_in_the_same_folder_is_refused_and_told_what_differs(settings, inputs, words, tmp_path):
    submission(tmp_path).write("a.b", np.zeros((12, 16, 3), np.uint8))
    with pytest.raises(UserError) as error:
        submission(tmp_path, settings, inputs)
    assert len(error.value.problems) == 1 and words in error.value.problems[0]
    assert not submission(tmp_path, settings, inputs, overwrite=True).has("a.b")


def test_a_folder_from_before_there_were_precisions_goes_on_in_float32_alone(tmp_path):
    submission(tmp_path).write("a.b", np.zeros((12, 16, 3), np.uint8))
    with pytest.raises(UserError, match='precision was "float32", now "bfloat16"'):
        submission(tmp_path, {**SETTINGS, "precision": "bfloat16"})
    assert submission(tmp_path, {**SETTINGS, "precision": "float32"}).has("a.b")


def test_a_manifest_of_before_is_read_in_todays_words_on_its_own_schedule(tmp_path):
    old = {"steps": 50, "start": 20, "spacing": "published", "levels": 0, "published_offset": False, "guidance": 2.0}
    new = {"t_start": 95, "steps": 20, "spacing": "uniform", "timesteps": [], "t_noise": 0, "guidance": 2.0}
    submission(tmp_path, {"sampling": {"rounds": [old], "seed": 0}}, timesteps=250)
    with pytest.raises(UserError, match="sampling was"):
        submission(tmp_path, {"sampling": {"rounds": [new], "seed": 0}}, timesteps=1000)
    submission(tmp_path, {"sampling": {"rounds": [new], "seed": 0}}, timesteps=250)
    assert json.loads((tmp_path / "manifest.json").read_text())["settings"]["sampling"]["rounds"] == [new]


def test_images_of_somebody_else_are_not_mixed_in_nor_removed(tmp_path):
    Image.new("RGB", (16, 12)).save(tmp_path / "holiday.jpg")
    with pytest.raises(UserError, match="holds images but no manifest.json"):
        submission(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="not a manifest"):
        submission(tmp_path)


def test_overwriting_removes_what_a_run_wrote_and_no_photo_of_the_users(tmp_path):
    folder = tmp_path / "r"
    submission(folder).write("a.b", np.zeros((12, 16, 3), np.uint8))
    Image.new("RGB", (16, 12)).save(folder / "holiday.jpg")
    again = submission(folder, overwrite=True)
    assert not again.has("a.b") and (folder / "holiday.jpg").exists()
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (16, 12)).save(photos / "a.b.jpg")
    with pytest.raises(UserError, match="expected an empty folder or one of this command; nothing there was touched"):
        submission(photos, overwrite=True)
    assert [path.name for path in photos.iterdir()] == ["a.b.jpg"]


@pytest.mark.parametrize("name", ["../escaped", "/absolute", "sub/inside"])
def test_a_manifest_cannot_name_files_outside_its_folder(name, tmp_path):
    (tmp_path / "escaped.jpg").write_bytes(b"mine")
    folder = tmp_path / "r"
    submission(folder, inputs={f"{name}.png": "1"})
    submission(folder, overwrite=True)
    assert (tmp_path / "escaped.jpg").exists()


@pytest.mark.parametrize("output", ["photos", "photos/../photos", "link"])
def test_a_folder_that_is_read_from_is_not_written_to(output, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    with pytest.raises(UserError, match="is a folder that is read from"):
        not_an_input(tmp_path / output, {tmp_path / "photos"})
    not_an_input(tmp_path / "photos/results", {tmp_path / "photos"})


def test_another_picture_under_a_masks_name_is_painted_over(tmp_path):
    results = submission(tmp_path)
    results.write("a.b", np.zeros((12, 16, 3), np.uint8))
    line = (tmp_path / "images.sha256").read_text()
    assert line == f"{sha256(results.path('a.b'))}  a.b.jpg\n"
    Image.new("RGB", (16, 12), "red").save(results.path("a.b"))
    assert "another picture" in results.problem("a.b") and not submission(tmp_path).has("a.b")
    results.write("a.b", np.zeros((12, 16, 3), np.uint8))
    assert submission(tmp_path).has("a.b")


def test_in_a_folder_of_an_earlier_version_images_count_as_they_did(tmp_path):
    submission(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["images"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    Image.new("RGB", (16, 12)).save(tmp_path / "a.b.jpg")
    assert submission(tmp_path).has("a.b") and "images" not in json.loads((tmp_path / "manifest.json").read_text())


def test_a_second_process_in_a_results_folder_is_told_of_the_first(tmp_path):
    submission(tmp_path)
    done = run_python("import sys\nfrom sampling.submission import claim\nfrom runtime.errors import run_script\n"
                      "run_script(lambda argv: claim(argv[0]))", str(tmp_path))
    assert done.returncode == 2 and f"process {os.getpid()} on " in done.stderr and len(done.stderr.splitlines()) == 1
