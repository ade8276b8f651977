"""evaluation/metrics/classes.py: the tables by id, as the data sets number their classes."""
import numpy as np
import pytest

from data.landscape import CLASSES
from evaluation.metrics.classes import ADE20K, COCO_STUFF, SOURCES, class_map, source_of, to_challenge
from runtime.errors import UserError

OTHER = 28
# ADE20K's id (0 = wall) : the challenge's id
ADE20K_IDS = {0: 17, 1: 11, 2: 1, 4: 5, 6: 23, 9: 12, 12: 14, 13: 6, 16: 0, 17: 13, 21: 2, 25: 27, 26: 3, 29: 22, 32: 25, 34: 4,
              38: 24, 46: 9, 52: 19, 60: 8, 61: 21, 68: 7, 76: 15, 94: 10, 103: 26, 113: 16, 128: 20, 140: 18}
ADE20K_MORE = {11: 19, 48: 11, 54: 23, 66: 13, 72: 5, 79: 27, 84: 11, 91: 19, 95: 24, 104: 2, 109: 2}
# COCO-Stuff's id (1 = person) : the challenge's id
COCO_IDS = {1: 14, 9: 15, 95: 21, 96: 11, 113: 25, 124: 12, 127: 7, 128: 27, 135: 0, 142: 13, 146: 24, 148: 8, 149: 23, 150: 4,
            154: 9, 155: 3, 157: 1, 169: 5, **{wall: 17 for wall in range(171, 178)}, 178: 2}
COCO_MORE = {64: 13, 94: 5, 97: 13, 99: 25, 106: 1, 111: 6, 119: 13, 120: 1, 125: 6, 126: 6, 129: 5, 134: 12, 136: 6, 140: 19,
             144: 18, 145: 22, 151: 11, 158: 11, 159: 0, 162: 4, 163: 12, 179: 2}


def table(size, *parts):
    found = np.full(size, OTHER)
    for part in parts:
        found[list(part)] = list(part.values())
    return found


@pytest.mark.parametrize("source, lenient, expected", [
    ("ade20k", False, table(150, ADE20K_IDS)), ("ade20k", True, table(150, ADE20K_IDS, ADE20K_MORE)),
    ("coco-stuff", False, table(183, COCO_IDS)), ("coco-stuff", True, table(183, COCO_IDS, COCO_MORE)),
    ("challenge", False, np.arange(29)), ("challenge", True, np.arange(29))])
def test_every_id_has_the_challenges_id(source, lenient, expected):
    found = class_map(source, lenient)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_with_the_unlabelled_class_ids_start_one_later():
    assert class_map("ade20k+unlabelled").tolist() == [OTHER, *class_map("ade20k")]


def test_every_class_but_other_is_one_of_ade20ks_and_no_name_is_twice():
    assert {CLASSES[k] for k in class_map("ade20k")} == set(CLASSES) and set(CLASSES) - {"other"} < set(ADE20K)
    assert len(set(ADE20K)) == len(ADE20K) == 150 and len(set(COCO_STUFF)) == len(COCO_STUFF) == 183


@pytest.mark.parametrize("source", SOURCES)
def test_the_lenient_map_only_adds_and_every_addition_has_names_that_exist(source):
    names, extra = SOURCES[source]
    assert set(extra) <= set(names) and set(extra.values()) <= set(CLASSES) - {"other"}
    strict, lenient = class_map(source), class_map(source, lenient=True)
    assert {names[k] for k in np.flatnonzero(strict != lenient)} == set(extra)
    assert (strict[strict != lenient] == OTHER).all()


@pytest.mark.parametrize("classes, source", [
    (29, "challenge"), (150, "ade20k"), (151, "ade20k+unlabelled"), (183, "coco-stuff")])
def test_a_segmenter_is_known_by_its_number_of_classes(classes, source):
    assert source_of(classes) == source


def test_another_number_of_classes_is_an_error_that_lists_the_known():
    with pytest.raises(UserError, match=r"found 19 classes, expected one of 29 \(challenge\), 150 \(ade20k\)"):
        source_of(19)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_keep_their_shape_and_unlabelled_pixels_become_other(dtype):
    labels = np.array([[2, 16, 255], [0, 149, 48]]).astype(dtype)
    found = to_challenge(labels, "ade20k")
    assert found.dtype == np.uint8
    assert found.tolist() == [[1, 0, OTHER], [17, OTHER, OTHER]]
    assert to_challenge(labels, "ade20k", lenient=True)[1, 2] == CLASSES.index("building")


@pytest.mark.parametrize("value, source", [
    (150, "ade20k"), (-1, "ade20k"), (183, "coco-stuff"), (29, "challenge"), (300, "ade20k")])
def test_an_id_that_the_source_lacks_is_an_error(value, source):
    with pytest.raises(ValueError, match=f"found id {value}, expected 0 to"):
        to_challenge(np.array([[0, value]]), source)
