"""sampling/hand_in.py: a whole hand-in passes; every way of damaging one gives its line."""
import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from runtime.errors import RunError, UserError
from sampling.hand_in import check_archive, check_results, chosen, confirm, main, pack
from sampling.weights_note import NOTE, weights_hash
from tests.helpers import ROOT

STEMS, SIZE = ["a.b", "c d", "ä"], (16, 12)
RUN = ROOT / "tests" / "data" / "before"                # of a run whose manifest names these weights


def picture(seed, size=SIZE):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


@pytest.fixture
def results(tmp_path):
    """A folder of three images, a manifest and a contact sheet."""
    folder = tmp_path / "results"
    folder.mkdir()
    for i, stem in enumerate(STEMS):
        picture(i).save(folder / f"{stem}.jpg")
    (folder / "manifest.json").write_text("{}")
    picture(9).save(folder / "contact_sheet.png")
    return folder


@pytest.fixture
def test(tmp_path):
    """The test folder of those images."""
    folder = tmp_path / "TEST"
    (folder / "labels").mkdir(parents=True)
    for stem in STEMS:
        Image.new("L", SIZE).save(folder / "labels" / f"{stem}.png")
    (folder / "label_to_img.json").write_text(json.dumps({f"{stem}.png": "r.jpg" for stem in STEMS}))
    return folder


def saved(picture, path, **options):
    data = io.BytesIO()
    picture.save(data, **{"format": "JPEG", **options})
    path.write_bytes(data.getvalue())


def with_comment(data):
    """A JPEG with a comment in it: other bytes, the same picture."""
    return data[:2] + b"\xff\xfe\x00\x05new" + data[2:]


