"""models/weights/average.py and ensemble.py: Eq. (7)."""
import numpy as np
import pytest
from safetensors.numpy import load_file

import ensemble
from configs.reading import config_dict
from configs.schema import Config
from models.weights.average import average
from models.weights.checkpoint import Header, read_header, write_checkpoint
from runtime.errors import UserError


def checkpoint(path, tensors, step=1, raw=None, config=None, **header):
    """A checkpoint with these tensors."""
    values = {**tensors, **{f"raw.{name}": array for name, array in (raw or {}).items()}}
    write_checkpoint(path, {name: np.asarray(a, np.float32) for name, a in values.items()},
                     Header(kind="unet", config=config_dict(config or Config()), step=step, **header))
    return path


def test_an_average_is_the_weighted_mean_and_names_its_parents(tmp_path):
    rng = np.random.default_rng(0)
    sets = [{"a": rng.standard_normal((3, 5)), "b": rng.standard_normal(7)} for _ in range(3)]
    paths = [checkpoint(tmp_path / f"{i}.safetensors", tensors, step=10 * i) for i, tensors in enumerate(sets)]
    output, shares = tmp_path / "mean.safetensors", np.array([0.5, 0.3, 0.2])
    average(paths, shares, output)
    for name, found in load_file(output).items():
        expected = sum(share * tensors[name].astype(np.float32).astype(np.float64) for share, tensors in zip(shares, sets))
        np.testing.assert_array_equal(found, expected.astype(np.float32))
    header = read_header(output, "unet")
    assert [(p["file"], p["step"], p["share"]) for p in header.parents] == [(str(p), 10 * i, s) for i, (p, s) in
                                                                         enumerate(zip(paths, shares))]
    assert header.step == 20 and header.metrics == {}


def test_sums_are_kept_in_double_precision(tmp_path):
    paths = [checkpoint(tmp_path / f"{i}.safetensors", {"a": [value]}) for i, value in enumerate([1e8, 1, -1e8])]
    average(paths, [1 / 3] * 3, tmp_path / "mean.safetensors")
    np.testing.assert_allclose(load_file(tmp_path / "mean.safetensors")["a"], [1 / 3], rtol=1e-6)


def test_raw_weights_are_averaged_when_asked_for(tmp_path):
    paths = [checkpoint(tmp_path / f"{i}.safetensors", {"a": [i]}, raw={"a": [10 * i]}) for i in (1, 2)]
    average(paths, [0.5, 0.5], tmp_path / "mean.safetensors", "raw")
    assert load_file(tmp_path / "mean.safetensors")["a"] == 15
    assert read_header(tmp_path / "mean.safetensors").weights == "raw"


def test_everything_that_differs_is_named_and_nothing_is_written(tmp_path):
    other = Config()
    other.unet.channels = 128
    a = checkpoint(tmp_path / "a.safetensors", {"x": [1], "y": [1, 2], "z": [1]})
    b = checkpoint(tmp_path / "b.safetensors", {"x": [1], "y": [1, 2, 3], "w": [1]}, config=other)
    with pytest.raises(UserError) as error:
        average([a, b], [0.5, 0.5], tmp_path / "c.safetensors")
    text = "\n".join(error.value.problems)
    assert all(word in text for word in ("unet.channels is 128, expected 256", "y is (3,), expected (2,)", "w is (1,)",
                                         "z is missing"))
    assert not (tmp_path / "c.safetensors").exists()


def test_the_best_of_a_run_are_found_by_their_validation_loss(tmp_path, capsys):
    for step, loss in ((10, 0.3), (20, 0.1), (30, 0.2)):
        checkpoint(tmp_path / "checkpoints" / f"unet-{step:08d}.safetensors", {"a": [step]}, step, metrics={"val_loss": loss})
    ensemble.main(["--run", str(tmp_path), "--top", "2"])
    assert load_file(tmp_path / "checkpoints" / "ensemble.safetensors")["a"] == 25
    assert "val_loss 0.1" in capsys.readouterr().out


def test_ratios_have_a_former_name_that_help_does_not_show(tmp_path, capsys):
    for name, value in (("a", 1.0), ("b", 5.0)):
        checkpoint(tmp_path / name, {"a": [value]}, 1)
    for option in ("--ratios", "--shares"):
        ensemble.main([str(tmp_path / "a"), str(tmp_path / "b"), option, "3", "1", "--output", str(tmp_path / "mean")])
        assert load_file(tmp_path / "mean")["a"] == 2
    with pytest.raises(SystemExit):
        ensemble.main(["--help"])
    shown = capsys.readouterr().out.split("usage: ")[1]
    assert "--ratios" in shown and "--shares" not in shown


@pytest.mark.parametrize("arguments, words", [
    (["a"], "two or more"), (["a", "b"], "--output"),
    (["a", "b", "--output", "c", "--ratios", "1"], "--ratios has 1 numbers for 2 checkpoints"),
    (["a", "b", "--output", "c", "--shares", "1", "-1"], "above 0"), (["--run", "none"], "found 0 checkpoints"),
    (["a", "--run", "none"], "no others"), (["nothing", "there", "--output", "c"], "no such file")])
def test_wrong_arguments_are_answered_in_one_line(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words) as error:
        ensemble.main(arguments)
    assert len(error.value.problems) == 1
