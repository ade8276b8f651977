"""data/audit.py: planted bad pairs are found and named, good ones are not, and the list that is written leaves them out."""
import cv2
import numpy as np
import pytest
from PIL import Image

from configs.schema import DataConfig
from data.audit import agreement, audit, main
from data.landscape import check_train, find_train
from data.suspects import near_duplicates, signature
from data.synthetic import scene
from runtime.errors import UserError


@pytest.fixture(scope="module")
def good():
    """Four drawn scenes (image, labels), 512x384."""
    small = [scene(3, i, 96, 128) for i in range(4)]
    return [(cv2.resize(image, (512, 384), interpolation=cv2.INTER_CUBIC),
             cv2.resize(labels, (512, 384), interpolation=cv2.INTER_NEAREST))
            for image, labels in small]


def put(folder, stem, image, labels):
    for kind, suffix, array in (("imgs", "jpg", image), ("labels", "png", labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / kind / f"{stem}.{suffix}")


def grey(image):
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def sepia(image):
    return (grey(image) * np.array([1, 0.85, 0.6])).astype(np.uint8)


def framed(image, colour=255):
    image = image.copy()
    image[:12] = image[-12:] = image[:, :12] = image[:, -12:] = colour
    return image


def letterbox(image):
    image = image.copy()
    image[:40] = image[-40:] = 0
    return image


def written_on(image):
    return cv2.putText(image.copy(), "COPYRIGHT 2012 A. NYBODY", (20, 360), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 0, 90), 2)


def night(image):
    return (image * 0.04).astype(np.uint8)


@pytest.mark.parametrize("change, reason", [(grey, "grey"), (sepia, "grey or toned"), (framed, "frame"), (letterbox, "frame"),
                                            (written_on, "caption"), (night, "hardly anything")])
def test_what_is_wrong_with_a_photo_is_named(change, reason, good, tmp_path):
    put(tmp_path, "bad", change(good[0][0]), good[0][1])
    (look,) = audit(find_train(tmp_path), progress=False)
    assert any(reason in found for found in look.reasons), look.reasons


def test_good_photos_are_left_alone(good, tmp_path):
    for i, pair in enumerate(good):
        put(tmp_path, f"good{i}", *pair)
    assert [look.reasons for look in audit(find_train(tmp_path), progress=False)] == [[]] * len(good)


@pytest.mark.parametrize("change", [
    lambda image: image[:, ::-1], lambda image: np.clip(image * 1.15, 0, 255).astype(np.uint8),
    lambda image: cv2.resize(image[6:-6, 8:-8], (512, 384))])
def test_of_two_copies_one_is_kept(change, good, tmp_path):
    for i, pair in enumerate(good):
        put(tmp_path, f"good{i}", *pair)
    put(tmp_path, "copy", np.ascontiguousarray(change(good[2][0])), good[2][1])
    found = [look for look in audit(find_train(tmp_path), progress=False) if look.reasons]
    assert len(found) == 1 and {found[0].pair.stem, found[0].like.stem} == {"copy", "good2"}


def test_many_copies_are_all_named_after_the_first_whatever_the_block(good):
    signatures = np.stack([signature(good[i][0]) for i in (0, 1, 0, 1, 0)])
    for block in (1, 2, 64):
        assert [(i, j) for i, j, _ in near_duplicates(signatures, block)] == [(0, 2), (1, 3), (0, 4)]


def test_a_mask_of_one_class_and_one_that_a_segmenter_denies_are_named(good, tmp_path):
    put(tmp_path, "one", good[0][0], np.full((384, 512), 12, np.uint8))
    put(tmp_path, "two", *good[1])
    one, two = audit(find_train(tmp_path), segment=lambda image: np.full((384, 512), 24), progress=False)
    assert "mask of 100 % grass" in one.reasons and "mask and photo agree on 0 %" in one.reasons
    assert two.reasons == ["mask and photo agree on 0 %"]
    assert agreement(np.full((6, 10), 28), np.zeros((6, 10), int)) is None       # it names nothing: says nothing


def test_the_edited_list_is_what_training_leaves_out(good, tmp_path, capsys):
    for stem, image in (("a", good[0][0]), ("b.1", grey(good[1][0])), ("c", night(good[2][0]))):
        put(tmp_path / "T", stem, image, good[0][1])
    (tmp_path / "T" / "imgs" / "d.jpg").write_bytes(b"no picture")
    Image.fromarray(good[0][1]).save(tmp_path / "T" / "labels" / "d.png")
    arguments = [str(tmp_path / "T"), "--output", str(tmp_path / "audit")]
    main(arguments)
    assert "3 of 4 pairs look unfit" in capsys.readouterr().out
    assert Image.open(tmp_path / "audit" / "sheet.png").width > 900
    path = tmp_path / "audit" / "exclude.txt"
    assert [pair.stem for pair in find_train(tmp_path / "T", [str(path)])] == ["a"]
    path.write_text("# kept: c\nb.1  # grey\n\nd\n")
    config = DataConfig(exclude=["a", str(path)])
    pairs = find_train(tmp_path / "T", config.exclude)
    assert [pair.stem for pair in pairs] == ["c"]
    check_train(pairs, config, progress=False)
    with pytest.raises(UserError, match="may have been edited"):
        main(arguments)


def test_a_list_that_is_not_there_is_named(good, tmp_path):
    put(tmp_path, "a", *good[0])
    with pytest.raises(UserError, match="data.exclude: found gone.txt, expected a text file of stems"):
        find_train(tmp_path, ["gone.txt"])
