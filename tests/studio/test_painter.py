"""The studio's pictures are test.py's: painted by tiny networks, byte for byte."""
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import test as script
from configs.reading import config_dict, load_config
from configs.schema import Config, RoundConfig, SamplingConfig
from data.synthetic import scene
from ldm.schedule import make_schedule
from models.layers import parameters_of
from models.weights.checkpoint import Header, weights_hash, write_checkpoint
from runtime.errors import UserError
from studio import compiled
from studio import recipe as recipes
from studio.asked import asked
from studio.painter import open_painter
from studio.presets import applied, presets
from studio.queue import Cancelled
from studio.results import Results
from tests.helpers import TINY_AUTOENCODER, TINY_UNET, tiny_autoencoder, tiny_unet

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    """A Painter of tiny networks with drawn weights; its own recipe has two short rounds, one of them guided."""
    folder = tmp_path_factory.mktemp("networks")
    rounds = [RoundConfig(sampler="unipc", t_start=600, steps=3, guidance=2.0),
              RoundConfig(sampler="ddim", t_start=400, steps=2, guidance=1.0)]
    config = Config(autoencoder=TINY_AUTOENCODER, unet=TINY_UNET, sampling=SamplingConfig(rounds=rounds))
    config.data.height, config.data.width = HEIGHT, WIDTH
    config.autoencoder.path = str(folder / "autoencoder.safetensors")
    autoencoder = tiny_autoencoder()
    write_checkpoint(config.autoencoder.path, parameters_of(autoencoder), Header("autoencoder", config_dict(config)))
    write_checkpoint(folder / "unet.safetensors", parameters_of(tiny_unet()),
                     Header("unet", config_dict(config), step=7, extra={"autoencoder": weights_hash(autoencoder)}))
    return open_painter(folder / "unet.safetensors")


class Watcher:
    """Remembers what it is told; cancels at a step."""

    def __init__(self, cancel_at=None):
        self.steps, self.rounds, self.cancel_at = [], [], cancel_at

    def step(self, done, total, round_, rounds, t, previews):
        if done == self.cancel_at:
            raise Cancelled
        self.steps.append((done, total, round_, rounds, t, previews))

    def round(self, round_, rounds, images):
        self.rounds.append(images)


def wish(painter, **options):
    return asked({"style": "s", "preset": "fast", **options}, painter.presets)


def pictures(seed=7, index=13):
    """A mask as PNG bytes, and a style picture."""
    return recipes.png_of(scene(seed, index, HEIGHT, WIDTH)[1]), scene(seed, 20, HEIGHT, WIDTH)[0]


def test_a_picture_is_test_pys_byte_for_byte_whether_by_its_json_or_by_its_own_metadata(painter, tmp_path):
    mask_png, style = pictures()
    options = wish(painter, name="lake", seed=5, strength=520, guidance=3.0, colour_transfer="reinhard", variations=2)
    sampling = painter.sampling(options)
    watcher, results, made = Watcher(), Results(tmp_path / "results"), []
    for name, image in zip(options.names(), painter.paint(style, mask_png, options.names(), sampling, watcher)):
        recipe = recipes.recipe(name, mask_png, "s", options.only(name), painter, *painter.settings(sampling))
        made.append(results.add(painter.encoded(image), mask_png, recipe, style))
    assert len(watcher.steps) == 5 and len(watcher.rounds) == 2
    for result, suffix in zip(made, (".json", ".jpg")):
        again = tmp_path / f"again{suffix}"
        script.main(recipes.unpack(tmp_path / "results" / f"{result.id}{suffix}", again))
        name = result.recipe["mask"].replace(".png", ".jpg")
        assert recipes.with_comment((again / "results" / name).read_bytes(), recipes.comment_of(result.recipe)) == result.jpeg


