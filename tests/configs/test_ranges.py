"""Every option's range, stated beside its default in configs/schema.py: all fields, at the edges and one step beyond."""
import dataclasses
import math
import typing

import pytest

from configs.reading import check_config, out_of_range, section_from
from configs.schema import Config, ConfigError


def sections(kind):
    """A section's dataclass and those within it."""
    hints = typing.get_type_hints(kind).values()
    within = [part for hint in hints for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)]
    return [kind] + [found for part in within for found in sections(part)]


SECTIONS = list(dict.fromkeys(sections(Config)))
NUMBERS = [(kind, item) for kind in SECTIONS for item in dataclasses.fields(kind)
           if typing.get_type_hints(kind)[item.name] in (int, float, list[int], list[float])]
IDS = [f"{kind.__name__}.{item.name}" for kind, item in NUMBERS]


@pytest.mark.parametrize("kind, item", NUMBERS, ids=IDS)
def test_every_number_has_a_range_that_holds_its_default_and_refuses_what_is_beyond(kind, item):
    assert "range" in item.metadata, f"{kind.__name__}.{item.name} = ranged(default, low, high) is expected"
    low, high = item.metadata["range"]
    assert all(map(math.isfinite, (low, high))) and low < high and not out_of_range(kind(), "x")
    one, length = typing.get_type_hints(kind)[item.name] in (int, float), item.metadata["length"]
    assert one or length, "a list states how long it may be"
    value = (lambda number: number) if one else (lambda number: [number] * max(1, length[0]))
    lines = lambda number: out_of_range(dataclasses.replace(kind(), **{item.name: value(number)}), "x")
    assert not lines(low) and not lines(high)
    beyond = [low - 1, high + 1, -10 ** 30, 10 ** 30, math.nan, math.inf, -math.inf, 1e308]
    for number in beyond:
        found = lines(number)
        assert found and found[0].startswith(f"x.{item.name}") and "expected" in found[0], number
    if not one:
        for count in {length[0] - 1, length[1] + 1} & set(range(1000)):
            assert out_of_range(dataclasses.replace(kind(), **{item.name: [low] * count}), "x")


@pytest.mark.parametrize("section, option, value, words", [
    ("data", "height", 0, "data.height is 0, expected 8 to 16384"), ("unet", "groups", 0, "unet.groups is 0, expected 1 to"),
    ("unet", "channels", 0, "unet.channels is 0"), ("unet", "head_channels", 0, "unet.head_channels is 0"),
    ("unet", "channel_mult", [], "unet.channel_mult has 0 entries"), ("unet", "res_blocks", 900, "unet.res_blocks is 900"),
    ("unet", "channel_mult", [0], r"unet.channel_mult\[0\] is 0"), ("train", "seed", -1, "train.seed is -1, expected 0 to"),
    ("autoencoder", "groups", 0, "autoencoder.groups is 0"), ("diffusion", "timesteps", 10 ** 10, "timesteps is 10000000000"),
    ("sampling", "autoencoder_gb", math.inf, "sampling.autoencoder_gb is inf"),
    ("sampling", "spade_cache_gb", math.nan, "sampling.spade_cache_gb is nan"),
    ("sampling", "rounds", [{"guidance": math.nan}], r"sampling.rounds\[0\].guidance is nan, expected 1 to 100"),
    ("sampling", "rounds", [{"guidance": 1e308}], r"guidance is 1e\+308"), ("sampling", "rounds", [{}] * 101, "101 entries"),
    ("train", "unet", {"lr": math.nan}, "train.unet.lr is nan"), ("train", "unet", {"weight_decay": -1.0}, "decay is -1"),
    ("train", "autoencoder", {"crop": -1}, "train.autoencoder.crop is -1"), ("train", "run", "a\nb", "without line ends"),
    ("data", "cache", "\x1b[2J", "without line"), ("segmenter", "widths", [1], "segmenter.widths has 1 entries, expected 4"),
    ("segmenter", "scale", 9.0, "segmenter.scale is 9.0, expected 1 to 8")])
def test_what_lies_beyond_is_refused_with_its_name_and_its_range(section, option, value, words):
    with pytest.raises(ConfigError, match=words):
        section_from(section, {option: value}, "a.yaml")


def test_all_that_is_out_of_range_is_said_at_once():
    config = Config()
    config.data.height, config.unet.groups, config.train.unet.lr = 0, 0, math.nan
    with pytest.raises(ConfigError) as caught:
        check_config(config, "a.yaml")
    assert [line.split(" is ")[0] for line in caught.value.problems] == [
        "a.yaml: data.height", "a.yaml: unet.groups", "a.yaml: train.unet.lr"]
