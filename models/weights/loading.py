"""The weights in any file that holds a network: a checkpoint of ours, or a foreign one (models/weights/foreign.py)."""
import struct
from pathlib import Path

from configs.reading import section_from
from configs.schema import UNetConfig
from models.autoencoder import build_autoencoder, scale_latents
from models.weights.architecture import infer_autoencoder, infer_unet
from models.weights.checkpoint import FORMAT, RAW, fill, open_checkpoint, read_header, stored_tensors
from models.weights.files import find_autoencoder
from models.weights.foreign import Weights, convert
from runtime.errors import UserError

# What shapes tell of a network's size.
UNET = ("channels", "channel_mult", "res_blocks", "classes", "spade_channels", "latent_channels", "learn_sigma")
AUTOENCODER = ("channels", "channel_mult", "res_blocks", "z_channels", "embed_dim", "global_path")


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
        size = Path(path).stat().st_size
        if len(start) < 9 or start[8:] != b"{" or not 2 <= struct.unpack("<Q", start[:8])[0] <= size - 8:
            return False
    return (open_checkpoint(path).metadata() or {}).get("format") == FORMAT


def check_architecture(path, weights, section):
    """UserError where the tensors of Weights show another network than a section of the config (a UNetConfig or an
    AutoencoderConfig) describes: before memory is taken for one that a few bytes of metadata claim."""
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    if isinstance(section, UNetConfig):
        shown, names = infer_unet(shapes, path, section.head_channels), UNET
    else:
        shown, names = infer_autoencoder(section.kind, shapes, path), AUTOENCODER
    problems = [f"{path}: its metadata has {name} {getattr(section, name)}, its tensors show {getattr(shown, name)}"
                for name in names if getattr(section, name) != getattr(shown, name)]
    if problems:
        raise UserError(problems)


def load_weights(model, path, kind, weights="ema"):
    """Fills a model from any file and returns its Header. Raises UserError that names every tensor that does not fit."""
    found = open_weights(path, kind, weights)
    fill(model, found.tensors, f"{path} ({weights} weights)")
    return found.header


def autoencoder_config(given, weights):
    """The AutoencoderConfig of an autoencoder's Weights; path and latent_scale are those of `given`."""
    found = weights.header.config.get("autoencoder")
    if not isinstance(found, dict):
        raise UserError(f"{given.path}: its metadata has no config of an autoencoder")
    tree = {**found, "path": given.path, "latent_scale": given.latent_scale}
    return section_from("autoencoder", tree, str(given.path))


def load_autoencoder(given):
    """(model, its AutoencoderConfig, notes) of the file that an AutoencoderConfig names: the architecture is the file's."""
    path = find_autoencoder(given.path)
    if path is None:
        raise UserError(f"{given.path}: no such file, expected the autoencoder's weights")
    weights = open_weights(path, "autoencoder")
    config = autoencoder_config(given, weights)
    check_architecture(path, weights, config)
    model = build_autoencoder(config)
    fill(model, weights.tensors, str(path))
    if config.latent_scale != 1:
        scale_latents(model, config.latent_scale)
    return model, config, [f"{path}: {note}" for note in weights.notes]
