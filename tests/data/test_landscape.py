"""The challenge's folders: what is accepted, and one line for everything that is not."""
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from configs.schema import DataConfig
from data.images import image_problem, mask_problem
from data.landscape import CLASSES, check_test, check_train, find_test, find_train, read_image, read_labels
from runtime.errors import UserError

CONFIG = DataConfig(height=24, width=32)


def colours(height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ids(height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 29, (height, width), dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)
    return path


@pytest.fixture
def train(tmp_path):
    for i, stem in enumerate(("b", "a.1", "c")):
        save(tmp_path / "imgs" / f"{stem}.jpg", colours(seed=i))
        save(tmp_path / "labels" / f"{stem}.png", ids(seed=i))
    return tmp_path


@pytest.fixture
def test(tmp_path, train):
    for i, stem in enumerate(("m.x", "n")):
        save(tmp_path / "T" / "val_B_labels_resized" / f"{stem}.png", ids(seed=9 + i))
    (tmp_path / "T" / "label_to_img.json").write_text(json.dumps({"n.png": "a.1.png", "m.x.png": "c.jpg"}))
    return tmp_path / "T"


def problems(call, *args):
    with pytest.raises(UserError) as error:
        call(*args)
    return error.value.problems


def train_problems(folder, config=CONFIG):
    return problems(lambda: check_train(find_train(folder, config.exclude), config, progress=False))


def check_cases(test, train):
    check_test(find_test(test, train), CONFIG, progress=False)


# ------------------------------------------------------------------------------------------------ training folders

def test_there_are_29_classes_and_their_order_is_the_challenges():
    assert len(CLASSES) == 29 and (CLASSES[0], CLASSES[1], CLASSES[28]) == ("mountain", "sky", "other")


def test_pairs_come_sorted_by_stem_and_pass_the_check(train):
    pairs = find_train(train)
    assert [(p.stem, p.image.name, p.labels.name) for p in pairs] == [
        ("a.1", "a.1.jpg", "a.1.png"), ("b", "b.jpg", "b.png"), ("c", "c.jpg", "c.png")]
    check_train(pairs, CONFIG, progress=False)


def test_excluded_stems_are_left_out_and_an_unknown_one_is_named(train):
    assert [p.stem for p in find_train(train, ["b"])] == ["a.1", "c"]
    check_train(find_train(train, ["b"]), DataConfig(height=24, width=32, exclude=["b"]), progress=False)
    (line,) = train_problems(train, DataConfig(height=24, width=32, exclude=["b", "typo"]))
    assert line.startswith("data.exclude: found 'typo', expected the stem")


@pytest.mark.parametrize("suffix", [".jpeg", ".png", ".JPG"])
def test_a_training_image_may_have_another_suffix(train, suffix):
    (train / "imgs" / "b.jpg").unlink()
    save(train / "imgs" / f"b{suffix}", colours())
    check_train(find_train(train), CONFIG, progress=False)


@pytest.mark.parametrize("picture", [Image.new("L", (9, 5)), Image.new("RGBA", (7, 50)), Image.new("CMYK", (70, 50)),
                                     Image.new("P", (640, 100)), Image.new("1", (3, 3)), Image.new("LA", (3, 4))])
def test_a_training_image_may_have_any_mode_and_size(train, picture):
    (train / "imgs" / "b.jpg").unlink()
    picture.save(train / "imgs" / "b.jpeg" if picture.mode == "CMYK" else train / "imgs" / "b.png")
    check_train(find_train(train), CONFIG, progress=False)


def test_all_problems_of_a_training_folder_are_reported_at_once(train):
    (train / "imgs" / "a.1.jpg").unlink()
    (train / "labels" / "b.png").unlink()
    mask = ids()
    mask[3, 4:7] = [29, 255, 29]
    save(train / "labels" / "c.png", mask)
    lines = train_problems(train)
    assert len(lines) == 3
    assert lines[0].endswith("labels/a.1.png: found no image of this mask, expected imgs/a.1.jpg")
    assert lines[1].endswith("imgs/b.jpg: found no mask of this image, expected labels/b.png")
    assert lines[2].endswith("labels/c.png: found class ids 29, 255 in 3 pixels, expected 0 to 28")


@pytest.mark.parametrize("part", ["imgs/b.jpg", "labels/b.png"])
@pytest.mark.parametrize("left", [0, 20, 0.5])
def test_a_truncated_file_is_named(train, part, left):
    data = (train / part).read_bytes()
    (train / part).write_bytes(data[:int(len(data) * left) if isinstance(left, float) else left])
    (line,) = train_problems(train)
    assert line.startswith(f"{train / part}: found a file that cannot be read (") and "expected a whole image" in line


def test_a_file_that_is_no_image_is_named(train):
    (train / "imgs" / "b.jpg").write_text("hello")
    (line,) = train_problems(train)
    assert line.startswith(f"{train / 'imgs/b.jpg'}: found a file that cannot be read (cannot identify image file")


@pytest.mark.parametrize(
    "picture, found",
    [
        (Image.new("RGB", (32, 24)), "found colour (mode RGB)"),
        (Image.new("P", (32, 24)), "found a palette (mode P)"),
        (Image.new("RGBA", (32, 24)), "found colour with transparency (mode RGBA)"),
        (Image.new("1", (32, 24)), "found black and white of 1 bit (mode 1)"),
        (Image.new("L", (24, 32)), "found a mask of 24x32 pixels, expected 32x24 or another size of shape 4:3"),
        (Image.new("L", (30, 30)), "found a mask of 30x30 pixels"),
        (Image.new("L", (32, 24), 29), "found class id 29 in 768 pixels"),
    ],
)
def test_a_wrong_mask_is_named_with_what_was_found(train, picture, found):
    save(train / "labels" / "b.png", picture)
    (line,) = train_problems(train)
    assert line.startswith(f"{train / 'labels/b.png'}: {found}")


@pytest.mark.parametrize("size", [(64, 48), (8, 6), (512, 384), (683, 512)])
def test_a_mask_may_have_another_size_of_the_same_shape(train, size):
    save(train / "labels" / "b.png", Image.new("L", size))
    check_train(find_train(train), CONFIG, progress=False)


def test_a_mask_of_16_bits_is_accepted_and_read(train):
    mask = ids()
    path = save(train / "labels" / "b.png", Image.fromarray(mask.astype(np.uint16)))
    assert Image.open(path).mode in ("I;16", "I")
    check_train(find_train(train), CONFIG, progress=False)
    np.testing.assert_array_equal(read_labels(path, 24, 32), mask)
    save(path, Image.fromarray(mask.astype(np.uint16) + 256))
    assert "found class ids 256, 257" in train_problems(train)[0]


def test_folders_that_are_missing_or_empty_are_named(tmp_path, train):
    assert "found no such folder" in problems(find_train, tmp_path / "nowhere")[0]
    (tmp_path / "E" / "labels").mkdir(parents=True)
    assert "found no imgs/, expected" in problems(find_train, tmp_path / "E")[0]
    (tmp_path / "E" / "imgs").mkdir()
    assert "found no images, expected" in problems(find_train, tmp_path / "E")[0]
    assert problems(find_train, train / "imgs")[0].endswith(f"did you mean {train}?")
    assert "besides the excluded ones" in problems(find_train, train, ["a.1", "b", "c"])[0]
    assert "found no pairs" in problems(check_train, [], CONFIG)[0]


def test_two_images_of_one_stem_are_an_error(train):
    save(train / "imgs" / "b.png", colours())
    assert "found a second image of this stem (b.jpg)" in problems(find_train, train)[0]


# ------------------------------------------------------------------------------------------------ test folders

def test_cases_come_sorted_with_the_whole_stem_and_their_references(test, train):
    cases = find_test(test, train)
    assert [(c.name, c.stem, c.mask.parent.name, c.reference.name) for c in cases] == [
        ("m.x.png", "m.x", "val_B_labels_resized", "c.jpg"), ("n.png", "n", "val_B_labels_resized", "a.1.jpg")]
    check_cases(test, train)


def test_every_way_to_name_the_folders_means_the_same(test, train, monkeypatch):
    expected = [(c.name, c.mask.read_bytes(), c.reference) for c in find_test(test, train)]

    def found(*args):
        return [(c.name, c.mask.read_bytes(), c.reference) for c in find_test(*args)]

    labels = test / "val_B_labels_resized"
    assert found(labels, train / "imgs") == expected                   # the table beside the folder
    (test / "label_to_img.json").rename(labels / "label_to_img.json")
    assert found(test, train) == found(labels, train) == expected      # the table inside it
    (labels / "label_to_img.json").rename(train / "label_to_img.json")
    monkeypatch.chdir(train)
    assert found(labels, train) == found(test, train) == expected      # the table in the working directory
    labels.rename(test / "labels")
    assert found(test, train) == expected


def test_two_folders_of_masks_are_an_error_that_names_both(test, train):
    save(test / "val_A_labels_resized" / "n.png", ids())
    (line,) = problems(find_test, test, train)
    assert str(test / "val_A_labels_resized") in line and str(test / "val_B_labels_resized") in line
    assert len(find_test(test / "val_B_labels_resized", train)) == 2


def test_masks_entries_and_references_that_do_not_match_are_reported_at_once(test, train):
    (test / "label_to_img.json").write_text(json.dumps({"n.png": "gone.jpg", "extra.png": "c.jpg"}))
    lines = problems(check_cases, test, train)
    assert len(lines) == 3
    assert lines[0].startswith("label_to_img.json: found an entry 'extra.png', expected that mask in ")
    assert lines[1].endswith("m.x.png: found no entry for this mask in label_to_img.json, expected its reference image")
    assert lines[2].startswith("label_to_img.json: found reference 'gone.jpg' of n.png, expected that file in ")


def test_wrong_masks_and_references_of_a_test_set_are_named(test, train):
    save(test / "val_B_labels_resized" / "n.png", Image.new("RGB", (32, 24)))
    (train / "imgs" / "c.jpg").write_bytes(b"")
    lines = problems(check_cases, test, train)
    assert (
        len(lines) == 2
        and "n.png: found colour (mode RGB)" in lines[0]
        and "c.jpg: found a file that cannot" in lines[1]
    )


@pytest.mark.parametrize(
    "text, found",
    [
        ("{", "found no JSON"),
        ("[1]", "found a JSON list"),
        ('{"n.png": 3}', "found 'n.png': 3"),
        ('{"n.png": "a.jpg", "n.png": "b.jpg"}', "found two entries 'n.png'"),
        ('{"n.png": "../b.jpg"}', "expected a mask's file name"),
    ],
)
def test_a_table_that_is_not_names_to_names_is_an_error(test, train, text, found):
    (test / "label_to_img.json").write_text(text)
    assert found in problems(find_test, test, train)[0]


def test_what_is_missing_from_a_test_set_is_named(test, train, tmp_path):
    (test / "label_to_img.json").unlink()
    lines = problems(find_test, test, tmp_path / "nowhere")
    assert "found no label_to_img.json" in lines[0] and "found no such folder" in lines[1]
    assert "found no masks" in problems(find_test, train / "imgs", train)[0]
    assert "found no such folder" in problems(find_test, tmp_path / "nowhere", train)[0]
    assert "found no masks" in problems(check_test, [], CONFIG)[0]


# ------------------------------------------------------------------------------------------------ single files

def test_an_image_of_the_asked_size_is_read_bit_for_bit(tmp_path):
    array = colours(6, 10)
    np.testing.assert_array_equal(read_image(save(tmp_path / "x.png", array), 6, 10), array)


@pytest.mark.parametrize("height, width", [(6, 10), (24, 32), (100, 30), (7, 90)])
def test_an_image_of_another_size_is_scaled_to_cover_and_cut_at_its_middle(tmp_path, height, width):
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(0, 250, width)[None], np.linspace(0, 250, height)[:, None]
    found = read_image(save(tmp_path / "x.png", ramp), 12, 16)
    assert found.shape == (12, 16, 3) and found.dtype == np.uint8
    middle = found[5:7, 7:9].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(middle, [125, 125, 0], atol=5)
    scale = min(width / 16, height / 12)                               # one of the sides is shown whole
    np.testing.assert_allclose(np.ptp(found[6, :, 0].astype(int)), 250 * 16 * scale / width, atol=25)


def test_modes_become_rgb_as_a_viewer_would_show_them(tmp_path):
    grey = np.linspace(0, 255, 60).astype(np.uint8).reshape(6, 10)
    rgb = np.repeat(grey[..., None], 3, -1)
    np.testing.assert_array_equal(read_image(save(tmp_path / "g.png", grey), 6, 10), rgb)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(save(tmp_path / "d.png", deep), 6, 10), rgb)
    clear = np.dstack([rgb, np.zeros((6, 10), np.uint8)])
    assert read_image(save(tmp_path / "t.png", clear), 6, 10).min() == 255       # transparent lies on white
    palette = Image.fromarray(grey).convert("P")
    np.testing.assert_array_equal(read_image(save(tmp_path / "p.png", palette), 6, 10), rgb)
    ink = Image.new("CMYK", (10, 6), (0, 255, 255, 0))
    red = read_image(save(tmp_path / "c.jpg", ink, quality=100), 6, 10).reshape(-1, 3).mean(0)
    assert red[0] > 200 and max(red[1:]) < 60