DAMAGES = {
    "missing": (lambda f: (f / "ä.jpg").unlink(), ["found 2 images, expected 3", "ä.jpg: missing"]),
    "one more": (lambda f: picture(7).save(f / "holiday.jpg"), ["found 4 images", "holiday.jpg: is no mask's image"]),
    "other suffix": (lambda f: (f / "ä.jpg").rename(f / "ä.jpeg"), ["ä.jpg: missing, found ä.jpeg"]),
    "twice": (lambda f: picture(7).save(f / "ä.png"), ["found 4 images", "ä.png: a second image of this mask"]),
    "png inside": (lambda f: saved(picture(2), f / "ä.jpg", format="PNG"), ["ä.jpg: found PNG RGB 16x12"]),
    "grey": (lambda f: saved(picture(2).convert("L"), f / "ä.jpg"), ["ä.jpg: found JPEG L 16x12"]),
    "cmyk": (lambda f: saved(picture(2).convert("CMYK"), f / "ä.jpg"), ["ä.jpg: found JPEG CMYK 16x12"]),
    "turned": (lambda f: saved(picture(2, (12, 16)), f / "ä.jpg"), ["ä.jpg: found JPEG RGB 12x16, expected JPEG RGB 16x12"]),
    "truncated": (lambda f: (f / "ä.jpg").write_bytes((f / "ä.jpg").read_bytes()[:-300]), ["ä.jpg: does not decode"]),
    "empty": (lambda f: (f / "ä.jpg").write_bytes(b""), ["ä.jpg: does not decode"]),
    "text": (lambda f: (f / "ä.jpg").write_text("no image"), ["ä.jpg: does not decode"]),
    "black": (lambda f: saved(Image.new("RGB", SIZE), f / "ä.jpg"), ["ä.jpg: one colour all over"]),
    "copied": (lambda f: shutil.copy(f / "a.b.jpg", f / "ä.jpg"), ["ä.jpg: the same picture as a.b.jpg"]),
    "copied, other bytes": (lambda f: (f / "ä.jpg").write_bytes(with_comment((f / "a.b.jpg").read_bytes())),
                            ["ä.jpg: the same picture as a.b.jpg"]),
    "gone": (shutil.rmtree, ["found no such folder, expected the results of test.py"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_to_the_images_gives_its_line_and_no_other(damage, results, test, capsys):
    harm, words = DAMAGES[damage]
    harm(results)
    problems = check_results(results, STEMS, SIZE)
    assert len(problems) == len(words) and all(word in line for word, line in zip(words, problems)), problems
    with pytest.raises(UserError):
        main([str(results), "--input_path", str(test), "--size", "16x12"])
    assert not (results / "result.zip").exists()


def rewritten(archive, change):
    """A result.zip with {name: bytes} changed by a function."""
    with zipfile.ZipFile(archive) as stream:
        files = change({name: stream.read(name) for name in stream.namelist()})
    with zipfile.ZipFile(archive, "w") as stream:
        for name, data in files.items():
            stream.writestr(name, data)


def flipped(archive):
    data = bytearray(archive.read_bytes())
    data[data.index("ä.jpg".encode()) + 400] ^= 255
    archive.write_bytes(data)


@pytest.mark.parametrize("harm, words", [
    (lambda z: rewritten(z, lambda files: dict(list(files.items())[1:])), "lacks a.b.jpg"),
    (lambda z: rewritten(z, lambda files: {**files, "more.jpg": b""}), "found more.jpg, expected only"),
    (lambda z: rewritten(z, lambda files: {f"results/{name}": data for name, data in files.items()}),
     "expected files without folders"),
    (lambda z: rewritten(z, lambda files: {**files, "a.b.jpg": files["c d.jpg"]}), "a.b.jpg is not the image in"),
    (flipped, "ä.jpg is damaged"), (lambda z: z.unlink(), "missing"),
    (lambda z: z.write_bytes(z.read_bytes()[:-50]), "not a whole zip archive")])
def test_every_damage_to_the_archive_gives_its_line(harm, words, results):
    archive = pack(results, STEMS)
    assert check_archive(archive, results, STEMS) == []
    harm(archive)
    assert words in check_archive(archive, results, STEMS)[0]
    with pytest.raises(RunError, match="problems in all"):
        confirm(results, STEMS, SIZE)


def test_a_whole_hand_in_is_packed_with_selects_and_a_note(results, test, tmp_path, capsys):
    (tmp_path / "select.txt").write_text("# for the experts\nä.png\na.b\n", encoding="utf-8")
    arguments = [str(results), "--input_path", str(test), "--size", "16x12", "--select_list", str(tmp_path / "select.txt")]
    main([*arguments, "--weights", str(RUN / "autoencoder.safetensors")])
    assert "3 images of 16x12, all valid, no two the same" in capsys.readouterr().out
    with zipfile.ZipFile(results / "result.zip") as stream:
        assert sorted(stream.namelist()) == sorted(f"{stem}.jpg" for stem in STEMS)
    assert {path.name for path in (results / "selects").iterdir()} == {"ä.jpg", "a.b.jpg"}
    (tmp_path / "select.txt").write_text("c d.jpg")
    (results / NOTE).write_text("written by hand")
    main(arguments)                                              # selects/ and the result are not images too many
    assert {path.name for path in (results / "selects").iterdir()} == {"c d.jpg"}
    assert (results / NOTE).read_text() == "written by hand"


def test_some_of_the_masks_may_be_confirmed_in_a_folder_of_more(results):
    with zipfile.ZipFile(pack(results, STEMS[:2])) as archive:
        assert archive.namelist() == [f"{stem}.jpg" for stem in STEMS[:2]]
    confirm(results, STEMS[:2], SIZE)
    with pytest.raises(RunError):
        confirm(results, STEMS, SIZE)                                          # one of which is not in it


@pytest.mark.parametrize("text, words", [("nobody.jpg", "found 'nobody.jpg', expected the name of a mask"),
                                         ("ä\nä.jpg", "found ä twice"), ("# nothing\n", "names nothing")])
def test_a_list_of_selects_that_cannot_be_is_refused(text, words, tmp_path):
    (tmp_path / "select.txt").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        chosen(tmp_path / "select.txt", STEMS)


def test_the_note_says_where_weights_come_from_and_what_only_their_author_knows(results, test, tmp_path):
    shutil.copy(RUN / "results" / "manifest.json", results)
    foreign = tmp_path / "vqgan.ckpt"
    foreign.write_bytes(b"something foreign")
    unet = next((RUN / "run" / "checkpoints").glob("*.safetensors"))
    arguments = [str(results), "--input_path", str(test), "--size", "16x12", "--weights"]
    main([*arguments, str(unet), str(foreign)])
    note = (results / NOTE).read_text(encoding="utf-8")
    assert "unet-00000002.safetensors" in note and "trained here, step 2" in note
    assert note.count("fill in") == 3 and "vqgan.ckpt" in note
    manifest = json.loads((results / "manifest.json").read_text())
    assert manifest["settings"]["weights"]["unet"] == weights_hash(unet, "")
    manifest["settings"]["weights"]["unet"] = "0" * 64
    (results / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="these are not the unet's weights that painted the folder"):
        main([*arguments, str(unet)])
