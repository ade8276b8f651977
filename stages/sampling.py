"""What test.py needs before it can sample: which checkpoint, which autoencoder, which settings, and the loaded networks."""
from pathlib import Path

from configs.schema import config_dict, config_from, load_config, read_yaml, resolve
from ldm.schedule import make_schedule
from models.autoencoder import build_autoencoder
from models.checkpoint import load_weights, read_header, weights_hash
from models.unet import build_unet
from runtime.backend import jt
from runtime.errors import UserError
from stages.run import ranked

RELEASED = Path("checkpoints/iidm.safetensors")
FREE = ("sampling", "output")  # the sections that may differ from the checkpoint's


def find_checkpoint(given=None):
    """The U-Net to sample with: the one given, else checkpoints/iidm.safetensors, else the newest run's newest ensemble or,
    where there is none, its best checkpoint. UserError that says where weights come from when there is nothing."""
    if given:
        if not Path(given).is_file():
            raise UserError(f"--checkpoint {given}: no such file")
        return Path(given)
    if RELEASED.is_file():
        return RELEASED
    newest = lambda paths: max(paths, key=lambda path: path.stat().st_mtime)
    found = [path for path in Path("runs").glob("*/checkpoints/*.safetensors") if path.name.startswith(("unet-", "ensemble"))]
    if not found:
        raise UserError(f"no weights: neither {RELEASED} nor a run in runs/; train.py makes them, --checkpoint names them")
    folder = newest(found).parent
    ensembles = list(folder.glob("ensemble*.safetensors"))
    return newest(ensembles) if ensembles else ranked(folder.parent)[0][0]


def settings(checkpoint, config=None, overrides=()):
    """The Config to sample with and the checkpoint's Header. Architecture comes from the checkpoint; a yaml beside it may
    change only `sampling` and `output`: UserError that names anything else it sets otherwise."""
    header = read_header(checkpoint, "unet")
    tree = dict(header.config)
    if config:
        given = load_config(config)
        named = read_yaml(resolve(config))
        theirs = config_dict(given)
        problems = []
        for section, ignored in (("data", set(theirs["data"]) - {"height", "width"}), ("autoencoder", {"path"}),
                                 ("unet", set()), ("diffusion", set())):
            for name in set(named.get(section) or {}) - ignored:
                if theirs[section][name] != tree[section][name]:
                    problems.append(f"{config}: {section}.{name} is {theirs[section][name]!r}, the checkpoint has "
                                    f"{tree[section][name]!r}; beside a checkpoint only sampling and output may change")
        if problems:
            raise UserError(problems)
        for section in FREE:
            tree[section] = theirs[section]
    for override in overrides:
        if override.split(".")[0] not in FREE and not override.startswith("autoencoder.path="):
            raise UserError(f"--set {override}: beside a checkpoint only sampling and output may change")
    return config_from(tree, overrides, where=str(checkpoint)), header


def load_networks(config, checkpoint, header, weights="ema"):
    """(encode, decode, model, schedule, hashes): the networks with their weights, ready for Algorithm 2."""
    path = Path(config.autoencoder.path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected the autoencoder's weights; --autoencoder names another file")
    autoencoder, model = build_autoencoder(config.autoencoder), build_unet(config.unet)
    load_weights(autoencoder, path)
    load_weights(model, checkpoint, weights)
    hashes = {"unet": weights_hash(model), "autoencoder": weights_hash(autoencoder)}
    expected = header.extra.get("autoencoder", hashes["autoencoder"])
    if expected != hashes["autoencoder"]:
        raise UserError(f"{path}: these are not the weights whose latents {checkpoint} was trained on (found "
                        f"{hashes['autoencoder'][:12]}, expected {expected[:12]}); --autoencoder names another file")

    def one_by_one(network):
        # A 512x384 image needs gigabytes on its way through the autoencoder; nothing is gained by more of them at once.
        def run(x):
            rows = []
            for i in range(x.shape[0]):
                rows.append(network(x[i:i + 1]))
                rows[-1].sync()
            return jt.concat(rows, dim=0)
        return run

    schedule = make_schedule(config.diffusion.schedule, config.diffusion.timesteps)
    return one_by_one(autoencoder.encode), one_by_one(autoencoder.decode), model, schedule, hashes