def test_the_cameras_orientation_is_applied(tmp_path):
    upright = np.zeros((24, 32, 3), np.uint8)
    upright[:12] = 255
    turned = Image.fromarray(np.rot90(upright))                        # 24 wide, 32 high
    exif = Image.Exif()
    exif[0x0112] = 6                                                   # "turn clockwise to view"
    found = read_image(save(tmp_path / "x.jpg", turned, exif=exif, quality=95), 24, 32)
    assert found[:10].min() > 240 and found[14:].max() < 15


def test_a_full_size_mask_at_latent_size_is_the_pixel_4i_plus_2_4j_plus_2(tmp_path):
    mask = ids(384, 512)
    found = read_labels(save(tmp_path / "x.png", mask), 96, 128)
    np.testing.assert_array_equal(found, mask[2::4, 2::4])
    np.testing.assert_array_equal(read_labels(tmp_path / "x.png", 384, 512), mask)


@pytest.mark.parametrize("read", [read_image, read_labels])
def test_a_missing_file_is_a_users_error(tmp_path, read):
    assert "no such file" in problems(read, tmp_path / "x.png", 6, 10)[0]


@pytest.mark.parametrize("name, words", [
    (b"a\xff.png", "not UTF-8, .*\\\\xff"), (b"a\nb.png", "control characters, a\\\\nb.png"), (b"\x1b[2Ja.png", "\\\\x1b"),
    (b"a\\b.png", "a backslash"), (b"a" * 230 + b".png", "a name of 234 bytes"), ("é".encode() * 110 + b".png", "224 bytes")])
