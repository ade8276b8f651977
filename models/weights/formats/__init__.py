"""Weights out of foreign files, without PyTorch and without running anything that a file holds."""
from models.weights.formats.tensors import StoredTensor
from models.weights.formats.opening import WeightFile, open_weights

__all__ = ["StoredTensor", "WeightFile", "open_weights"]
