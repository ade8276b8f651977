"""Masks of one's own classes: exact colours, nearest ones on request, and pixels without a class."""
import dataclasses

import numpy as np
import pytest
from PIL import Image

from configs.classes import ClassSet
from data.images import mask_problem, read_labels
from data.legend import legend
from runtime.errors import UserError

OWN = ClassSet(("sky", "land", "road"), ("", "", ""), ((255, 0, 0), (0, 0, 255), (9, 9, 9)), colour_masks=True)
IGNORING = dataclasses.replace(OWN, ignores=True, ignore_id=7, ignore_colour=(0, 0, 0))
IDS = np.random.default_rng(0).integers(0, 3, (6, 10)).astype(np.uint8)


def coloured(ids, classes=OWN):
    return np.array([*classes.colours, (0, 0, 0)], np.uint8)[ids]


def saved(folder, array, mode=None):
    """A PNG of an array; "P": of a few colours as a palette."""
    image = Image.fromarray(array)
    path = folder / "mask.png"
    (image.quantize(8) if mode == "P" else image.convert(mode) if mode else image).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_a_mask_is_its_ids_whether_grey_or_in_the_exact_colours(mode, tmp_path):
    path = saved(tmp_path, IDS if mode == "L" else coloured(IDS), None if mode in ("L", "RGB") else mode)
    found = read_labels(path, 6, 10, OWN)
    np.testing.assert_array_equal(found, IDS)
    assert found.dtype == np.uint8 and mask_problem(path, 12, 20, OWN) is None
    if mode != "L":                                                     # the challenge's masks are never read by colour
        assert "expected a grey mask of class ids 0 to 28" in mask_problem(path, 6, 10)


@pytest.mark.parametrize("grey, value", [(True, 7), (True, 255), (False, 3)])
def test_the_ignored_id_and_colour_are_no_class(grey, value, tmp_path):
    ids = IDS.copy()
    ids[2, 3:5] = value
    path = saved(tmp_path, ids if grey else coloured(ids))
    found = read_labels(path, 6, 10, IGNORING)
    assert found.dtype == np.int16 and list(np.argwhere(found == -1)[:, 1]) == [3, 4]
    np.testing.assert_array_equal(found[found >= 0], IDS[found >= 0])
    assert mask_problem(path, 6, 10, OWN) is not None                   # only where the yaml says so


def test_other_colours_are_named_and_taken_for_the_nearest_on_request_only(tmp_path):
    picture = coloured(IDS)
    picture[0, 0] = 250, 5, 6
    path = saved(tmp_path, picture)
    with pytest.raises(UserError, match=r"found 1 pixels in colours of no class \(#fa0506\), expected the legend's, such as "
                                        "#0000ff for land, or grey class ids"):
        read_labels(path, 6, 10, OWN)
    found = read_labels(path, 6, 10, dataclasses.replace(OWN, nearest_colour=True))
    assert found[0, 0] == 0 and (found.ravel()[1:] == IDS.ravel()[1:]).all()


@pytest.mark.parametrize("array, classes, line", [
    (np.full((6, 10), 3, np.uint8), OWN, "found class id 3 in 60 pixels, expected 0 to 2"),
    (np.full((6, 10), 9, np.uint8), IGNORING, "expected 0 to 2, or 7 for no class"),
    (np.full((6, 10), 7, np.uint8), IGNORING, "found no pixel of a class, all are ignored, expected some"),
    (np.zeros((6, 10, 4), np.uint8), OWN, "found transparent pixels, expected every pixel in a class's colour")])
def test_what_is_no_mask_of_these_classes_is_said(array, classes, line, tmp_path):
    assert line in mask_problem(saved(tmp_path, array), 6, 10, classes)


def test_the_legend_has_every_colour():
    for classes in (ClassSet(), OWN, IGNORING):
        colours = {tuple(colour) for colour in legend(classes).reshape(-1, 3)}
        assert colours >= set(classes.colours) and len(legend(IGNORING)) > len(legend(OWN))
