import dataclasses

import numpy as np
import pytest

from configs.legacy import old_words, translate, translate_round
from configs.reading import config_from, load_config
from configs.schema import CONFIGS, ConfigError, RoundConfig
from ldm.schedule import at, make_schedule, spaced

OLD = {"sampler": "ddim", "steps": 500, "start": 300, "spacing": "published", "levels": 0, "guidance": 3.5,
       "guidance_interval": [], "guidance_rescale": 0.0, "eta": 0.0, "from_noise": False, "published_offset": False}


@pytest.mark.parametrize("config, before", [
    ("iidm", [{}, {"start": 320, "guidance": 3.7}, {"steps": 50, "start": 20, "guidance": 3.7}]),
    ("iidm_published", [{"published_offset": True}, {"start": 320, "guidance": 3.7, "published_offset": True},
                        {"steps": 50, "start": 20, "guidance": 3.7, "published_offset": True}]),
    ("iidm_fast", [{"sampler": "unipc", "spacing": "uniform", "levels": 8, **more} for more in (
        {}, {"start": 320, "guidance": 3.7}, {"steps": 50, "start": 20, "guidance": 3.7})]),
    ("iidm_paper", [{"sampler": "ddpm", "steps": 1000, "start": 320, "guidance": 1.0}] * 3),
    ("dm", [{"start": 500, "from_noise": True}]),
    ("mini", [{"steps": 50, "start": 32, "guidance": 2.0}] * 2 + [{"steps": 50, "start": 20, "guidance": 2.0}]),
    ("photos", [{"steps": 25, "start": 16, "guidance": 2.0}, {"steps": 25, "start": 8, "guidance": 1.0}])])
def test_the_rounds_of_the_configs_before_are_those_of_now(config, before):
    tree = translate({"sampling": {"rounds": [{**OLD, **round_} for round_ in before]}})
    assert config_from(tree).sampling.rounds == load_config(config).sampling.rounds


@pytest.mark.parametrize("timesteps", [1000, 250])
@pytest.mark.parametrize("steps", [1, 2, 7, 50, 60, 100, 150, 249, 250])
@pytest.mark.parametrize("part", [0.0, 0.4, 1.0])
def test_a_round_before_denoises_along_the_timesteps_it_had(timesteps, steps, part):
    start = max(1, int(part * steps))
    stride = -(-timesteps // steps)
    grid = np.arange(0, timesteps, stride)                                  # the rule of then
    grid = grid if len(grid) == steps else np.arange(steps) * timesteps // steps
    new = RoundConfig(**translate_round({**OLD, "steps": steps, "start": start}, timesteps))
    new.check()
    schedule = make_schedule("linear", timesteps)
    points = at(schedule, new.timesteps[::-1]) if new.timesteps else spaced(schedule, new.t_start, new.steps, new.spacing)
    np.testing.assert_array_equal(points.timesteps, grid[:start])
    np.testing.assert_array_equal(points.alpha_bar, schedule.alpha_bar[grid[:start]])
    assert points.timesteps.dtype.kind == "i"


def test_other_spacings_begin_where_the_grid_did():
    new = translate_round({**OLD, "spacing": "logsnr", "start": 320, "levels": 13})
    assert (new["t_start"], new["steps"], new["spacing"]) == (638, 13, "logsnr")
    new = translate_round({**OLD, "spacing": "uniform", "steps": 50, "start": 20})
    assert (new["t_start"], new["steps"], new["spacing"]) == (380, 20, "uniform")


def test_a_translated_round_has_every_option_of_now_and_is_translated_once():
    new = translate_round(OLD)
    assert set(new) == {field.name for field in dataclasses.fields(RoundConfig)}
    assert translate_round(new) == new


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_todays_words_stay_as_they_are(path):
    tree = dataclasses.asdict(load_config(path))
    assert translate(tree) == tree and old_words(tree) == []


def test_the_words_of_stages_are_translated_and_no_others():
    train = {"seed": 3, "unet": {"start": "a.pkl", "mask_drop": 0.1, "lr": 1.0}, "autoencoder": {"start": ""}}
    assert translate({"train": train, "data": {"start": 1}}) == {
        "train": {"seed": 3, "unet": {"init_from": "a.pkl", "mask_dropout": 0.1, "lr": 1.0}, "autoencoder": {"init_from": ""}},
        "data": {"start": 1}}


@pytest.mark.parametrize("tree", [
    {"sampling": 3}, {"sampling": {"rounds": 3}}, {"sampling": {"rounds": [3]}}, {"train": 3}, {"train": {"unet": 3}},
    {"sampling": {"rounds": [{"start": "x"}]}}, {"sampling": {"rounds": [{"start": 0}]}},
    {"sampling": {"rounds": [{"start": 9, "steps": 10 ** 12}]}, "diffusion": {"timesteps": 10 ** 12}},
    {"sampling": {"rounds": [{"start": 9, "steps": 9, "published_offset": True}]}},
    {"sampling": {"rounds": [{"start": 9}]}, "diffusion": {"timesteps": None}}])
def test_what_never_had_a_meaning_stays_for_the_schema_to_refuse(tree):
    assert translate(tree) == tree
    with pytest.raises(ConfigError):
        config_from(tree)


@pytest.mark.parametrize("text, lines", [
    ("sampling: {rounds: [{steps: 500, start: 300}]}",
     ["sampling.rounds: start and a grid's steps are now t_start and steps; this round is {t_start: 598, steps: 300}"]),
    ("sampling: {rounds: [{sampler: ddim, steps: 50, start: 20, guidance: 3.7, published_offset: true}, "
     "{t_start: 80, steps: 3}]}",
     ["sampling.rounds: start and a grid's steps are now t_start and steps; this round is "
      "{sampler: ddim, t_start: 380, steps: 20, guidance: 3.7, t_noise: 400}"]),
    ("sampling: {rounds: [{steps: 60, start: 4}]}",
     ["sampling.rounds: start and a grid's steps are now t_start and steps; this round is "
      "{t_start: 50, steps: 4, timesteps: [50, 33, ..., 0]}"]),
    ("diffusion: {timesteps: 250}\nsampling: {rounds: [{steps: 50, start: 20}]}",
     ["sampling.rounds: start and a grid's steps are now t_start and steps; this round is {t_start: 95, steps: 20}"]),
    ("train: {unet: {start: a.pkl, mask_drop: 0.1}}",
     ["train.unet.start is now init_from", "train.unet.mask_drop is now mask_dropout"])])
def test_a_yaml_in_the_words_of_before_is_answered_with_todays(tmp_path, text, lines):
    path = tmp_path / "old.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert error.value.problems == [f"{path}: {line}" for line in lines]


def test_an_override_in_the_words_of_before_is_answered_too():
    with pytest.raises(ConfigError, match="config: train.unet.start is now init_from"):
        config_from({}, ["train.unet.start=a.pkl"])
