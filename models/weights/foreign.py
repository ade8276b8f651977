"""Weights from other people's files, under our names: published, PyTorch, diffusers. Nothing in a file is run.

models/formats reads the file, models/weights/key_maps.py knows the names, models/weights/architecture.py the shapes.
"""
from dataclasses import dataclass, field
from pathlib import Path

from configs.reading import config_dict, section_from
from configs.schema import Config, ConfigError
from models.autoencoder import build_autoencoder
from models.layers import parameters_of
from models.unet import build_unet
from models.weights.architecture import HEAD_CHANNELS, infer_autoencoder, infer_unet
from models.weights.checkpoint import Header, LazyTensor
from models.weights.formats import open_weight_file
from models.weights.key_maps import recognise
from runtime.errors import UserError


@dataclass
class Weights:
    """A network's weights in a file: what the file says of itself, {name: LazyTensor}, and remarks for people."""
    header: Header
    tensors: dict
    notes: list = field(default_factory=list)
    foreign: bool = False    # then only the network's own section of the config is known

def convert(path, kind=None, ema=True, head_channels=HEAD_CHANNELS):
    """The Weights in a foreign file under our names, nothing read yet but names and shapes.

    kind: what is expected, unet | autoencoder | vq | kl | tiny. Raises UserError where the file is none that we read, holds
    another kind, or contradicts itself.
    """
    path = Path(path)
    file = open_weight_file(path, ema=ema)
    match = recognise_in(path, file)
    notes = [f"{file.format}, {match.scheme}", *file.notes]
    notes += [f"left out: {reason} ({len(names)} tensors, such as {names[0]})"
              for reason, names in match.skipped.items() if names]
    tensors = renamed(match, file)
    if match.half:
        other, also = other_half(path, match.half, ema)
        tensors = {**tensors, **also} if match.half == "encoder" else {**also, **tensors}
        notes.append(f"with its {'decoder' if match.half == 'encoder' else 'encoder'} {other}")
    found = "unet" if match.kind == "unet" else "autoencoder"
    if kind not in (None, found, match.kind):
        raise UserError(f"{path}: holds the weights of {found} ({match.scheme}), expected {kind}")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    config = Config()
    if found == "unet":
        config.unet = infer_unet(shapes, path, head_channels)
    else:
        config.autoencoder = infer_autoencoder(match.kind, shapes, path)
    section = getattr(config, found)
    try:
        section.check()
    except ConfigError as error:
        raise UserError(f"{path}: its shapes give no architecture of ours ({error})") from None
    return Weights(Header(kind=found, config=config_dict(config), extra={}), tensors, notes, foreign=True)


def recognise_in(path, file):
    """The Match of a file's names; a UserError's lines begin with the path."""
    try:
        return recognise({name: tuple(tensor.shape) for name, tensor in file.tensors.items()})
    except UserError as error:
        raise UserError([line if str(path) in line else f"{path}: {line}" for line in error.problems]) from None


def renamed(match, file):
    """{our name: LazyTensor} of a Match."""
    def take(source):
        array = file.tensors[source.name].numpy()
        return array if source.transform is None else source.transform(array)

    makers = {**{name: (lambda source=source: take(source)) for name, source in match.sources.items()}, **match.made}
    return {name: LazyTensor(tuple(match.shapes[name]), make) for name, make in makers.items()}


def other_half(path, half, ema):
    """The tiny autoencoder's other half, in the file beside with `encoder` and `decoder` exchanged in its name."""
    other = {"encoder": "decoder", "decoder": "encoder"}[half]
    beside = path.with_name(path.name.replace(half, other))
    if half not in path.name or not beside.is_file():
        raise UserError(f"{path}: holds a tiny autoencoder's {half} alone, expected its {other} beside it as "
                        f"{beside.name if half in path.name else f'*{other}*, and {half!r} in this name'}")
    file = open_weight_file(beside, ema=ema)
    match = recognise_in(beside, file)
    if match.half != other:
        raise UserError(f"{beside}: is no tiny autoencoder's {other}, as expected beside {path.name}")
    return beside, renamed(match, file)


def check_whole(weights, path):
    """UserError that names every tensor that the inferred architecture has and the file lacks, or the other way round."""
    kind, shapes = weights.header.kind, {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    section = section_from(kind, weights.header.config[kind], path)
    model = build_unet(section) if kind == "unet" else build_autoencoder(section)
    expected = {name: tuple(var.shape) for name, var in parameters_of(model).items()}
    problems = [f"{path}: {name} is {shapes.get(name, 'missing')}, expected {expected.get(name, 'no such tensor')} in the "
                "architecture that the other shapes show"
                for name in {**expected, **shapes} if shapes.get(name) != expected.get(name)]
    if problems:
        raise UserError(problems)
