"""Recipes in JSON and in JPEG metadata."""
import io
import json

import numpy as np
import pytest
from PIL import Image

from configs.schema import DataConfig
from data.images import read_labels
from data.landscape import check_test, find_test
from runtime.errors import UserError
from studio.recipe import FORMAT, comment_of, png_of, read, recipe, unpack, with_comment
from studio.uploads import jpeg


class Weights:
    def provenance(self):
        return {"checkpoint": "u.safetensors", "autoencoder": "a.safetensors", "weights": {"unet": "1", "autoencoder": "2"}}


def made(rng, folder):
    """A result's files as the studio writes them -> (recipe, ids)."""
    ids, style = rng.integers(0, 29, (48, 64)).astype(np.uint8), rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    found = recipe("lake", png_of(ids), "abcd", {"seed": 3}, Weights(), {"seed": 3}, {"jpeg_quality": 95})
    (folder / "styles").mkdir()
    Image.fromarray(style).save(folder / "styles/abcd.png")
    (folder / "x.json").write_text(json.dumps(found))
    (folder / "x.jpg").write_bytes(with_comment(jpeg(style), comment_of(found)))
    return found, ids


def test_a_jpeg_carries_its_recipe_and_is_the_same_picture_without_it(rng):
    image = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)
    plain, text = jpeg(image), json.dumps({"format": FORMAT, "name": "雪"})
    carrying = with_comment(plain, text)
    assert Image.open(io.BytesIO(carrying)).info["comment"].decode() == text
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(carrying))), np.asarray(Image.open(io.BytesIO(plain))))
    at = carrying.index(b"\xff\xfe")
    assert carrying[:at] + carrying[at + 4 + len(text.encode()):] == plain


@pytest.mark.parametrize("name", ["x.json", "x.jpg"])
def test_a_recipe_becomes_a_folder_that_test_py_reads(rng, tmp_path, name):
    found, ids = made(rng, tmp_path)
    assert read(tmp_path / name) == found
    arguments = unpack(tmp_path / name, tmp_path / "again")
    assert arguments[:2] == ["--input_path", str(tmp_path / "again")] and "u.safetensors" in arguments
    cases = find_test(tmp_path / "again", tmp_path / "again")
    check_test(cases, DataConfig(height=48, width=64), progress=False)
    assert [case.name for case in cases] == ["lake.png"]
    np.testing.assert_array_equal(read_labels(cases[0].mask, 48, 64), ids)


def test_a_mask_too_large_for_the_metadata_is_read_from_beside_the_jpeg(rng, tmp_path):
    found, ids = made(rng, tmp_path)
    without = comment_of({**found, "mask_png": "x" * 70_000})
    assert json.loads(comment_of(found)) == found and json.loads(without) == {**found, "mask_png": None}
    (tmp_path / "x.jpg").write_bytes(with_comment(jpeg(np.zeros((48, 64, 3), np.uint8)), without))
    with pytest.raises(UserError, match="the mask is not in it, expected .*x.png"):
        unpack(tmp_path / "x.jpg", tmp_path / "again")
    (tmp_path / "x.png").write_bytes(png_of(ids))
    unpack(tmp_path / "x.jpg", tmp_path / "again")
    np.testing.assert_array_equal(read_labels(tmp_path / "again/labels/lake.png", 48, 64), ids)


def test_what_is_no_recipe_and_names_that_leave_the_folder_are_refused(rng, tmp_path):
    found, _ = made(rng, tmp_path)
    (tmp_path / "y.json").write_text("{}")
    with pytest.raises(UserError, match="y.json: found no recipe"):
        read(tmp_path / "y.json")
    (tmp_path / "y.json").write_text(json.dumps({**found, "mask": "../../up.png"}))
    with pytest.raises(UserError, match="found mask '../../up.png', expected a file's name"):
        unpack(tmp_path / "y.json", tmp_path / "again")
    (tmp_path / "y.json").write_text(json.dumps({**found, "reference": "gone.png"}))
    with pytest.raises(UserError, match="gone.png: no such file, expected the style picture"):
        unpack(tmp_path / "y.json", tmp_path / "again")
