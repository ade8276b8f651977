"""The GAN in a file: a checkpoint of ours, or a published generator with its encoder beside it."""
from pathlib import Path

from baselines.gan import GAN
from baselines.networks import settle
from baselines.published import family_of, infer_encoder, infer_generator, modern
from configs.reading import config_dict, config_from
from models.layers import parameters_of
from models.weights.checkpoint import Header, fill, read_header
from models.weights.foreign import Weights
from models.weights.formats import open_weight_file
from models.weights.loading import is_ours, open_weights
from runtime.errors import UserError


def is_gan(path):
    """Whether a file holds a GAN of Table 1."""
    path = Path(path)
    if is_ours(path):
        return read_header(path).kind == "gan"
    try:
        return family_of(open_weight_file(path).tensors) is not None
    except UserError:                # of no format, or damaged: whoever opens it next says so
        return False


def open_gan(path, weights="ema", overrides=()):
    """(Config, Weights) of a file. overrides: `sampling.*`, `output.*` and gan.style; of a published file
    also `data.height`, `data.width` and what neither names nor shapes tell, such as
    gan.generator.temperature=0.5."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected a checkpoint")
    if is_ours(path):
        refuse([one for one in overrides if not one.startswith("gan.style=")], ("sampling", "output"), path)
        found = open_weights(path, "gan", weights)
        return config_from(found.header.config, overrides, where=str(path), whole=False), found
    refuse(overrides, ("sampling", "output", "data", "gan"), path)
    config = config_from({}, overrides, where=str(path), whole=False)
    tensors = modern(open_weight_file(path).tensors)
    said = {override.partition("=")[0].rpartition(".")[2]: override for override in overrides
            if override.startswith("gan.generator.")}
    values = {name: getattr(config.gan.generator, name) for name in said if hasattr(config.gan.generator, name)}
    shapes = {name: tuple(int(side) for side in tensor.shape) for name, tensor in tensors.items()}
    config.gan.generator, notes = infer_generator(shapes, str(path), (config.data.height, config.data.width), **values)
    named = {f"generator.{name}": tensor for name, tensor in tensors.items()}
    if config.gan.generator.vae:
        beside = path.with_name(path.name.replace("_net_G", "_net_E"))
        if beside == path or not beside.is_file():
            raise UserError(f"{path}: starts from a style encoder's draw, expected the encoder beside it as "
                            f"{beside.name if beside != path else 'NAME_net_E.pth beside NAME_net_G.pth'}")
        encoder = modern(open_weight_file(beside).tensors)
        config.gan.encoder = infer_encoder({name: tuple(tensor.shape) for name, tensor in encoder.items()}, str(beside))
        named.update({f"encoder.{name}": tensor for name, tensor in encoder.items()})
        notes.append(f"{path}: with its encoder {beside}")
    return config, Weights(Header(kind="gan", config=config_dict(config)), named, notes, foreign=True)


def refuse(overrides, sections, path):
    """UserError for an override of what the file decides."""
    for override in overrides:
        if override.split(".")[0] not in sections:
            raise UserError(f"--set {override}: beside {path} only {', '.join(sections)} may change")


def load_gan(config, weights, where):
    """The GAN of open_gan's Config and Weights."""
    gan = GAN(config.gan)
    tensors = dict(weights.tensors)
    if weights.foreign and gan.codes:          # published files have no mean codes
        own = parameters_of(gan)
        tensors.update({name: own[name] for name in ("mean_codes", "codes_seen")})
    fill(gan, tensors, str(where))
    settle(gan)
    return gan
