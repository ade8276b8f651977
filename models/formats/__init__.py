"""Weights out of foreign files, without PyTorch and without running anything that a file holds."""
from models.formats.tensors import StoredTensor
from models.formats.weights import WeightFile, open_weights

__all__ = ["StoredTensor", "WeightFile", "open_weights"]
