"""What test.py needs before it can sample: which checkpoint, autoencoder and settings, and the loaded networks."""
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from configs.reading import config_dict, config_from, load_config, read_yaml, resolve, section_from
from ldm.schedule import make_schedule
from models import precision
from models.autoencoder import build_autoencoder
from models.cached_unet import CachedUNet
from models.unet import build_unet
from models.weights.checkpoint import IMITATES, fill, weights_hash
from models.weights.files import SUFFIXES, find_autoencoder
from models.weights.loading import autoencoder_config, check_architecture, is_ours, load_autoencoder, open_weights
from models.weights.ranking import ranked
from runtime.backend import jt
from runtime.errors import UserError
from sampling.distilled import check_rounds

RELEASED = Path("checkpoints/iidm.safetensors")
PUBLISHED = [Path("checkpoints/average-176k-266k.pkl"),                     # the authors' own name for theirs
             *(RELEASED.with_suffix(suffix) for suffix in SUFFIXES if suffix != ".safetensors")]
FREE = ("sampling", "output")  # the sections that may differ from the checkpoint's


@dataclass(frozen=True)
class Networks:
    """What Algorithm 2 asks of the networks, and the noise schedule that they were trained with."""
    encode: Callable                  # x (B, 3, H, W) -> z_0 (B, C, h, w)
    decode: Callable                  # and back
    unet: Callable                    # theta* of Eq. (7): (z, t, labels) -> eps
    schedule: object                  # ldm.schedule.Schedule
    hashes: dict                      # {"unet", "autoencoder": hash of the weights}, and of "between" where there is one
    between: Optional[tuple] = None   # (encode, decode) for the way between rounds, where they are not those above


def find_checkpoint(given=None):
    """The U-Net to sample with: the one given, else checkpoints/iidm.safetensors, else a released file there under its own
    name, else the newest run's newest ensemble or, where there is none, its best checkpoint. UserError that says where
    weights come from when there is nothing."""
    if given:
        if not Path(given).is_file():
            raise UserError(f"--checkpoint {given}: no such file")
        return Path(given)
    for path in (RELEASED, *PUBLISHED):
        if path.is_file():
            return path
    newest = lambda paths: max(paths, key=lambda path: path.stat().st_mtime)
    found = [path for path in Path("runs").glob("*/checkpoints/*.safetensors")
             if path.name.startswith(("unet-", "distil-", "ensemble"))]
    if not found:
        raise UserError(f"no weights: neither {RELEASED} nor a run in runs/; "
                        "train.py makes them, --checkpoint names them")
    folder, stage = newest(found).parent, newest(found).name.partition("-")[0]
    ensembles = list(folder.glob("ensemble*.safetensors"))
    return newest(ensembles) if ensembles else ranked(folder.parent, stage)[0][0]


def settings(checkpoint, config=None, overrides=(), weights="ema"):
    """The Config to sample with and the U-Net's Weights. Architecture comes from the files, the autoencoder's from its own;
    a yaml beside them may change only `sampling` and `output`, and where the U-Net's file is a foreign one what that does
    not say: `data` and `diffusion`. UserError that names anything else it sets otherwise."""
    found = open_weights(checkpoint, "unet", weights)
    tree = config_dict(config_from(found.header.config, where=str(checkpoint), whole=False))
    free = FREE + (("data", "diffusion") if found.foreign else ())
    if config:
        theirs = config_dict(load_config(config))
        problems = contradictions(config, theirs, tree, free)
        if problems:
            raise UserError(problems)
        tree.update({section: theirs[section] for section in free})
    for override in overrides:
        if override.split(".")[0] not in free and not override.startswith("autoencoder.path="):
            raise UserError(f"--set {override}: beside a checkpoint only sampling and output may change")
    # The autoencoder's file decides its part before the whole is checked: a foreign U-Net says nothing of it.
    given = section_from("autoencoder", {**tree["autoencoder"], **named_path(overrides)}, str(checkpoint))
    path = find_autoencoder(given.path)
    if path is None:
        raise UserError(f"{given.path}: no such file, expected the autoencoder's weights; "
                        "--autoencoder names another file")
    given.path = str(path)
    tree["autoencoder"] = dataclasses.asdict(autoencoder_config(given, open_weights(path, "autoencoder")))
    rest = [override for override in overrides if not override.startswith("autoencoder.path=")]
    return config_from(tree, rest, where=str(checkpoint)), found


