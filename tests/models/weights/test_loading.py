"""train.py, test.py and ensemble.py take published and foreign files wherever they take a checkpoint."""
import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import ensemble
import test as script
from configs.reading import config_dict, config_yaml
from configs.schema import AutoencoderConfig, Config
from data.synthetic import write_dataset
from models.layers import parameters_of
from models.unet import UNet
from models.weights.checkpoint import Header, read_header, read_tensors, write_checkpoint
from models.weights.files import find_autoencoder
from models.weights.loading import load_autoencoder, open_weights
from runtime.errors import UserError
from tests.helpers import ROOT, TINY_AUTOENCODER, TINY_UNET, tiny_autoencoder, tiny_unet, with_drawn_weights

# Foreign files cannot say how wide attention heads are: 64, as published.
UNET = dataclasses.replace(TINY_UNET, head_channels=64)


def jittor_pickle(path, arrays):
    """Writes what jittor.save writes."""
    content = pickle.dumps(arrays, protocol=4)
    path.write_bytes(content + hashlib.sha1(content).digest() + b"HCAJSLHD")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with data (3 masks of 64x48) and the same weights as ours and as published pickles."""
    folder = tmp_path_factory.mktemp("published")
    write_dataset(folder / "data", train=4, test=3, width=64, height=48, seed=3, progress=False)
    config = Config(autoencoder=TINY_AUTOENCODER, unet=UNET)
    config.data.height, config.data.width = 48, 64
    networks = {"autoencoder": tiny_autoencoder(), "unet": tiny_unet()}
    for kind, network in networks.items():
        write_checkpoint(folder / f"{kind}.safetensors", parameters_of(network), Header(kind, config_dict(config)))
        jittor_pickle(folder / f"{kind}.pkl", {name: var.numpy() for name, var in parameters_of(network).items()})
    (folder / "sampling.yaml").write_text("sampling: {rounds: [{t_start: 20, steps: 2, guidance: 2.0}]}")
    return folder


def paint(work, output, checkpoint, autoencoder, *more):
    """Runs test.py; {name: bytes} of its images."""
    size = () if checkpoint.suffix == ".safetensors" else ("--set", "data.height=48", "--set", "data.width=64")
    script.main(["--input_path", str(work / "data/test"), "--img_path", str(work / "data/train"), "--output_path", str(output),
                 "--checkpoint", str(checkpoint), "--autoencoder", str(autoencoder), "--config", str(work / "sampling.yaml"),
                 *size, *more])
    return {path.name: path.read_bytes() for path in output.glob("*.jpg")}


def test_published_pickles_paint_the_pictures_that_our_checkpoints_paint(work, tmp_path, capsys):
    ours = paint(work, tmp_path / "ours", work / "unet.safetensors", work / "autoencoder.safetensors")
    published = paint(work, tmp_path / "published", work / "unet.pkl", work / "autoencoder.pkl")
    assert len(ours) == 3 and published == ours
    assert "jittor pickle" in capsys.readouterr().out


def test_the_average_of_published_pickles_is_an_ordinary_checkpoint(work, tmp_path):
    other = {name: 3 * array for name, array in read_tensors(work / "unet.safetensors").items()}
    with open(tmp_path / "double.pkl", "wb") as stream:      # as the published tool writes averages: bare, float64
        pickle.dump({name: array.astype(np.float64) for name, array in other.items()}, stream, protocol=4)
    output = tmp_path / "mean.safetensors"
    ensemble.main([str(work / "unet.pkl"), str(tmp_path / "double.pkl"), "--output", str(output)])
    for name, array in read_tensors(output).items():
        np.testing.assert_allclose(array, 2 / 3 * other[name], rtol=1e-6)
    assert read_header(output).config["unet"] == dataclasses.asdict(UNET)


def test_converting_writes_the_same_weights_and_says_what_they_are(work, tmp_path):
    output = tmp_path / "converted.safetensors"
    done = subprocess.run([sys.executable, "-m", "models.convert", str(work / "unet.pkl"), str(output), "--kind", "unet",
                           "--head_channels", "32"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "channels 32, channel_mult [1, 2]" in done.stdout and "peak memory" in done.stdout
    found, expected = read_tensors(output), read_tensors(work / "unet.safetensors")
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert read_header(output, "unet").config["unet"] == dataclasses.asdict(TINY_UNET)


def test_training_starts_from_published_files_and_takes_their_architecture(work, tmp_path, monkeypatch):
    import train
    config = Config(unet=UNET)
    config.data.height, config.data.width, config.data.cache, config.data.validation = 48, 64, str(tmp_path / "latents"), 1
    config.autoencoder.path = str(work / "autoencoder.safetensors").replace(".safetensors", ".missing")
    config.train.run = str(tmp_path / "run")
    config.train.unet = dataclasses.replace(config.train.unet, steps=1, batch_size=1, init_from=str(work / "unet.pkl"))
    (tmp_path / "c.yaml").write_text(config_yaml(config))
    one = tmp_path / "only"
    one.mkdir()
    (one / "autoencoder.pkl").write_bytes((work / "autoencoder.pkl").read_bytes())
    train.main(["--input_path", str(work / "data/train"), "--config", str(tmp_path / "c.yaml"),
                "--set", f"autoencoder.path={one / 'autoencoder.safetensors'}"])
    header = read_header(next((tmp_path / "run/checkpoints").glob("unet-*")))
    assert header.config["autoencoder"]["channels"] == 32 and header.config["autoencoder"]["codes"] == 64
    assert header.config["autoencoder"]["path"] == str(one / "autoencoder.pkl")


def test_an_autoencoder_is_found_by_its_name_whatever_its_ending(tmp_path):
    path = tmp_path / "autoencoder.safetensors"
    assert find_autoencoder(path) is None
    path.with_suffix(".ckpt").write_bytes(b"")
    assert find_autoencoder(path) == path.with_suffix(".ckpt")
    path.with_suffix(".pkl").write_bytes(b"")
    with pytest.raises(UserError, match="autoencoder.pkl and .*autoencoder.ckpt; autoencoder.path has to name one"):
        find_autoencoder(path)
    path.write_bytes(b"")
    assert find_autoencoder(path) == path


def test_latent_scale_multiplies_latents_of_any_file(work):
    from ldm.pixels import from_uint8
    image = from_uint8(np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3)).astype(np.uint8))
    plain, _, _ = load_autoencoder(AutoencoderConfig(path=str(work / "autoencoder.pkl")))
    scaled, config, _ = load_autoencoder(AutoencoderConfig(path=str(work / "autoencoder.pkl"), latent_scale=0.5))
    assert config.latent_scale == 0.5
    np.testing.assert_allclose(scaled.encode(image).numpy(), plain.encode(image).numpy() / 2, atol=1e-6)


def test_what_a_published_file_does_not_say_may_be_said_beside_it_and_nothing_else(work, tmp_path):
    with pytest.raises(UserError, match="unet.channels=64: beside a checkpoint"):
        paint(work, tmp_path, work / "unet.pkl", work / "autoencoder.pkl", "--set", "unet.channels=64")
    with pytest.raises(UserError, match="data.height=48: beside a checkpoint"):
        paint(work, tmp_path, work / "unet.safetensors", work / "autoencoder.pkl", "--set", "data.height=48")


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize("change, words", [
    (lambda a: without(a, "output_blocks.3.0.out_norm.mlp_beta.bias"), "output_blocks.3.0.out_norm.mlp_beta.bias is missing"),
    (lambda a: {**a, "out.2.weight": a["out.2.weight"][:5]}, "5 output channels"),
    (lambda a: {**a, "input_blocks.1.0.in_layers.2.weight": a["input_blocks.1.0.in_layers.2.weight"][:20]}, "multiple of 32"),
    (lambda a: {**a, "out.0.bias": np.full_like(a["out.0.bias"], np.nan)}, "not finite"),
    (lambda a: {key: array for key, array in a.items() if not key.startswith("output_blocks.3.")}, "output_blocks"),
    (lambda a: {**a, "head.weight": np.ones(3, np.float32)}, "head.weight")])
def test_contradictions_in_a_foreign_file_are_errors_that_name_the_tensor(work, tmp_path, change, words):
    arrays = read_tensors(work / "unet.safetensors")
    jittor_pickle(tmp_path / "broken.pkl", change(arrays))
    with pytest.raises(UserError, match=words):
        paint(work, tmp_path / "out", tmp_path / "broken.pkl", work / "autoencoder.pkl")
    assert not list(tmp_path.glob("out/*.jpg"))


def test_a_head_width_that_does_not_divide_is_answered_by_the_option_that_mends_it(tmp_path):
    model = with_drawn_weights(UNet(dataclasses.replace(TINY_UNET, channel_mult=[1, 1])))
    jittor_pickle(tmp_path / "a.pkl", {name: var.numpy() for name, var in parameters_of(model).items()})
    with pytest.raises(UserError, match="--head_channels"):
        open_weights(tmp_path / "a.pkl")


def test_the_manifest_of_a_foreign_files_run_names_its_weights(work, tmp_path):
    paint(work, tmp_path, work / "unet.pkl", work / "autoencoder.pkl", "--limit", "1")
    weights = json.loads((tmp_path / "manifest.json").read_text())["settings"]["weights"]
    assert set(weights) == {"unet", "autoencoder"} and all(len(code) == 64 for code in weights.values())
