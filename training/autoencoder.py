"""Training the autoencoder: L1 and codebook loss on crops of the training images."""
import numpy as np

from data.batches import batch_rows, prefetch, train_val_split
from data.landscape import read_image
from ldm.noise import generator
from ldm.pixels import from_uint8, to_uint8
from models.autoencoder import build_autoencoder, normalise_latents
from models.layers import parameters_of
from models.weights.checkpoint import write_checkpoint
from models.weights.loading import load_weights
from runtime import pictures
from runtime.backend import jt
from runtime.errors import UserError
from runtime.log import progress_bar
from training.autoencoder_loss import init_codebook, reconstruction_loss
from training.run import Run

SHOWN = 4      # images in the picture
MEASURED = 64  # images whose latents give the mean and the scale to take out at the end


def train_autoencoder(config, pairs, resume):
    """Trains on the pairs' images, writes config.autoencoder.path and returns the model."""
    options, size = config.train.autoencoder, (config.data.height, config.data.width)
    if config.autoencoder.kind != "vq":
        raise UserError(f"{config.autoencoder.path}: an autoencoder of kind {config.autoencoder.kind} is not trained here, "
                        "expected its file, or autoencoder.kind: vq")
    model = build_autoencoder(config.autoencoder, seed=config.train.seed)
    run = Run(config, "autoencoder", model)
    if options.init_from:
        load_weights(model, options.init_from, "autoencoder")
    run.start(resume)
    training, validation = train_val_split(pairs, config.data.validation)
    held = [read_image(pair.image, *size) for pair in validation]
    codebook = "quantize.embedding.weight"

    def make_batch(step):
        rng = generator(config.train.seed, "autoencoder", step)
        rows = batch_rows(config.train.seed, step, options.batch_size, len(training))
        return np.stack([augment(read_image(training[row].image, *size), rng, options.crop, config.data.flip) for row in rows])

    def losses(images, step):
        x = from_uint8(images)
        if step == options.codebook_start > 0:
            with jt.no_grad():
                z = model.encode(x).numpy().transpose(0, 2, 3, 1).reshape(-1, config.autoencoder.embed_dim)
            run.training.set(codebook, init_codebook(z, config.autoencoder.codes, generator(config.train.seed, "codes", step)))
        return reconstruction_loss(model, x, quantise=step >= options.codebook_start)

    def reconstruct(images):
        with jt.no_grad():
            return to_uint8(model(from_uint8(images), quantise=run.training.n > options.codebook_start)[0])

    def validate():
        errors = [np.abs(reconstruct(image[None])[0].astype(np.float32) - image).mean() / 127.5 for image in held]
        return {"val_loss": float(np.mean(errors))}

    def draw():
        return pictures.grid([[image, reconstruct(image[None])[0]] for image in held[:SHOWN]],
                             captions=["image", "reconstruction"])

    run.fit(lambda n: prefetch(make_batch, range(n, options.steps), options.workers), losses, validate, draw)
    finish(run, config, [read_image(pair.image, *size) for pair in training[:MEASURED]])
    return model


def augment(image, rng, crop, flip):
    """A random crop (side `crop`, 0 = none) of a uint8 image (H, W, 3), mirrored half of the time."""
    if crop:
        height, width = min(crop, image.shape[0]), min(crop, image.shape[1])
        top, left = rng.integers(image.shape[0] - height + 1), rng.integers(image.shape[1] - width + 1)
        image = image[top:top + height, left:left + width]
    return image[:, ::-1] if flip and rng.random() < 0.5 else image


def finish(run, config, images):
    """Leaves the averaged weights in the model, scales its latent to mean 0 and deviation 1, and writes them."""
    model, training = run.model, run.training
    for name, var in parameters_of(model).items():
        var.update(jt.array(training.ema.average[name].numpy()))
    with jt.no_grad():
        z = np.concatenate([model.encode(from_uint8(image[None])).numpy()
                            for image in progress_bar(images, label="latent scale")])
    mean = z.mean((0, 2, 3), dtype=np.float64)
    normalise_latents(model, mean, (z - mean.reshape(1, -1, 1, 1)).std())
    write_checkpoint(config.autoencoder.path, parameters_of(model), run.header({}))
