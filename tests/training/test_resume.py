import copy

import pytest

from configs.reading import config_dict
from configs.schema import Config
from models.weights.checkpoint import Header
from runtime.errors import UserError
from training.resume import check_resume


def changed(**options):
    """A config with some options of train.unet changed."""
    config = Config()
    for name, value in options.items():
        setattr(config.train.unet, name, value)
    return config


def problems(old, new, extra=None, stage="unet"):
    """What check_resume says of a state of config `old` and the config `new` to go on with."""
    try:
        check_resume("state", Header(stage, config_dict(old), extra={"autoencoder": "a"}), new, stage,
                     extra or {"autoencoder": "a"})
    except UserError as error:
        return error.problems
    return []


def test_every_option_that_changes_a_step_is_named():
    new = changed(lr=0.5, mask_dropout=0.1)
    new.data.width, new.train.seed, new.unet.channels = 64, 7, 32
    found = problems(Config(), new)
    for name, before, after in (("data.width", 512, 64), ("unet.channels", 256, 32), ("train.unet.lr", 0.0001, 0.5),
                                ("train.unet.mask_dropout", 0.2, 0.1), ("train.seed", 0, 7)):
        assert f"state: {name} was {before}, now {after}; expected the same to resume" in found
    assert len(found) == 5


def test_what_a_step_does_not_depend_on_may_differ():
    new = changed(steps=7, save_every=1, sample_every=2, keep=3, keep_best=4, workers=5)
    new.data.cache, new.autoencoder.path, new.train.autoencoder.lr, new.sampling.seed = "elsewhere", "other", 0.5, 3
    assert problems(Config(), new) == []


def test_the_number_of_steps_shapes_a_cosine_decay():
    assert problems(changed(decay=True, steps=9), changed(decay=True, steps=7)) == [
        "state: train.unet.steps was 9, now 7; expected the same to resume"]


def test_latents_of_another_autoencoder_are_told_apart():
    (line,) = problems(Config(), Config(), extra={"autoencoder": "b"})
    assert "trained on latents of another autoencoder than checkpoints/autoencoder.safetensors" in line


@pytest.mark.parametrize("value, count", [(0.0, 0), (0.1, 1)])
def test_an_option_that_the_states_version_did_not_know_had_its_default(value, count):
    header = Header("unet", copy.deepcopy(config_dict(Config())))
    del header.config["train"]["unet"]["weight_decay"]
    new = changed(weight_decay=value)
    if count:
        with pytest.raises(UserError, match="weight_decay was 0.0, now 0.1"):
            check_resume("state", header, new, "unet", {})
    else:
        check_resume("state", header, new, "unet", {})