def test_what_is_watched_are_small_pictures_of_every_step_and_the_images_of_every_round(painter):
    mask_png, style = pictures()
    watcher = Watcher()
    images = painter.paint(style, mask_png, ["a", "b"], painter.sampling(wish(painter)), watcher)
    assert [(done, total, round_, rounds) for done, total, round_, rounds, _, _ in watcher.steps] == [
        (1, 5, 0, 2), (2, 5, 0, 2), (3, 5, 0, 2), (4, 5, 1, 2), (5, 5, 1, 2)]
    assert [t for *_, t, _ in watcher.steps] == [600, 300, 0, 400, 0]
    factor = painter.config.autoencoder.factor
    assert all(previews.shape == (2, HEIGHT // factor, WIDTH // factor, 3) for *_, previews in watcher.steps)
    np.testing.assert_array_equal(watcher.rounds[-1], images)
    assert (images[0] != images[1]).any()


def test_a_cancelled_painting_ends_at_that_step_and_the_next_is_as_if_it_had_not_been(painter):
    mask_png, style = pictures()
    sampling = painter.sampling(wish(painter))
    whole = painter.paint(style, mask_png, ["a"], sampling, Watcher())
    for step in (1, 3, 4):
        watcher = Watcher(cancel_at=step)
        with pytest.raises(Cancelled):
            painter.paint(style, mask_png, ["a"], sampling, watcher)
        assert len(watcher.steps) == step - 1
    np.testing.assert_array_equal(painter.paint(style, mask_png, ["a"], sampling, Watcher()), whole)


def test_what_was_compiled_for_a_recipe_is_known_the_next_time_and_not_for_another(painter, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "jt", SimpleNamespace(flags=SimpleNamespace(cache_path=str(tmp_path))))
    assert not compiled.compiled_before(painter)
    compiled.remember(painter)
    assert compiled.compiled_before(painter)
    wider = dataclasses.replace(painter.config, unet=dataclasses.replace(painter.config.unet, channels=999))
    other = SimpleNamespace(config=wider, presets=painter.presets, live=painter.live)
    assert not compiled.compiled_before(other)


def test_options_change_what_they_say_and_leave_the_preset_as_it_was(painter):
    own = painter.presets["fast"].sampling                             # few steps already: fast is its own recipe
    sampling = painter.sampling(wish(painter, seed=9, strength=300, rounds=1, guidance=4.5, colour_transfer="none"))
    assert [(r.t_start, r.steps, r.guidance) for r in sampling.rounds] == [(300, 3, 4.5)]
    assert sampling.seed == 9 and sampling.colour_transfer == "none"
    assert [(r.t_start, r.guidance) for r in own.rounds] == [(600, 2.0), (400, 1.0)] and own.seed == 0
    assert list(painter.presets)[0] == "fast" and painter.live == "sketch" and "own" not in painter.presets


def test_fast_is_the_checkpoints_recipe_in_eight_steps_of_unipc_a_round_and_iidm_fast_is_that_of_the_winning_one():
    schedule = make_schedule("linear", 1000)
    found = presets(load_config("iidm").sampling, schedule)
    assert found["fast"].rounds == load_config("iidm_fast").sampling.rounds and found["fast"].evaluations == 48
    assert list(found) == ["fast", "sketch", "published"] and found["sketch"].rounds == found["fast"].rounds[:1]
    by_classes = dataclasses.replace(load_config("iidm").sampling, colour_transfer="class_monge_kantorovich")
    assert presets(by_classes, schedule)["fast"].sampling.colour_transfer == "monge_kantorovich"      # a style has no mask here
    assert asked({"style": "s", "preset": "fast", "colour_transfer": "monge_kantorovich"}, found)
    with pytest.raises(UserError, match="colour_transfer is 'class_cielab', expected cielab8 or reinhard"):
        asked({"style": "s", "preset": "fast", "colour_transfer": "class_cielab"}, found)
    from_noise = presets(load_config("dm").sampling, schedule)
    assert [round_.steps for round_ in from_noise["fast"].rounds] == [20]
    with pytest.raises(UserError, match="begins from pure noise"):
        applied(from_noise["fast"], asked({"style": "s", "preset": "fast", "strength": 500}, from_noise), "float32")


def test_a_student_offers_the_rounds_it_was_taught_and_no_others():
    found = presets(load_config("iidm_turbo").sampling, make_schedule("linear", 1000))
    assert list(found) == ["turbo", "sketch"] and [found[id_].evaluations for id_ in found] == [10, 4]
    with pytest.raises(UserError, match="these weights are a student of distillation"):
        applied(found["turbo"], asked({"style": "s", "preset": "turbo", "guidance": 2.0}, found), "float32")


def test_without_weights_of_ones_own_the_demos_are_taken_and_it_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = open_painter()
    assert found.about["line"].startswith("the demo's weights, since no others were found")
    assert 0.5 < found.colours.r2 <= 1
    with pytest.raises(UserError, match="no such file"):
        open_painter(tmp_path / "none.safetensors")
