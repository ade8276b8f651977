"""training/same_data.py: a run goes on with the pictures it began with, or says which are others."""
import numpy as np
import pytest
from PIL import Image

from data.landscape import find_train
from runtime.errors import UserError
from training.same_data import check_data


@pytest.fixture
def pairs(tmp_path, rng):
    """Reads three pairs anew."""
    for part in ("imgs", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for stem in "abc":
        Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).save(tmp_path / f"data/imgs/{stem}.jpg")
        Image.fromarray(np.zeros((12, 16), np.uint8)).save(tmp_path / f"data/labels/{stem}.png")
    return lambda: find_train(tmp_path / "data")


def test_a_run_without_a_state_or_of_an_earlier_version_takes_the_data_of_now(pairs, tmp_path):
    check_data(tmp_path / "run", "unet", pairs()[:2])
    check_data(tmp_path / "run", "unet", pairs())                      # no state yet: it begins
    (tmp_path / "run/unet/state.safetensors").write_bytes(b"a state")
    (tmp_path / "run/unet/data.json").unlink()                         # earlier versions recorded nothing
    check_data(tmp_path / "run", "unet", pairs()[:2])
    with pytest.raises(UserError, match="c: the pair is new"):
        check_data(tmp_path / "run", "unet", pairs())


@pytest.mark.parametrize("change, line", [
    ("imgs/b.jpg", "b: the image changed"), ("labels/b.png", "b: the labels changed"), ("gone", "c: the pair is gone"),
    ("new", "d: the pair is new")])
def test_what_changed_is_named_once_there_is_a_state(change, line, pairs, tmp_path):
    run, data = tmp_path / "run", tmp_path / "data"
    check_data(run, "unet", pairs())
    (run / "unet/state.safetensors").write_bytes(b"a state")
    for part, suffix in (("imgs", "jpg"), ("labels", "png")):
        file = data / part / f"c.{suffix}"
        if change == "gone":
            file.unlink()
        elif change == "new":
            file.with_name(f"d.{suffix}").write_bytes(file.read_bytes())
        elif change.startswith(part):
            (data / change).write_bytes((data / change).read_bytes() + b" ")
    with pytest.raises(UserError) as caught:
        check_data(run, "unet", pairs())
    assert caught.value.problems[1:] == [line] and "--data_changed goes on" in caught.value.problems[0]
    with pytest.raises(UserError):
        check_data(run, "unet", pairs())
    check_data(run, "unet", pairs(), changed=True)
    check_data(run, "unet", pairs())
