"""Training a tiny autoencoder (Bohan, TAESD) to imitate the given one, for the way between two rounds of Algorithm 2.

Its encoder is to give the other's latents, its decoder what the other's decoder makes of them, codebook included: each half
can stand in for the other's. Convolutions of 64 channels cost about a thirtieth of the published autoencoder's.
"""
import numpy as np

from data.batches import batch_rows, train_val_split
from data.landscape import read_image
from ldm.losses import mean_per_sample
from ldm.noise import generator
from ldm.pixels import from_uint8, to_uint8
from models.autoencoder import build_autoencoder
from models.layers import initialise
from models.weights.checkpoint import IMITATES, weights_hash
from models.weights.loading import load_weights
from runtime import pictures
from runtime.backend import jt
from runtime.errors import UserError
from training.autoencoder import augment
from training.run import Run

SHOWN = 4  # images in the picture


def train_tiny(config, pairs, autoencoder, resume):
    """Trains it on the pairs' images; its checkpoints, in the run's folder, say which autoencoder they imitate."""
    options, seed, size = config.train.tiny, config.train.seed, (config.data.height, config.data.width)
    if options.crop % config.autoencoder.factor:
        raise UserError(f"train.tiny.crop is {options.crop}, expected a multiple of the autoencoder's factor "
                        f"({config.autoencoder.factor})")
    given = config.autoencoder
    model = build_autoencoder(config.tiny.like(given))
    initialise(model, seed)
    if options.init_from:
        load_weights(model, options.init_from, "tiny")
    run = Run(config, "tiny", model, extra={IMITATES: weights_hash(autoencoder)})
    run.start(resume)
    training, validation = train_val_split(pairs, config.data.validation)
    held = [read_image(pair.image, *size) for pair in validation]

    def make_batch(step):
        rng = generator(seed, "tiny", step)
        rows = batch_rows(seed, step, options.batch_size, len(training))
        whole = (read_image(training[row].image, *size) for row in rows)
        return np.stack([augment(image, rng, options.crop, config.data.flip) for image in whole])

    for images in run.batches(make_batch):                   # from the saved step to the last
        run.step(imitation_loss(model, autoencoder, from_uint8(images)))
        if run.due("save"):
            with run.averaged_weights():
                metrics = validate(model, autoencoder, held)
            run.save(metrics)
        if run.due("sample"):
            with run.averaged_weights():
                rows = [[image, there_and_back(autoencoder, image), there_and_back(model, image)] for image in held[:SHOWN]]
            run.save_picture(pictures.grid(rows, captions=["image", "the given autoencoder", "tiny"]))


def imitation_loss(model, autoencoder, x):
    """Per-sample losses {"latent", "image", "loss"}, each (B,), for images x (B, 3, H, W): mean squared error of the latents,
    mean absolute error of what both decoders make of the given one's latents."""
    with jt.no_grad():
        z = autoencoder.encode(x)
        there = autoencoder.decode(z)
        jt.sync([z, there])
    latent = mean_per_sample((model.encode(x) - z.detach()) ** 2)
    image = mean_per_sample((model.decode(z.detach()) - there.detach()).abs())
    return {"latent": latent, "image": image, "loss": latent + image}


def validate(model, autoencoder, images):
    """{"val_loss", "val_latent", "val_image", "val_psnr"} of held-out images; PSNR is that of both ways there and back."""
    found = []
    for image in images:
        with jt.no_grad():
            losses = imitation_loss(model, autoencoder, from_uint8(image[None]))
            values = {name: float(value.numpy()[0]) for name, value in losses.items()}
        error = np.square(there_and_back(model, image).astype(np.float64) - there_and_back(autoencoder, image)).mean()
        found.append({**values, "psnr": 10 * np.log10(255 ** 2 / max(error, 1e-10))})
    return {f"val_{name}": float(np.mean([one[name] for one in found])) for name in found[0]}


def there_and_back(model, image):
    """An image (H, W, 3) uint8 through an autoencoder."""
    with jt.no_grad():
        return to_uint8(model.decode(model.encode(from_uint8(image[None]))))[0]
