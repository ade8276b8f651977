"""Checkpoints: one safetensors file with a network's weights; config, step, metrics and parents as JSON in its metadata.

A checkpoint of training holds two sets: the moving average under the plain names, and the weights as trained under `raw.`.
"""
import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
from safetensors import SafetensorError, safe_open

from configs.legacy import translate
from models.layers import parameters_of
from runtime.backend import jt
from runtime.documents import parse_json
from runtime.errors import RunError, UserError
from runtime.files import replacing, room_for

KINDS = ("unet", "autoencoder", "tiny", "segmenter", "gan")
STAGES = {"distil": "unet"}                          # of training, those whose network is another kind than their name
# Of a Header's extra: what a student was taught (ldm/distillation.py); the hash of the autoencoder that a tiny one imitates.
TAUGHT, IMITATES = "distilled", "imitates"
RAW = "raw."
FORMAT = "iidm-1"
UNKNOWN = "0" * 64                                   # in a checksum's place until it is known
DTYPES = {"float32": "F32", "float16": "F16", "float64": "F64"}


@dataclass
class Header:
    """What a checkpoint says of itself."""
    kind: str                                        # unet | autoencoder | tiny | segmenter | gan
    config: dict                                     # the whole experiment, as configs/schema.py reads it
    step: int = 0
    weights: str = "ema"                             # what the plain names hold: ema | raw
    metrics: dict = field(default_factory=dict)      # of the validation pairs
    parents: list = field(default_factory=list)      # of an ensemble: file, sha256, step, share
    extra: dict = field(default_factory=dict)        # such as the hash of the autoencoder a U-Net was trained with


@dataclass
class LazyTensor:
    """A tensor that is read or computed when it is needed, each time."""
    shape: tuple
    make: Callable

    def numpy(self):
        """The array."""
        return self.make()


def write_checkpoint(path, tensors, header, dtype="float32"):
    """Writes {name: array or Var} tensor by tensor, so that 8 GB of weights need no second 8 GB of memory. RunError where the
    disk has not got the room; a file that was there before stays as it was."""
    code, offset, table = DTYPES[dtype], 0, {}
    for name, tensor in tensors.items():
        size = int(np.prod(tensor.shape)) * np.dtype(dtype).itemsize
        table[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    values = {"format": FORMAT, **header.__dict__, "checksum": UNKNOWN}
    table["__metadata__"] = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)                  # the data starts at a multiple of 8 bytes
    head, digest = struct.pack("<Q", len(text)) + text, hashlib.sha256()
    digest.update(head)
    with room_for(path, len(head) + offset), replacing(path) as temporary, open(temporary, "wb") as stream:
        stream.write(head)
        for tensor in tensors.values():
            array = tensor if isinstance(tensor, np.ndarray) else tensor.numpy()
            if dtype == "float16" and np.isfinite(array).all() and abs(array).max(initial=0) > np.finfo(dtype).max:
                raise RunError(f"{path}: a weight of {abs(array).max():.3g} does not fit {dtype}")
            data = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<")).data
            digest.update(data)
            stream.write(data)
        stream.seek(head.index(UNKNOWN.encode()))
        stream.write(digest.hexdigest().encode())


def is_whole(path):
    """Whether a file's bytes are those that were written, by the checksum in its metadata: the SHA-256 of the file with zeros
    in the checksum's place. Files from before there was one count as whole when they can be read."""
    try:
        written = (open_checkpoint(path).metadata() or {}).get("checksum")
    except UserError:
        return False
    if written is None:
        return True
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        size = struct.unpack("<Q", stream.read(8))[0]
        stream.seek(0)
        digest.update(stream.read(8 + size).replace(written.encode(), UNKNOWN.encode(), 1))
        while block := stream.read(1 << 24):
            digest.update(block)
    return digest.hexdigest() == written


