"""The 29 classes in other data sets' ids."""
import pytest

from baselines.conventions import convention
from data.landscape import CLASSES
from evaluation.metrics.classes import ADE20K, COCO_STUFF
from runtime.errors import UserError


def test_every_class_has_the_id_that_the_data_set_gives_its_name():
    _, ade = convention(151, "G")
    assert [ADE20K[i - 1] for i in ade[:-1]] == list(CLASSES[:-1])
    assert ade[CLASSES.index("other")] == 0                      # unknown
    _, coco = convention(183, "G")
    named = dict(zip(CLASSES, [COCO_STUFF[i + 1] if i < 182 else "unknown" for i in coco]))
    assert named["sky"] == "sky-other" and named["tree"] == "tree" and named["lake"] == "water-other"
    assert [name for name, theirs in named.items() if theirs == "unknown"] == ["other"]
    assert list(convention(29, "G")[1]) == list(range(29))


def test_a_number_of_classes_that_is_nobodys_is_an_error():
    with pytest.raises(UserError, match="has 19 classes, expected 29"):
        convention(19, "celeba.pth")
