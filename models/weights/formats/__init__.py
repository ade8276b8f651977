"""Weights out of foreign files, without PyTorch and without running anything that a file holds."""
from models.weights.formats.opening import WeightFile, open_weight_file
from models.weights.formats.tensors import StoredTensor

__all__ = ["StoredTensor", "WeightFile", "open_weight_file"]
