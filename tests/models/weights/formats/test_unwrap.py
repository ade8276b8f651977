import pickle

import numpy as np
import pytest

from models.weights.formats import open_weight_file
from runtime.errors import UserError

A, B, C = (np.full((2, 3), value, "f4") for value in (1, 2, 3))


@pytest.fixture
def opened(tmp_path):
    """A function of an object: the WeightFile of a pickle that holds it."""
    def open_object(value, **kwargs):
        path = tmp_path / "weights.pkl"
        path.write_bytes(pickle.dumps(value, 4))
        return open_weight_file(path, **kwargs)
    return open_object


def values(file):
    """{name: the one value of its elements}."""
    return {name: stored.read().flat[0] for name, stored in file.tensors.items()}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "params", "generator", "something"])
def test_the_one_container_of_a_file_is_opened(opened, key):
    found = opened({"epoch": 3, key: {"w": A, "b": B}, "optimizer": {"lr": 0.1}})
    assert values(found) == {"w": 1, "b": 2}
    assert found.notes == ["left out: epoch, optimizer", f"used what is under {key}"]


def test_containers_in_containers_are_opened(opened):
    found = opened({"model": {"state_dict": {"w": A}, "args": 1}, "args": 2})
    assert values(found) == {"w": 1}
    assert found.notes == ["left out: args", "left out under model: args", "used what is under model.state_dict"]


def test_state_dict_is_taken_before_optimisers_that_hold_tensors_too(opened):
    optimizer = {"state": {0: {"exp_avg": C, "step": C}}, "param_groups": [{"lr": 1, "params": [0]}]}
    assert values(opened({"optimizer": optimizer, "state_dict": {"w": A}})) == {"w": 1}


@pytest.mark.parametrize("key", ["ema", "model_ema", "params_ema", "state_dict_ema"])
def test_the_moving_average_is_preferred_and_said_so(opened, key):
    value = {"model": {"w": A}, key: {"decay": 0.9, "shadow": {"w": B}} if key == "ema" else {"w": B}}
    found = opened(value)
    assert values(found) == {"w": 2} and "the moving average" in found.notes[-1] and "left out: model" in found.notes
    raw = opened(value, ema=False)
    assert values(raw) == {"w": 1} and "moving average" not in raw.notes[-1]


def test_tensors_beside_each_other_keep_the_name_of_their_dict(opened):
    found = opened({"G": {"w": A, "size": 5}, "D": {"w": B}, "step": np.array(7)})
    assert values(found) == {"G.w": 1, "D.w": 2, "step": 7}


def test_the_prefix_of_parallel_training_is_taken_off(opened):
    found = opened({"module.a.w": A, "module.module.w": B})
    assert values(found) == {"a.w": 1, "module.w": 2} and found.notes == ["took 'module.' off every name"]
    assert values(opened({"module.a": A, "b": B})) == {"module.a": 1, "b": 2}


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_averages_of_latent_diffusion_replace_their_parameters(opened, prefix):
    # LitEma(self.model) names a parameter without "model.", LitEma(self) with it
    state = {f"{prefix}in.0.weight": A, f"{prefix}in.0.bias": A, "first.in.0.weight": C, "model_ema.decay": np.array(0.9, "f4"),
             "model_ema.num_updates": np.array(5), "model_ema.in0weight": B, "model_ema.in0bias": B}
    found = opened({"state_dict": state})
    assert values(found) == {f"{prefix}in.0.weight": 2, f"{prefix}in.0.bias": 2, "first.in.0.weight": 3}
    assert found.notes[-1] == ("took the moving average of 2 of 3 tensors (model_ema); "
                               "left out model_ema.decay, num_updates")
    raw = opened({"state_dict": state}, ema=False)
    assert values(raw) == {f"{prefix}in.0.weight": 1, f"{prefix}in.0.bias": 1, "first.in.0.weight": 3}
    assert raw.notes[-1] == "left out the moving average of 2 parameters (model_ema)"


def test_averages_of_a_module_that_has_a_model_inside_keep_the_full_name(opened):
    found = opened({"model.w": A, "b": A, "model_ema.modelw": B, "model_ema.b": B})
    assert values(found) == {"model.w": 2, "b": 2}


@pytest.mark.parametrize("state, message", [
    ({"a.b": A, "model_ema.ab": B, "model_ema.gone": B}, "model_ema.gone of no parameter; without the averages it can be read"),
    ({"a.b": A, "ab": A, "model_ema.ab": B}, "model_ema.ab of a.b or ab"),
    ({"a.b": A, "model_ema.ab": B[:1]}, r"\(1, 3\) of a.b, which is \(2, 3\)")])
def test_averages_that_do_not_fit_are_an_error(opened, state, message):
    with pytest.raises(UserError, match=message):
        opened(state)
    assert values(opened(state, ema=False))["a.b"] == 1


@pytest.mark.parametrize("value, message", [
    ({}, "holds no tensors"), ({"a": 1}, "holds no tensors"), ({"state_dict": {}}, "holds no tensors"),
    ({5: A}, "holds no tensors"), ([A], "but list"), (A, "but a tensor"), (5, "but int"),
    ("text" * 9999, "but a long text"), (dict, "but a class"),
    ({"model": {"model": {"model": {"model": {"model": {"model": {"w": A}}}}}}}, "holds no tensors")])
def test_what_holds_no_tensors_by_name_is_an_error(opened, value, message):
    with pytest.raises(UserError, match=message):
        opened(value)


def test_dicts_that_contain_each_other_are_not_followed_forever(opened):
    circle = {"b": {}, "a": 1}
    circle["b"]["model"] = circle
    circle["b"]["x"] = {f"k{i}": circle for i in range(100)}
    with pytest.raises(UserError, match="no tensors"):
        opened(circle)
    circle["w"] = A
    assert values(opened({"w": A, "more": circle}))["w"] == 1


def test_long_lists_of_what_was_left_out_are_cut(opened):
    found = opened({"w": A, "x" * 300: 1, "line\nbreak": 2, **{f"k{i}": i for i in range(30)}})
    (note,) = found.notes
    assert "x" * 97 + "..., line?break, k0" in note and note.endswith("and 12 more") and "\n" not in note
