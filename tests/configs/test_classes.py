"""One's own classes in a config: from the yaml to the ClassSet, and every way in which they can be wrong."""
import pytest
import yaml

from configs.classes import CHALLENGE, distinct_colours
from configs.reading import class_set, config_dict, config_from, load_config
from configs.schema import Config, ConfigError

OWN = {"classes": [{"name": "sky", "chinese": "天空", "colour": "#0000ff"}, {"name": "land", "colour": "#00FF00", "id": 1}],
       "colour_masks": True, "ignore_colour": "#000000"}


def test_a_yaml_of_classes_is_read_into_the_config_and_stays_in_its_dict(tmp_path):
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(OWN))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"classes": str(tmp_path / "classes.yaml")}}))
    config = load_config(tmp_path / "config.yaml")
    found = config.data.class_set
    assert found.names == ("sky", "land") and found.chinese == ("天空", "") and found.colours == ((0, 0, 255), (0, 255, 0))
    assert found.ignores and found.ignore_colour == (0, 0, 0) and found == class_set(tmp_path / "classes.yaml")
    assert config.unet.classes == config.segmenter.classes == 2               # of their number, where no network says another
    (tmp_path / "classes.yaml").unlink()
    assert config_from(config_dict(config)) == config                         # a checkpoint needs the file no more


def test_without_them_the_classes_are_the_challenges():
    for config in (Config(), config_from({"data": {"classes": ""}}), config_from({"data": {"height": 128, "width": 192}})):
        assert config.data.class_set is CHALLENGE and not config.data.class_set.own and config.unet.classes == 29


@pytest.mark.parametrize("change, line", [
    ({"classes": [{"name": "a"}, {"name": "a"}], "colour_masks": False}, "class 1 has the name 'a', expected one of its own"),
    ({"classes": [{"name": "a", "id": 1}], "colour_masks": False}, "'a' has id 1 at place 0, expected ids 0 to 0 in order"),
    ({"classes": [{"name": "a", "colour": "blue"}]}, "'a': colour is 'blue', expected \"#rrggbb\""),
    ({"classes": [{"name": "a", "colour": "#000000"}]}, "have one colour, expected another each"),
    ({"classes": [{"name": "a"}]}, "colour_masks with 1 classes without a colour, expected one for each"),
    ({"colour_masks": False}, "are of colour masks, expected colour_masks: true"),
    ({"ignore_id": 1}, "ignore_id is 1, the id of 'land'; expected 2 to 255"),
    ({"classes": []}, "says how masks are read but has no classes, expected a list of them"),
    ({"colour": 1}, "data.classes.colour is not an option"),
    ({"classes": [{"name": f"c{i}"} for i in range(256)]}, "data.classes.classes has 256 entries, expected 0 to 255")])
def test_classes_that_cannot_be_are_refused(change, line):
    with pytest.raises(ConfigError) as raised:
        config_from({"data": {"classes": {**OWN, **change}}})
    assert line in str(raised.value)


@pytest.mark.parametrize("tree, line", [
    ({"data": {"classes": "nowhere.yaml"}}, "data.classes is nowhere.yaml: no such file, expected a yaml of classes"),
    ({"data": {"classes": OWN}, "unet": {"classes": 29}}, "unet.classes is 29, expected 2, the classes of data.classes")])
def test_classes_that_are_not_there_or_not_the_networks_are_refused(tree, line):
    with pytest.raises(ConfigError) as raised:
        config_from(tree)
    assert line in str(raised.value)


def test_colours_that_are_not_given_are_chosen_each_another():
    found = distinct_colours([None, (1, 2, 3), *[None] * 253])
    assert found[1] == (1, 2, 3) and len(set(found)) == 255
