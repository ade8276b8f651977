import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.layers import Conv, GroupNorm, parameters_of
from models.weights import checkpoint
from models.weights.checkpoint import Header, fill, load_checkpoint, read_header, read_tensors, weights_hash, write_checkpoint
from runtime.backend import jt, nn
from runtime.errors import RunError, UserError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = Conv(3, 5), GroupNorm(5)

    def execute(self, x):
        return self.norm(self.conv(x))


HEADER = Header(kind="unet", config={"unet": {"channels": 32}, "note": "é ü"}, step=7, metrics={"val_loss": 0.25},
                parents=[{"file": "a", "share": 0.5}], extra={"autoencoder": "abc"})


def net(seed=None):
    """A network, with values that float16 holds exactly when there is a seed."""
    model = Net()
    if seed is not None:
        fill(model, arrays(seed), "drawn")
    return model


def arrays(seed):
    """{name: array} for a Net, multiples of 1/8."""
    rng = np.random.default_rng(seed)
    return {name: (rng.integers(-40, 40, tuple(var.shape)) / 8).astype(np.float32)
            for name, var in parameters_of(Net()).items()}


def values(model):
    return {name: var.numpy() for name, var in parameters_of(model).items()}


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints" / "net.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_what_is_written_is_read_back_whole(path, dtype):
    model = net(1)
    write_checkpoint(path, parameters_of(model), HEADER, dtype)
    other = net()
    assert load_checkpoint(other, path) == HEADER == read_header(path, "unet")
    assert equal(values(other), arrays(1)) and weights_hash(other) == weights_hash(model)
    assert not any(var.is_stop_grad() for var in parameters_of(other).values())


def test_the_safetensors_library_reads_it_and_what_it_writes_is_read(path):
    write_checkpoint(path, arrays(1), HEADER)
    assert equal(load_file(path), arrays(1))
    length = struct.unpack("<Q", path.read_bytes()[:8])[0]
    assert length % 8 == 0 and list(json.loads(path.read_bytes()[8:8 + length]))[:-1] == list(arrays(1))   # in order
    theirs = path.with_name("theirs.safetensors")
    metadata = {"format": "iidm-1", "kind": "unet", "weights": "ema", "config": "{}", "step": "3", "metrics": "{}",
                "parents": "[]", "extra": "{}"}
    save_file(arrays(2), theirs, metadata)
    model = net()
    assert load_checkpoint(model, theirs).step == 3
    assert equal(values(model), arrays(2))


def test_float64_arrays_and_transposed_ones_are_written_as_they_read(path):
    array = np.arange(6, dtype=np.float64).reshape(2, 3).T
    write_checkpoint(path, {"a": array, "b": jt.array([1.5])}, HEADER)
    found = read_tensors(path)
    np.testing.assert_array_equal(found["a"], array)
    assert found["a"].dtype == np.float32 and found["b"].tolist() == [1.5]


def test_averaged_and_raw_weights_live_in_one_file(path):
    write_checkpoint(path, {**arrays(1), **{f"raw.{name}": array for name, array in arrays(2).items()}}, HEADER)
    averaged, raw = net(), net()
    load_checkpoint(averaged, path)
    load_checkpoint(raw, path, "raw")
    assert equal(values(averaged), arrays(1)) and equal(values(raw), arrays(2))
    assert equal(read_tensors(path), arrays(1)) and equal(read_tensors(path, "raw."), arrays(2))


def test_a_file_without_the_weights_asked_for_is_an_error(path):
    write_checkpoint(path, arrays(1), HEADER)
    with pytest.raises(UserError, match=r"\(raw weights\): conv.weight is missing"):
        load_checkpoint(net(), path, "raw")


@pytest.mark.parametrize("change, line", [
    (lambda t: t.pop("conv.bias"), "conv.bias is missing, expected shape (5,)"),
    (lambda t: t.update(extra=t["conv.bias"]), "extra is not a tensor of this network"),
    (lambda t: t.update({"norm.bias": t["norm.bias"][:4]}), "norm.bias has shape (4,), expected (5,)"),
    (lambda t: t["conv.weight"].__setitem__((1, 2, 0, 0), np.nan), "conv.weight has values that are not finite"),
    (lambda t: t["norm.weight"].__setitem__(3, np.inf), "norm.weight has values that are not finite")])
