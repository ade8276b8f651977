import numpy as np
import pytest

from evaluation.networks.layers import Convolution
from evaluation.networks.pretrained import as_array, filled, folded, outputs, read_exactly
from models.layers import parameters_of
from runtime.errors import UserError

SHAPES = {"a.weight": (2, 3), "a.bias": (2,)}


class Stored:
    """A tensor as files hold it: read when it is asked for."""

    def __init__(self, array, allowed=True):
        self.shape, self.array, self.allowed = array.shape, array, allowed

    def numpy(self):
        assert self.allowed, "read without need"
        return self.array.astype(np.float32)


def tensors():
    return {"a.weight": np.ones((2, 3), np.float16), "a.bias": Stored(np.arange(2, dtype=np.float32))}


def test_arrays_and_stored_tensors_become_float32():
    for tensor in (np.ones((2, 3), np.float16), np.ones((2, 3)), Stored(np.ones((2, 3)))):
        array = as_array(tensor)
        assert array.dtype == np.float32 and array.tolist() == [[1, 1, 1]] * 2


def test_all_tensors_are_read_and_others_left_alone_where_they_are_known_not_to_matter():
    given = {**tensors(), "a.num_batches_tracked": Stored(np.zeros(()), allowed=False)}
    arrays = read_exactly(given, SHAPES, "file", unused=[".num_batches_tracked"])
    assert list(arrays) == list(SHAPES) and arrays["a.bias"].tolist() == [0, 1]


@pytest.mark.parametrize("change, line", [
    (lambda t: t.pop("a.bias"), "a.bias is missing, expected shape (2,)"),
    (lambda t: t.update(b=t["a.bias"]), "b is not a tensor of this network"),
    (lambda t: t.update({"a.weight": np.ones((3, 2))}), "a.weight has shape (3, 2), expected (2, 3)"),
    (lambda t: t.update({"a.bias": np.array([1, np.nan])}), "a.bias has values that are not finite")])
def test_what_does_not_fit_is_named(change, line):
    given = tensors()
    change(given)
    with pytest.raises(UserError) as error:
        read_exactly(given, SHAPES, "file")
    assert error.value.problems == [f"file: {line}"]


def test_a_size_is_read_from_a_tensor_and_its_absence_is_an_error():
    assert outputs(tensors(), "a.weight", "file") == 2 and outputs(tensors(), "a.weight", "file", axis=1) == 3
    for name in ("b.weight", "a.bias"):
        with pytest.raises(UserError, match=f"file: {name} .*expected"):
            outputs(tensors(), name, "file", axis=1)


def test_a_folded_layer_gives_what_layer_and_normalisation_give(rng):
    weight, x = rng.standard_normal((5, 3)), rng.standard_normal((3, 7))
    gamma, beta, mean, variance = rng.standard_normal((4, 5)).astype(np.float32)
    variance = variance ** 2
    expected = gamma[:, None] * (weight @ x - mean[:, None]) / np.sqrt(variance[:, None] + 1e-3) + beta[:, None]
    w, b = folded(weight.astype(np.float32), gamma, beta, mean, variance, 1e-3)
    assert w.dtype == b.dtype == np.float64
    np.testing.assert_allclose(w @ x + b[:, None], expected, rtol=1e-5, atol=1e-5)


def test_a_filled_model_is_float32_and_stays_as_it_is(rng):
    model = filled(Convolution(3, 2, (1, 2)), {"weight": rng.standard_normal((2, 6)), "bias": np.arange(2)}, "file")
    for var in parameters_of(model).values():
        assert var.dtype == "float32" and var.is_stop_grad()
