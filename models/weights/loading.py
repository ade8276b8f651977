"""The weights in any file that holds a network: a checkpoint of ours, or a foreign one (models/weights/foreign.py)."""
import struct
from pathlib import Path

from configs.schema import section_from
from models.autoencoder import build_autoencoder, scale_latents
from models.weights.checkpoint import FORMAT, RAW, fill, open_checkpoint, read_header, stored_tensors
from models.weights.files import find_autoencoder
from models.weights.foreign import Weights, convert
from runtime.errors import UserError


def open_weights(path, kind=None, weights="ema"):
    """The Weights in a file; nothing is read yet but names, shapes and what the file says of itself.

    kind: unet | autoencoder | segmenter; weights: ema | raw, where the file has both. Raises UserError where there is no such
    file, or it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected a checkpoint")
    if not is_ours(path):
        return convert(path, kind, ema=weights == "ema")
    header = read_header(path, kind)
    return Weights(header, stored_tensors(path, "" if weights == header.weights else RAW))


def is_ours(path):
    """Whether a file is a checkpoint that this project wrote."""
    with open(path, "rb") as stream:
        start = stream.read(9)
        if len(start) < 9 or start[8:] != b"{" or not 2 <= struct.unpack("<Q", start[:8])[0] <= path.stat().st_size - 8:
            return False
    return (open_checkpoint(path).metadata() or {}).get("format") == FORMAT


def load_weights(model, path, kind, weights="ema"):
    """Fills a model from any file and returns its Header. Raises UserError that names every tensor that does not fit."""
    found = open_weights(path, kind, weights)
    fill(model, found.tensors, f"{path} ({weights} weights)")
    return found.header


def autoencoder_config(given, weights):
    """The AutoencoderConfig of an autoencoder's Weights; path and latent_scale are those of `given`."""
    tree = {**weights.header.config["autoencoder"], "path": given.path, "latent_scale": given.latent_scale}
    return section_from("autoencoder", tree, str(given.path))


def load_autoencoder(given):
    """(model, its AutoencoderConfig, notes) of the file that an AutoencoderConfig names: the architecture is the file's."""
    path = find_autoencoder(given.path)
    if path is None:
        raise UserError(f"{given.path}: no such file, expected the autoencoder's weights")
    weights = open_weights(path, "autoencoder")
    config = autoencoder_config(given, weights)
    model = build_autoencoder(config)
    fill(model, weights.tensors, str(path))
    if config.latent_scale != 1:
        scale_latents(model, config.latent_scale)
    return model, config, [f"{path}: {note}" for note in weights.notes]
