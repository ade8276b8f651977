"""Training a GAN, going on after a kill, painting with it, and its statistics, as a user does it."""
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import test as script
from baselines.gan import build_gan
from baselines.layers import is_buffer
from baselines.painting import Painter, load_networks, settings
from baselines.statistics import recompute
from baselines.trainer import Batch, fit, train_gan
from configs.reading import config_from
from data.landscape import find_train
from data.synthetic import write_dataset
from ldm.noise import generator as keyed
from models.layers import parameters_of
from models.weights.average import average
from models.weights.ranking import ranked
from runtime.errors import UserError
from tests.helpers import on_cpu

SIZE = {"height": 64, "width": 96, "validation": 1}
OPTIONS = {"channels": 4, "routing_channels": 2, "first_channels": 4, "conv_experts": 2, "norm_experts": 2}
ROWS = {"gaugan": {"vae": True}, "clade": {"distance": True}, "sean": {}, "scgan": {}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six small landscapes to train on, and two masks."""
    folder = tmp_path_factory.mktemp("landscapes")
    write_dataset(folder, train=6, test=2, width=96, height=64, progress=False)
    return folder


def config_of(family, run, steps=2, **options):
    """A small run of a family."""
    return config_from({"data": SIZE, "train": {"network": "gan", "run": str(run), "gan": {
        "steps": steps, "batch_size": 2, "save_every": 2, "sample_every": 2, "ema": 0.5}}, "gan": {
            "generator": {"family": family, **OPTIONS, **ROWS[family], **options}, "encoder": {"channels": 4},
            "discriminator": {"kind": "fpse" if family == "scgan" else "multiscale", "channels": 4}}}, whole=False)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A function that trains a family once and returns its run's folder."""
    made = {}

    def run(family):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            train_gan(config_of(family, made[family]), find_train(data / "train"), resume=False)
        return made[family]
    return run


@pytest.mark.parametrize("family", ["gaugan", "sean"])
@on_cpu
def test_a_resumed_run_gives_the_bits_of_one_that_was_not_stopped(trained, data, tmp_path, family):
    pairs = find_train(data / "train")
    train_gan(config_of(family, tmp_path / "whole", steps=4), pairs, resume=False)
    halves = tmp_path / "halves"
    train_gan(config_of(family, halves, steps=2), pairs, resume=False)
    train_gan(config_of(family, halves, steps=4), pairs, resume=True)
    for name in (f"checkpoints/gan-{4:08d}.safetensors", "gan/state.safetensors"):
        one, two = load_file(tmp_path / "whole" / name), load_file(halves / name)
        assert one.keys() == two.keys()
        assert [key for key in one if not np.array_equal(one[key], two[key])] == []


@pytest.mark.parametrize("family", ROWS)
@on_cpu
def test_every_family_learns_saves_and_paints_the_submission(trained, data, tmp_path, family):
    run = trained(family)
    checkpoint = ranked(run, "gan")[0][0]
    drawn = parameters_of(build_gan(config_fitted(family), 0))
    saved = load_file(checkpoint)
    assert {name for name in saved if not name.startswith("raw.")} == set(drawn)
    moved = [name for name in drawn if not np.array_equal(drawn[name].numpy(), saved[f"raw.{name}"])]
    # SEAN has layers for every class, of which those of classes that no mask has rest.
    assert len(moved) > (0.5 if family == "sean" else 0.8) * sum(not is_buffer(name) for name in drawn)
    paint(data, checkpoint, tmp_path / "all")
    paint(data, checkpoint, tmp_path / "one", "--limit", "1", "--candidates", "2")
    images = sorted((tmp_path / "all").glob("*.jpg"))
    assert len(images) == 2 and (tmp_path / "all" / "result.zip").is_file()
    if family != "sean" and family != "gaugan":           # the mask alone: candidates are all the same image
        assert (tmp_path / "one" / images[0].name).read_bytes() == images[0].read_bytes()
    assert json.loads((tmp_path / "all" / "manifest.json").read_text())["settings"]["weights"]["style"] == "mean"


def paint(data, checkpoint, output, *options):
    """test.py as a user calls it."""
    script.main(["--input_path", str(data / "test"), "--img_path", str(data / "train"), "--output_path", str(output),
                 "--checkpoint", str(checkpoint), *options])


def config_fitted(family):
    """The GanConfig as the trainer completes it."""
    config = config_of(family, "unused")
    fit(config)
    return config.gan


@on_cpu
def test_an_ensemble_of_two_is_a_checkpoint_like_any(trained, data, tmp_path):
    checkpoint = ranked(trained("gaugan"), "gan")[0][0]
    average([checkpoint, checkpoint], [0.5, 0.5], tmp_path / "ensemble.safetensors")
    one, two = load_file(checkpoint), load_file(tmp_path / "ensemble.safetensors")
    assert [name for name in two if not np.array_equal(one[name], two[name])] == []
    config, weights = settings(tmp_path / "ensemble.safetensors")
    assert load_networks(config, "ensemble", weights).gan.takes_reference


@on_cpu
def test_sean_takes_the_mean_code_of_a_class_that_the_reference_lacks(trained, rng):
    config, weights = settings(ranked(trained("sean"), "gan")[0][0])
    networks = load_networks(config, "sean", weights)
    painter = Painter(networks, config, results=None)
    reference = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
    mask, own = np.zeros((64, 96), dtype=np.int32), np.ones((64, 96), dtype=np.int32)
    mask[:32], own[:32] = 5, 1                                          # tree, of which the reference has none
    seen = networks.gan.codes_seen.numpy() > 0
    semantics = painter.semantics(own)
    from ldm.pixels import from_uint8
    codes = networks.gan.reference_style(from_uint8(reference[None]), semantics).numpy()[0]
    means = networks.gan.mean_codes.numpy()
    assert seen.any() and not seen.all()
    others = seen & (np.arange(29) != 1)                                # the reference has sky, 1, alone
    np.testing.assert_array_equal(codes[others], means[others])
    known = np.concatenate([codes[1:2], means[[k for k in np.flatnonzero(seen) if k != 1]]])
    np.testing.assert_allclose(codes[~seen], np.repeat(known.mean(0)[None], (~seen).sum(), 0), atol=1e-6)
    assert np.abs(codes[1] - means[1]).max() > 0
    assert painter.image(reference, mask, own, "a").shape == (64, 96, 3)


@on_cpu
def test_statistics_over_one_batch_of_all_pairs_are_that_batchs(trained, data):
    config = config_of("clade", trained("clade"))
    config.train.gan.batch_size = 6
    path = recompute(config, find_train(data / "train"), ranked(trained("clade"), "gan")[0][0])
    before, after = load_file(ranked(trained("clade"), "gan")[0][0]), load_file(path)
    for name in after:
        same = np.array_equal(before[name], after[name])
        assert same != name.endswith(("running_mean", "running_var")), name
    again = load_file(recompute(config, find_train(data / "train"), path))
    for name in after:                                     # they depend on the weights alone
        np.testing.assert_allclose(after[name], again[name], rtol=1e-4, atol=1e-5)


@on_cpu
def test_a_published_generator_paints_with_its_encoder_beside_it(trained, data, tmp_path):
    saved = load_file(ranked(trained("gaugan"), "gan")[0][0])
    for part, letter in (("generator", "G"), ("encoder", "E")):
        save_file({name[len(part) + 1:]: array for name, array in saved.items() if name.startswith(f"{part}.")},
                  tmp_path / f"latest_net_{letter}.safetensors")
    paint(data, tmp_path / "latest_net_G.safetensors", tmp_path / "out", "--set", "data.height=64", "--set", "data.width=96")
    ours = tmp_path / "ours"
    paint(data, ranked(trained("gaugan"), "gan")[0][0], ours)
    for image in ours.glob("*.jpg"):
        assert image.read_bytes() == (tmp_path / "out" / image.name).read_bytes()
    (tmp_path / "latest_net_E.safetensors").unlink()
    with pytest.raises(UserError, match="expected the encoder beside it as latest_net_E.safetensors"):
        settings(tmp_path / "latest_net_G.safetensors", overrides=["data.height=64", "data.width=96"])


def test_a_batch_is_mirrored_whole_and_the_published_defect_has_a_name(data):
    config = config_of("clade", "unused")
    fit(config)
    pairs = find_train(data / "train")[:4]
    batch = Batch.read(pairs, config, keyed(0, "gan", 0), 0)
    config.data.flip = False
    plain = Batch.read(pairs, config, keyed(0, "gan", 0), 0)
    mirrored = [not np.array_equal(a, b) for a, b in zip(batch.images, plain.images)]
    assert any(mirrored) and not all(mirrored)
    i = mirrored.index(True)
    np.testing.assert_array_equal(batch.images[i], plain.images[i][:, :, ::-1])
    np.testing.assert_array_equal(batch.semantics.labels[i], plain.semantics.labels[i][:, ::-1])
    offsets, straight = (one.semantics.distance((64, 96)).numpy()[i] for one in (batch, plain))
    np.testing.assert_allclose(offsets[0], straight[0][:, ::-1], atol=1e-5)
    np.testing.assert_allclose(offsets[1], -straight[1][:, ::-1], atol=1e-5)      # the horizontal offset changes its sign
    config.data.flip = config.gan.flipped_distance = True
    flipped = Batch.read(pairs, config, keyed(0, "gan", 0), 0).semantics.distance((64, 96)).numpy()[i]
    np.testing.assert_array_equal(flipped, straight[:, ::-1])                     # upside down
