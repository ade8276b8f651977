"""The greedy soup (Wortsman et al. 2022, "Model soups", Recipe 1): the best checkpoint, and each after it that makes the mean
of all taken so far better on the held-out images."""
import tempfile
from pathlib import Path

import numpy as np

from configs.reading import config_from
from data.batches import train_val_split
from data.landscape import find_train
from ldm.schedule import make_schedule
from models.unet import build_unet
from models.weights.average import average
from models.weights.checkpoint import load_checkpoint, read_header, weights_hash
from models.weights.loading import load_autoencoder
from training.ranks import Alone
from training.unet import cached_latents, validate


def greedy(paths, folder, weights="ema"):
    """paths: checkpoints of one run, the best first; folder: its training images. -> the paths whose mean is best. Validated as
    in training, by the same losses of the same held-out rows with the same noise."""
    config = config_from(read_header(paths[0]).config)
    pairs = find_train(folder, config.data.exclude)
    autoencoder, config.autoencoder, _ = load_autoencoder(config.autoencoder)
    latents = cached_latents(pairs, autoencoder, weights_hash(autoencoder), config, Alone())
    copies = len(latents.z) // len(pairs)
    _, held = train_val_split(list(range(len(pairs))), config.data.validation)
    rows, schedule = np.array(held) * copies, make_schedule(config.diffusion.schedule, config.diffusion.timesteps)
    model = build_unet(config.unet)

    def loss(chosen):
        """The validation loss of the mean of checkpoints."""
        with tempfile.TemporaryDirectory(dir=Path(paths[0]).parent) as place:
            path = Path(place) / "mean.safetensors"
            average(chosen, np.full(len(chosen), 1 / len(chosen)), path, weights)
            load_checkpoint(model, path, weights)
        return validate(model, latents, rows, schedule, config.train.seed, config.train.unet.min_snr)["val_loss"]

    taken, best = [paths[0]], loss([paths[0]])
    print(f"{best:.6f}  {paths[0]}")
    for path in paths[1:]:
        found = loss([*taken, path])
        print(f"{found:.6f}  with {path}: {'kept' if found < best else 'left out'}")
        if found < best:
            taken, best = [*taken, path], found
    return taken