def test_names_that_cannot_go_on_are_refused_at_the_door_on_one_line(name, words, tmp_path):
    folder = os.fsencode(tmp_path / "labels")
    os.mkdir(folder)
    Image.new("L", (16, 12)).save(tmp_path / "labels/fine.png")
    os.rename(tmp_path / "labels/fine.png", os.path.join(folder, name))
    (tmp_path / "label_to_img.json").write_text("{}")
    with pytest.raises(UserError, match=words) as caught:
        find_test(tmp_path)
    assert len(caught.value.report()) == 1 and caught.value.report()[0].isprintable()


@pytest.mark.parametrize("table", [
    {"a.png": "b\0.jpg"}, {"a\0.png": "b.jpg"}, {"a" * 5000 + ".png": "b.jpg"}, {"a.png": [[[["b.jpg"]]]]},
    {"a.png": "../b.jpg"}, {"/a.png": "b.jpg"}, {"a.png": ""}, {"a.png": None}, [], "a", None])
def test_a_table_of_anything_but_names_is_refused_in_short_lines(table, tmp_path):
    (tmp_path / "labels").mkdir()
    Image.new("L", (16, 12)).save(tmp_path / "labels/a.png")
    (tmp_path / "label_to_img.json").write_text(json.dumps(table))
    with pytest.raises(UserError) as caught:
        find_test(tmp_path)
    assert len(caught.value.report()) == 1 and len(caught.value.report()[0]) < 1100


