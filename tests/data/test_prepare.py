"""data/prepare.py: any sizes become one, photo and mask are cut alike, and what is left out is said."""
import numpy as np
import pytest
from PIL import Image

from configs.schema import DataConfig
from data.landscape import check_train, find_train
from data.prepare import main
from runtime.errors import UserError


def put(folder, stem, width, height, mask=None, image=True):
    """A photo that is white where its mask says 1, in the right half."""
    ids = np.zeros((height, width), np.uint8)
    ids[:, width // 2:] = 1
    for name in ("P", "M"):
        (folder / name).mkdir(exist_ok=True)
    if image:
        Image.fromarray(np.repeat(ids[..., None] * 255, 3, 2)).save(folder / "P" / f"{stem}.jpg", quality=95)
    Image.fromarray(ids if mask is None else mask).save(folder / "M" / f"{stem}.png")


def run(folder, *more):
    folders = "--images", str(folder / "P"), "--labels", str(folder / "M"), "--output", str(folder / "out")
    main([*folders, "--size", "64x48", *more])
    return find_train(folder / "out")


@pytest.mark.parametrize("crop", ["cover", "stretch"])
@pytest.mark.parametrize("width, height", [(64, 48), (200, 90), (90, 200), (45, 40)])
def test_photo_and_mask_of_any_size_come_out_alike(crop, width, height, tmp_path):
    put(tmp_path, "a.b", width, height)
    (pair,) = run(tmp_path, "--crop", crop)
    check_train([pair], DataConfig(height=48, width=64), progress=False)
    image, ids = np.asarray(Image.open(pair.image)), np.asarray(Image.open(pair.labels))
    assert image.shape == (48, 64, 3) and ids.shape == (48, 64) and set(np.unique(ids)) == {0, 1}
    assert ((image[..., 0] > 127) == (ids == 1)).mean() > 0.97
    assert (tmp_path / "out" / "dropped.txt").read_text() == ""


def test_a_turned_photo_is_set_upright_with_its_mask(tmp_path):
    put(tmp_path, "a", 64, 48)
    exif = Image.Exif()
    exif[274] = 6                                                       # stored lying on its side
    upright = Image.open(tmp_path / "P" / "a.jpg")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "P" / "a.jpg", exif=exif, quality=95)
    (pair,) = run(tmp_path)
    assert np.asarray(Image.open(pair.image))[:, 50:].mean() > 240


def test_what_is_left_out_is_said(tmp_path, capsys):
    put(tmp_path, "good", 80, 60)
    put(tmp_path, "small", 16, 12)
    put(tmp_path, "shape", 80, 60, mask=np.zeros((60, 60), np.uint8))
    put(tmp_path, "ids", 80, 60, mask=np.full((60, 80), 77, np.uint8))
    put(tmp_path, "alone", 80, 60, image=False)
    put(tmp_path, "broken", 80, 60)
    (tmp_path / "P" / "broken.jpg").write_bytes(b"no picture")
    (pair,) = run(tmp_path)
    lines = (tmp_path / "out" / "dropped.txt").read_text().splitlines()
    assert pair.stem == "good" and [line.split(":")[0] for line in lines] == ["alone", "broken", "ids", "shape", "small"]
    for line, words in zip(lines, ("no photo", "cannot be read", "class id 77", "another shape", "too small")):
        assert words in line
    assert "1 pairs of 64x48" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds something already"):
        run(tmp_path)
