"""Weights that others have published: checked by name and shape, batch normalisation folded into what precedes it."""
import numpy as np

from models.layers import parameters_of
from models.weights.checkpoint import fill
from runtime.errors import UserError


def as_array(tensor):
    """A tensor of a weights file, or an array, as float32."""
    return np.asarray(tensor if isinstance(tensor, np.ndarray) else tensor.numpy(), dtype=np.float32)


def outputs(tensors, name, where, axis=0):
    """The length of an axis of a tensor, from which a network's size is read; UserError where there is no such tensor."""
    if name not in tensors or len(tensors[name].shape) <= axis:
        found = f"has shape {tuple(tensors[name].shape)}" if name in tensors else "is missing"
        raise UserError(f"{where}: {name} {found}, expected it: the network's size is read from it")
    return int(tensors[name].shape[axis])


def read_exactly(tensors, shapes, where, unused=()):
    """{name: float32 array} of the tensors in {name: shape}; `unused`: others that may be there, by the end of their name.

    Raises UserError that names every missing, extra or misshapen tensor, and those with values that are not finite.
    """
    problems = [f"{where}: {name} is missing, expected shape {tuple(shape)}"
                for name, shape in shapes.items() if name not in tensors]
    problems += [f"{where}: {name} is not a tensor of this network"
                 for name in tensors if name not in shapes and not name.endswith(tuple(unused))]
    problems += [f"{where}: {name} has shape {tuple(tensors[name].shape)}, expected {tuple(shape)}"
                 for name, shape in shapes.items() if name in tensors and tuple(tensors[name].shape) != tuple(shape)]
    if problems:
        raise UserError(problems)
    arrays = {name: as_array(tensors[name]) for name in shapes}
    problems = [f"{where}: {name} has values that are not finite"
                for name, array in arrays.items() if not np.isfinite(array).all()]
    if problems:
        raise UserError(problems)
    return arrays


def folded(weight, gamma, beta, mean, variance, eps):
    """Weight (C, ...) and bias (C,) of a layer without bias that is followed by batch normalisation at inference, float64:
    gamma * (W x - mean) / sqrt(variance + eps) + beta."""
    gamma, beta, mean, variance = (a.astype(np.float64) for a in (gamma, beta, mean, variance))
    scale = gamma / np.sqrt(variance + eps)
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), beta - mean * scale


def filled(model, values, where):
    """The model with the values {name: array}, any float type and any shape of the right size, ready to run."""
    shapes = {name: tuple(var.shape) for name, var in parameters_of(model).items()}
    fill(model, {name: np.ascontiguousarray(array, dtype=np.float32).reshape(shapes[name]) for name, array in values.items()},
         where)
    model.eval()
    return model
