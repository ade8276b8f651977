import dataclasses

import pytest
import yaml

from configs.reading import config_dict, config_from, config_yaml, load_config
from configs.schema import CONFIGS, Config, ConfigError


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_loads_and_survives_yaml(path):
    config = load_config(path)
    assert config_from(yaml.safe_load(config_yaml(config))) == config == load_config(path.stem)


def test_the_defaults_are_consistent_and_survive_yaml_and_json():
    config = config_from({})
    assert config == Config()
    assert config_from(yaml.safe_load(config_yaml(config))) == config
    assert config_from(config_dict(config)) == config


@pytest.mark.parametrize("tree, message", [
    ({"unet": {"chanels": 64}}, "config: unet.chanels is not an option; did you mean unet.channels?"),
    ({"unett": {}}, "config: unett is not an option; did you mean unet?"),
    ({"train": {"unet": {"batchsize": 1}}}, "did you mean train.unet.batch_size?"),
    ({"sampling": {"rounds": [{"stepps": 3}]}}, r"sampling.rounds\[0\].stepps is not an option"),
    ({"data": {"zzz": 3}}, "data.zzz is not an option; there are height, width"),
])
def test_an_unknown_option_is_named_with_the_nearest_one(tree, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        config_from(tree)


@pytest.mark.parametrize("tree, message", [
    ({"unet": {"channels": "64"}}, "unet.channels is '64', expected int"),
    ({"unet": {"channels": 64.0}}, "unet.channels is 64.0, expected int"),
    ({"unet": {"channels": True}}, "unet.channels is True, expected int"),
    ({"data": {"flip": 1}}, "data.flip is 1, expected bool"),
    ({"data": {"cache": None}}, "data.cache is None, expected str"),
    ({"unet": {"channel_mult": 2}}, "unet.channel_mult is 2, expected a list"),
    ({"unet": {"channel_mult": [1, "2"]}}, r"unet.channel_mult\[1\] is '2', expected int"),
    ({"train": {"unet": {"lr": "1e-4"}}}, "train.unet.lr is '1e-4', expected float .write 1.0e-4"),
    ({"train": None}, "train is empty, expected options"),
    ({"train": 3}, "train is 3, expected options"),
    ({"sampling": {"rounds": [3]}}, r"sampling.rounds\[0\] is 3, expected options"),
])
def test_a_wrong_type_is_named_with_the_type_expected(tree, message):
    with pytest.raises(ConfigError, match=message):
        config_from(tree)


def test_whole_numbers_are_floats_where_a_float_is_expected():
    lr = config_from({"train": {"unet": {"lr": 1}}}).train.unet.lr
    assert lr == 1.0 and isinstance(lr, float)


def test_yaml_reads_1e_4_as_text_and_the_message_says_so(tmp_path):
    (tmp_path / "a.yaml").write_text("train:\n  unet:\n    lr: 1e-4\n")
    with pytest.raises(ConfigError, match="a.yaml: train.unet.lr is '1e-4'.*1.0e-4"):
        load_config(tmp_path / "a.yaml")


def test_overrides_come_last_and_do_not_touch_the_tree_they_are_given():
    tree = {"train": {"unet": {"batch_size": 3}}, "data": None}
    overrides = ["train.unet.batch_size=8", "unet.channel_mult=[1, 2]", "data.height=96", "data.width=128"]
    config = config_from(tree, overrides)
    assert (config.train.unet.batch_size, config.unet.channel_mult, config.data.height) == (8, [1, 2], 96)
    assert tree == {"train": {"unet": {"batch_size": 3}}, "data": None}


@pytest.mark.parametrize("override, message", [
    ("train.unet.batch_size", "expected section.option=value"),
    ("train.unet.batch=8", "did you mean train.unet.batch_size"),
    ("train.unet.lr=[", "the value is not yaml"),
    ("train.seed.x=3", "seed"),
    ("train.unet=3", "train.unet is 3, expected options"),
])
def test_a_bad_override_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        config_from({"train": {"seed": 1}}, [override])


def test_two_sections_of_one_class_keep_their_own_defaults():
    defaults = Config().train
    train = config_from({"train": {"unet": {"batch_size": 7}, "autoencoder": {"steps": 3}}}).train
    assert train.unet == dataclasses.replace(defaults.unet, batch_size=7)
    assert train.autoencoder == dataclasses.replace(defaults.autoencoder, steps=3)
    assert defaults.unet.steps != defaults.autoencoder.steps


def test_configs_do_not_share_their_lists():
    config_from({}).unet.channel_mult.append(9)
    assert 9 not in config_from({}).unet.channel_mult


@pytest.mark.parametrize("tree, message", [
    ({"data": {"height": 100}}, "data: 512x100 is the image size, expected multiples of 64"),
    ({"unet": {"channels": 40}}, "unet.channels is 40"),
    ({"unet": {"head_channels": 60}}, "unet.head_channels is 60"),
    ({"unet": {"latent_channels": 4}}, "unet.latent_channels is 4, expected autoencoder.embed_dim"),
    ({"diffusion": {"schedule": "cosin"}}, "diffusion.schedule is 'cosin', expected linear, cosine"),
    ({"diffusion": {"timesteps": 100}}, "t_start is 598, expected 0 to 99, below diffusion.timesteps"),
    ({"sampling": {"rounds": []}}, "sampling.rounds has 0 entries, expected 1 to 100"),
    ({"sampling": {"rounds": [{"steps": 0}]}}, "steps is 0, expected 1 to 100000"),
    ({"sampling": {"rounds": [{"t_start": 0, "steps": 2}]}}, "steps is 2 from t_start 0, expected 1"),
    ({"sampling": {"rounds": [{"t_start": -1}]}}, "t_start is -1, expected 0 to 999"),
    ({"sampling": {"rounds": [{"t_noise": 1000}]}}, "t_noise is 1000, expected 0 to 999"),
    ({"sampling": {"rounds": [{"t_start": 999, "from_noise": True, "t_noise": 640}]}}, "t_noise is 640 with from_noise"),
    ({"sampling": {"rounds": [{"from_noise": True}]}}, "t_start is 598 with from_noise, expected 999 or little less"),
    ({"sampling": {"rounds": [{"timesteps": [598, 0]}]}}, r"timesteps are 2 from 598, expected steps \(300\) from t_start"),
    ({"sampling": {"rounds": [{"t_start": 9, "steps": 3, "timesteps": [9, 2, 2]}]}}, "timesteps do not fall"),
    ({"sampling": {"rounds": [{"sampler": "dpm"}]}}, "sampler is 'dpm', expected ddim, ddpm, "),
    ({"sampling": {"rounds": [{"spacing": "karras"}]}}, "spacing is 'karras', expected uniform or logsnr"),
    ({"sampling": {"rounds": [{"eta": 0.5, "sampler": "unipc"}]}}, "eta is 0.5 with sampler unipc, expected 0"),
    ({"sampling": {"rounds": [{"guidance_interval": [5]}]}}, r"guidance_interval is \[5.0\], expected \[low, high\]"),
    ({"sampling": {"rounds": [{"guidance_interval": [500, 20]}]}}, r"guidance_interval is \[500.0, 20.0\]"),
    ({"sampling": {"rounds": [{"guidance_rescale": 1.5}]}}, "guidance_rescale is 1.5, expected 0 to 1"),
    ({"sampling": {"batch_size": 0}}, "sampling.batch_size is 0"),
    ({"train": {"unet": {"mask_dropout": 1.5}}}, "mask_dropout is 1.5"),
])
def test_values_that_contradict_each_other_are_refused(tree, message):
    with pytest.raises(ConfigError, match=message):
        config_from(tree)


def test_a_config_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(ConfigError, match="no such config; configs/ has"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize("text, message", [
    ("a: [1\nb: 2\n", "line 2 not yaml"), ("- 1\n", "found list"), ("a: \x00", "not yaml")])
def test_a_file_that_is_no_yaml_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "a.yaml")