def test_labels_of_one_stem_are_two_masks(tmp_path):
    for name in ("imgs/a.jpg", "labels/a.png", "labels/a.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (16, 12)).save(tmp_path / name, format="PNG")
    with pytest.raises(UserError, match=r"a.png: found a second mask of this stem \(a.PNG\), expected one"):
        find_train(tmp_path)


def postscript(path):
    """An EPS that would leave a file behind if anything ran it."""
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 12\n%%EndComments\n"
                    f"({path}.ran) (w) file closefile\nshowpage\n")


def text_bomb(path):
    """A PNG with more text than anybody writes into one."""
    from PIL.PngImagePlugin import PngInfo
    text = PngInfo()
    text.add_text("a", "x" * (100 << 20), zip=True)
    Image.new("L", (16, 12)).save(path, format="PNG", pnginfo=text)


@pytest.mark.parametrize("make, words", [
    (postscript, "cannot be read"), (text_bomb, "cannot be read"), (os.mkfifo, "no ordinary file"),
    (os.mkdir, "no ordinary file"),
    (lambda path: Image.new("1", (20000, 20000)).save(path, format="PNG"), "."),
    (lambda path: Image.new("1", (12000, 12000)).save(path, format="PNG"), "12000x12000 pixels, expected at most 120,000,000"),
    (lambda path: path.write_bytes(b""), "cannot be read"), (lambda path: path.symlink_to("nowhere"), "no such file"),
    (lambda path: path.symlink_to(path), "cannot be read")])
@pytest.mark.parametrize("problem", [image_problem, lambda path: mask_problem(path, 12, 16)])
def test_a_hostile_picture_is_a_line_and_nothing_runs(make, words, problem, tmp_path):
    path = tmp_path / "a.jpg"
    make(path)
    line = problem(path)
    assert line and re.search(words, line) and "\n" not in line and not (tmp_path / "a.jpg.ran").exists()


@pytest.mark.parametrize("size, fine", [((1, 1), False), ((2, 1), False), ((4, 3), False), ((512, 384), True),
                                        ((1024, 768), True), ((128, 96), True), ((52, 39), True), ((39, 52), False)])
def test_a_mask_of_a_few_pixels_has_no_shape(size, fine, tmp_path):
    Image.new("L", size).save(tmp_path / "a.png")
    assert (mask_problem(tmp_path / "a.png", 384, 512) is None) == fine