def test_loading_is_strict_names_the_tensor_and_leaves_the_model_as_it_was(path, change, line):
    tensors = arrays(1)
    change(tensors)
    write_checkpoint(path, tensors, HEADER)
    model = net(2)
    with pytest.raises(UserError) as error:
        load_checkpoint(model, path)
    assert error.value.problems == [f"{path} (ema weights): {line}"]
    assert equal(values(model), arrays(2))


def test_every_problem_has_its_line(path):
    tensors = arrays(1)
    del tensors["conv.bias"], tensors["norm.bias"]
    tensors["more"] = np.ones(2, dtype=np.float32)
    write_checkpoint(path, tensors, HEADER)
    with pytest.raises(UserError) as error:
        load_checkpoint(net(), path)
    assert [line.split(": ")[1].split(" ")[0] for line in error.value.problems] == ["conv.bias", "norm.bias", "more"]


def broken(path, kind):
    """Leaves something at `path` that is no whole checkpoint of ours."""
    write_checkpoint(path, arrays(1), HEADER)
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif kind == "cut in its header":
        path.write_bytes(path.read_bytes()[:50])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not weights " * 20)
    elif kind == "foreign":
        save_file(arrays(1), path, {"format": "pt"})
    elif kind == "bare":
        save_file(arrays(1), path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("kind, message", [
    ("missing", "no such file, expected a checkpoint"), ("folder", "no such file, expected a checkpoint"),
    ("truncated", "not a whole safetensors file"), ("cut in its header", "not a whole safetensors file"),
    ("empty", "not a whole safetensors file"), ("text", "not a whole safetensors file"),
    ("foreign", "format 'pt', expected 'iidm-1'"), ("bare", "format None, expected 'iidm-1'")])
def test_what_is_no_checkpoint_is_an_error_of_one_line(path, kind, message):
    broken(path, kind)
    model = net(2)
    with pytest.raises(UserError) as error:
        load_checkpoint(model, path)
    (line,) = error.value.problems
    assert line.startswith(f"{path}: ") and message in line and "\n" not in line
    assert equal(values(model), arrays(2))


def test_a_checkpoint_of_the_other_network_is_an_error(path):
    write_checkpoint(path, arrays(1), HEADER)
    with pytest.raises(UserError, match="holds the weights of unet, expected autoencoder"):
        read_header(path, "autoencoder")


def test_writing_that_stops_in_the_middle_leaves_the_old_file_and_nothing_else(path):
    write_checkpoint(path, arrays(1), HEADER)
    before = path.read_bytes()

    class Stops:
        shape = (5,)

        def numpy(self):
            assert len(list(path.parent.iterdir())) == 2      # it has begun
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, {**arrays(2), "last": Stops()}, HEADER)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_the_file_has_its_name_only_when_it_is_on_the_disk(path, monkeypatch):
    seen = []
    monkeypatch.setattr("runtime.files.flush", lambda p: seen.append((p.name, path.exists())))
    checkpoint.write_checkpoint(path, arrays(1), HEADER)
    assert seen[0][0] != path.name and seen[0][1] is False and seen[1] == (path.parent.name, True)


def test_the_hash_is_that_of_names_and_values(path):
    one, same = net(1), net(1)
    assert weights_hash(one) == weights_hash(same) != weights_hash(net(2))
    write_checkpoint(path, parameters_of(one), HEADER, "float16")
    load_checkpoint(same, path)
    assert weights_hash(same) == weights_hash(one)
    renamed = Net()
    renamed.other = renamed.norm
    del renamed.norm
    fill(renamed, {name.replace("norm", "other"): array for name, array in arrays(1).items()}, "drawn")
    assert weights_hash(renamed) != weights_hash(one)


def test_weights_too_large_for_a_small_type_are_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, {"a": np.ones(3, np.float32)}, HEADER)
    with pytest.raises(RunError, match="7e.04 does not fit float16"):
        write_checkpoint(path, {"a": np.array([1, -7e4], np.float32)}, HEADER, dtype="float16")
    assert load_file(path)["a"].shape == (3,)


def test_a_checkpoint_whose_metadata_lacks_something_is_one_line(tmp_path):
    save_file({"a": np.ones(3, np.float32)}, tmp_path / "a.safetensors", {"format": checkpoint.FORMAT, "kind": "unet"})
    with pytest.raises(UserError, match="metadata is not whole"):
        read_header(tmp_path / "a.safetensors")