def open_checkpoint(path):
    """A safetensors file opened for reading; UserError where there is none or it is not whole."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file, expected a checkpoint")
    try:
        return safe_open(os.fspath(path), framework="numpy")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None


def read_header(path, kind=None):
    """The Header of a checkpoint; UserError when it is not one of ours, or not of this kind."""
    values = open_checkpoint(path).metadata() or {}
    if values.get("format") != FORMAT:
        raise UserError(f"{path}: its metadata has format {values.get('format')!r}, expected {FORMAT!r}")
    plain = {"kind", "weights"}
    try:
        header = Header(**{key: values[key] if key in plain else parse_json(values[key])
                           for key in Header.__dataclass_fields__})
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: its metadata is not whole ({error!r})") from None
    problems = [f"{path}: its metadata has {line}" for line in untrue(header)]
    if problems:
        raise UserError(problems)
    header.config = translate(header.config)         # what an earlier version wrote
    if kind and header.kind != kind:
        raise UserError(f"{path}: holds the weights of {header.kind}, expected {kind}")
    return header


def kind_of(stage):
    """The kind of network that a stage of training makes."""
    return STAGES.get(stage, stage)


def untrue(header):
    """A line for each part of a Header that is of another type than this project writes; the config is checked when it is
    used (configs/schema.py)."""
    number = lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)
    rules = {"kind": (header.kind in KINDS, " or ".join(KINDS)),
             "config": (isinstance(header.config, dict), "an object"),
             "step": (isinstance(header.step, int) and not isinstance(header.step, bool) and 0 <= header.step < 1 << 53,
                      "a whole number from 0 on"),
             "weights": (header.weights in ("ema", "raw"), "ema or raw"),
             "metrics": (isinstance(header.metrics, dict) and all(map(number, header.metrics.values())),
                         "an object of numbers"),
             "parents": (isinstance(header.parents, list) and all(isinstance(parent, dict) for parent in header.parents),
                         "a list of objects"),
             "extra": (isinstance(header.extra, dict), "an object")}
    return [f"{name} {str(getattr(header, name))[:60]!r}, expected {expected}" for name, (fine, expected) in rules.items()
            if not fine]


def read_tensors(path, prefix=""):
    """{name: float32 array} of the tensors under a prefix ("" = the plain names)."""
    names = tensor_shapes(path, prefix)
    with open_checkpoint(path) as file:
        return {name: file.get_tensor(prefix + name).astype(np.float32) for name in names}


def stored_tensors(path, prefix=""):
    """{name: LazyTensor} of the tensors under a prefix, float32, each read when it is asked for."""
    file = open_checkpoint(path)
    read = lambda name: file.get_tensor(prefix + name).astype(np.float32, copy=False)
    return {name: LazyTensor(shape, lambda name=name: read(name)) for name, shape in tensor_shapes(path, prefix).items()}


def load_checkpoint(model, path, weights="ema"):
    """Fills a model from a checkpoint of ours. weights: ema | raw. Raises UserError that names every missing, extra or
    misshapen tensor; then the model is as before. Any other file: models/weights/loading.py."""
    header = read_header(path)
    prefix = "" if weights == header.weights else RAW
    fill(model, stored_tensors(path, prefix), f"{path} ({weights} weights)")
    return header


def fill(model, tensors, where):
    """Gives a model's parameters the values in {name: array or LazyTensor}, one at a time. Raises UserError at a missing,
    extra or misshapen tensor and at values that are not finite; then the model is as before."""
    parameters = parameters_of(model)
    problems = [f"{where}: {name} is missing, expected shape {tuple(var.shape)}"
                for name, var in parameters.items() if name not in tensors]
    problems += [f"{where}: {name} is not a tensor of this network" for name in tensors if name not in parameters]
    problems += [f"{where}: {name} has shape {tuple(tensors[name].shape)}, expected {tuple(var.shape)}"
                 for name, var in parameters.items()
                 if name in tensors and tuple(tensors[name].shape) != tuple(var.shape)]
    array = lambda name: tensors[name] if isinstance(tensors[name], np.ndarray) else tensors[name].numpy()
    # All are looked at before the first is taken: two readings, and never more than one tensor beside the model's.
    problems += [f"{where}: {name} has values that are not finite" for name in parameters
                 if name in tensors and not np.isfinite(array(name)).all()]
    if problems:
        raise UserError(problems)
    for name, var in parameters.items():
        var.update(jt.array(array(name)))
        var.sync()      # Jittor does not always compile what is made of an array that still waits


def weights_hash(model):
    """SHA-256 of a model's names and float32 values: the same weights give the same hash, whatever file they came from."""
    digest = hashlib.sha256()
    for name, var in sorted(parameters_of(model).items()):
        digest.update(name.encode() + b"\0")
        digest.update(np.ascontiguousarray(var.numpy(), dtype="<f4").data)
    return digest.hexdigest()


def tensor_shapes(path, prefix=""):
    """{name: shape} of the tensors under a prefix, without reading them."""
    with open_checkpoint(path) as file:
        found = {name: file.get_slice(name) for name in file.keys()
                 if name.startswith(prefix) and (prefix or not name.startswith(RAW))}
        problems = [f"{path}: {name} is of the type {part.get_dtype()}, expected {' or '.join(DTYPES.values())}"
                    for name, part in found.items() if part.get_dtype() not in DTYPES.values()]
        if problems:
            raise UserError(problems)
        return {name[len(prefix):]: tuple(part.get_shape()) for name, part in found.items()}