def contradictions(config, theirs, ours, free):
    """A line for every option that a yaml sets otherwise than the checkpoint, outside the sections that it is free to set.

    theirs, ours: the yaml's and the checkpoint's options, {section: {name: value}}; only what the yaml names counts.
    """
    named, problems = read_yaml(resolve(config)), []
    compared = {"data": ("height", "width", "classes"), "unet": tuple(theirs["unet"]), "diffusion": tuple(theirs["diffusion"]),
                "autoencoder": [name for name in theirs["autoencoder"] if name != "path"]}
    for section, names in compared.items():
        if section in free:
            continue
        for name in names:
            if name in (named.get(section) or {}) and theirs[section][name] != ours[section][name]:
                problems.append(f"{config}: {section}.{name} is {theirs[section][name]!r}, "
                                f"the checkpoint has {ours[section][name]!r}; "
                                "beside a checkpoint only sampling and output may change")
    return problems


def named_path(overrides):
    """{"path": the last autoencoder.path among overrides}, or {}."""
    paths = [override.partition("=")[2] for override in overrides if override.startswith("autoencoder.path=")]
    return {"path": paths[-1]} if paths else {}


def load_networks(config, checkpoint, weights):
    """The Networks with their weights, ready for Algorithm 2. A precision of "auto" in the config becomes the one that it
    stands for here."""
    check_rounds(checkpoint, weights.header, config.sampling)
    check_architecture(checkpoint, weights, config.unet)
    unet = build_unet(config.unet)
    autoencoder, _, notes = load_autoencoder(config.autoencoder)
    fill(unet, weights.tensors, str(checkpoint))
    for note in [f"{checkpoint}: {note}" for note in weights.notes] + notes:
        print(note)
    hashes = {"unet": weights_hash(unet), "autoencoder": weights_hash(autoencoder)}
    expected = weights.header.extra.get("autoencoder", hashes["autoencoder"])
    if expected != hashes["autoencoder"]:
        raise UserError(f"{config.autoencoder.path}: these are not the weights whose latents {checkpoint} was trained "
                        f"on (found {hashes['autoencoder'][:12]}, expected {expected[:12]}); "
                        "--autoencoder names another file")

    config.sampling.precision = precision.resolve(config.sampling.precision)
    if precision.imitated(config.sampling.precision):
        print(precision.imitated(config.sampling.precision))
    between = open_between(config, hashes)
    for network in (unet, autoencoder):
        precision.compute_in(network, config.sampling.precision, store=True)
    rows = rows_at_once(config.autoencoder, config.data, config.sampling.autoencoder_gb)
    return Networks(in_parts(autoencoder.encode, rows), in_parts(autoencoder.decode, rows),
                    CachedUNet(unet, config.sampling.spade_cache_gb),
                    make_schedule(config.diffusion.schedule, config.diffusion.timesteps), hashes, between)


def open_between(config, hashes):
    """(encode, decode) of the tiny autoencoder in sampling.between, its hash put beside the others; None where there is none.
    UserError where it imitates another autoencoder than the one at hand."""
    path = config.sampling.between
    if not path:
        return None
    if not Path(path).is_file() or not is_ours(path):
        raise UserError(f"sampling.between is {path}: not a checkpoint of train.py --stage tiny, expected one")
    weights = open_weights(path, "tiny")
    theirs = weights.header.config
    section = section_from("tiny", theirs.get("tiny", {}), path).like(
        section_from("autoencoder", theirs.get("autoencoder", {}), path))
    check_architecture(path, weights, section)
    found = weights.header.extra.get(IMITATES, "")
    if found != hashes["autoencoder"]:
        raise UserError(f"{path}: imitates {found[:12] or 'no other'} autoencoder, expected one that imitates "
                        f"{config.autoencoder.path} ({hashes['autoencoder'][:12]}); train.py --stage tiny makes it")
    model = build_autoencoder(section)
    fill(model, weights.tensors, path)
    hashes["between"] = weights_hash(model)
    return model.encode, model.decode


def in_parts(network, rows):
    """A network that takes `rows` images at once at most: the same call, with less memory."""
    def run(x, **options):
        parts = []
        for i in range(0, x.shape[0], rows):
            parts.append(network(x[i:i + rows], **options))
            parts[-1].sync()
        return jt.concat(parts, dim=0) if len(parts) > 1 else parts[0]
    return run


def rows_at_once(autoencoder, data, gigabytes):
    """How many images go through the autoencoder at once: as many as need about `gigabytes`, at least one.

    Estimated as six arrays of the first level's width at the image's full size: 0.60 GB for 512x384 and 128 channels.
    """
    return max(1, int(gigabytes * 1e9 / (6 * 4 * autoencoder.channels * data.height * data.width)))
