"""Checkpoints of ours are trusted no more than others': what their metadata and tensors may say, and what is never written."""
import json
import struct

import numpy as np
import pytest

import ensemble
from configs.reading import config_dict
from configs.schema import Config
from models.weights import convert
from models.weights.average import average
from models.weights.checkpoint import Header, read_header, tensor_shapes, write_checkpoint
from models.weights.loading import check_architecture, open_weights
from runtime.errors import RunError, UserError

WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}


def checkpoint(path, tensors=None, **header):
    """A checkpoint of a U-Net with other options than any shape shows."""
    config = Config()
    config.unet.groups, config.unet.head_channels, config.data.height = 16, 128, 768
    write_checkpoint(path, tensors or WEIGHTS, Header("unet", config_dict(config), step=5, metrics={"val_loss": 0.5},
                                                      parents=[{"file": "a"}], **header))
    return path


def tampered(path, change):
    """Changes the header of a checkpoint, {tensor: entry} and metadata."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length:])
    return path


@pytest.mark.parametrize("key, text, words", [
    ("config", "[]", "its metadata has config '[]', expected an object"), ("config", "3", "expected an object"),
    ("config", "[" * 50000, "its metadata is not whole"), ("step", '"x"', "has step 'x', expected a whole number"),
    ("step", "-1", "has step '-1'"), ("step", "1e400", "has step 'inf'"), ("step", "true", "has step 'True'"),
    ("metrics", "[1]", "expected an object of numbers"), ("metrics", '{"a": "b"}', "expected an object of numbers"),
    ("parents", "{}", "expected a list of objects"), ("parents", "[1]", "expected a list of objects"),
    ("extra", "null", "has extra 'None', expected an object"), ("weights", "best", "expected ema or raw"),
    ("step", "{", "its metadata is not whole")])
def test_metadata_of_another_type_is_a_line(key, text, words, tmp_path):
    path = tampered(checkpoint(tmp_path / "a.safetensors"), lambda header: header["__metadata__"].update({key: text}))
    with pytest.raises(UserError) as caught:
        read_header(path)
    assert len(caught.value.problems) == 1 and words in caught.value.problems[0]


@pytest.mark.parametrize("dtype, size", [("BF16", 2), ("F8_E4M3", 1), ("I32", 4), ("U8", 1), ("I64", 8)])
def test_tensors_of_another_type_are_named(dtype, size, tmp_path):
    def change(header):
        header["b"].update(dtype=dtype, shape=[16 // size])
    path = tampered(checkpoint(tmp_path / "a.safetensors"), change)
    with pytest.raises(UserError, match=f"b is of the type {dtype}, expected F32 or F16 or F64"):
        tensor_shapes(path)
    with pytest.raises(UserError):
        open_weights(path)


@pytest.mark.parametrize("option, value", [("res_blocks", 60), ("channels", 8192), ("channel_mult", [64] * 8)])
def test_a_network_that_the_tensors_do_not_show_is_refused_before_it_is_made(option, value):
    from models.layers import parameters_of
    from models.weights.foreign import Weights
    from tests.helpers import TINY_UNET, tiny_unet
    unet = Config(unet=TINY_UNET)
    weights = Weights(Header("unet", config_dict(unet)), parameters_of(tiny_unet()))
    check_architecture("a", weights, unet.unet)
    claimed = Config().unet.__class__(**{**unet.unet.__dict__, option: value})
    with pytest.raises(UserError, match=f"a: its metadata has {option} "):
        check_architecture("a", weights, claimed)


def test_converting_a_checkpoint_of_ours_keeps_all_it_says_and_may_not_replace_it(tmp_path):
    path, output = checkpoint(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    convert.main([str(path), str(output)])
    assert read_header(output) == read_header(path)
    before = path.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(path)
    for other in ("a.safetensors", "link.safetensors", "../" + tmp_path.name + "/a.safetensors"):
        with pytest.raises(UserError, match="is the file that is read"):
            convert.main([str(path), str(tmp_path / other)])
    assert path.read_bytes() == before


@pytest.mark.parametrize("more, words", [
    (["--kind", "vq"], "holds the weights of unet, expected vq"), (["--raw"], "holds no raw weights"),
    (["--latent_scale", "nan"], "--latent_scale is nan"), (["--head_channels", "0"], "--head_channels is 0"),
    (["--latent_scale", "2"], "a checkpoint of ours")])
def test_what_cannot_be_converted_is_a_line_and_no_file(more, words, tmp_path):
    path = checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=words):
        convert.main([str(path), str(tmp_path / "b.safetensors"), *more])
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_not_averaged(value, tmp_path):
    bad = checkpoint(tmp_path / "bad.safetensors", {**WEIGHTS, "b": np.array([1, value, 1, 1], np.float32)})
    good = checkpoint(tmp_path / "good.safetensors")
    for pair in ([good, bad], [bad, good]):
        with pytest.raises(UserError, match="bad.safetensors: b has values that are not finite"):
            average(pair, [0.5, 0.5], tmp_path / "c.safetensors")
    large = checkpoint(tmp_path / "large.safetensors", {**WEIGHTS, "b": np.full(4, 3e38, np.float32)})
    with pytest.raises(RunError, match="the average of b does not fit float32"):
        average([large, large], [1.0, 1.0], tmp_path / "c.safetensors")
    assert not list(tmp_path.glob("*c.safetensors*"))


@pytest.mark.parametrize("more, words", [
    (["--ratios", "inf", "1"], "--ratios"), (["--ratios", "1e308", "1e308"], "--ratios"),
    (["--ratios", "nan", "1"], "--ratios"), (["--ratios", "0", "1"], "--ratios"),
    (["--top", "-1"], "--top is -1, expected at least 2"), (["--top", "1"], "--top is 1")])
def test_an_ensemble_of_no_sense_is_refused(more, words, tmp_path):
    paths = [str(checkpoint(tmp_path / name)) for name in ("a.safetensors", "b.safetensors")]
    with pytest.raises(UserError, match=words):
        ensemble.main([*paths, "--output", str(tmp_path / "c.safetensors"), *more])
    assert not (tmp_path / "c.safetensors").exists()
    with pytest.raises(UserError, match="is the file that is read"):
        ensemble.main([*paths, "--output", paths[0]])
