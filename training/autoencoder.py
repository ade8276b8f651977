"""Training the autoencoder: L1 and codebook loss on crops of the training images."""
import numpy as np

from data.batches import batch_rows, train_val_split
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
CODEBOOK = "quantize.embedding.weight"
MEASURED = 64  # images whose latents give the mean and the scale to take out at the end


def train_autoencoder(config, pairs, resume):
    """Trains on the pairs' images, writes config.autoencoder.path and returns the model."""
    options, seed, size = config.train.autoencoder, config.train.seed, (config.data.height, config.data.width)
    if config.autoencoder.kind != "vq":
        raise UserError(f"{config.autoencoder.path}: an autoencoder of kind {config.autoencoder.kind} is not trained here, "
                        "expected its file, or autoencoder.kind: vq")
    model = build_autoencoder(config.autoencoder, seed)
    run = Run(config, "autoencoder", model)
    if options.init_from:
        load_weights(model, options.init_from, "autoencoder")
    run.start(resume)
    training, validation = train_val_split(pairs, config.data.validation)
    held = [read_image(pair.image, *size) for pair in validation]

    def make_batch(step):
        rng = generator(seed, "autoencoder", step)
        rows = batch_rows(seed, step, options.batch_size, len(training))
        whole = (read_image(training[row].image, *size) for row in rows)
        return np.stack([augment(image, rng, options.crop, config.data.flip) for image in whole])

    for images in run.batches(make_batch):                   # from the saved step to the last
        x = from_uint8(images)
        if run.steps_done == options.codebook_start > 0:
            rng = generator(seed, "codes", run.steps_done)
            run.state.assign(CODEBOOK, codebook_for(model, x, config.autoencoder, rng))
        losses = reconstruction_loss(model, x, quantise=run.steps_done >= options.codebook_start)
        run.step(losses)                                     # AdamW, moving average, log line
        quantised = run.steps_done > options.codebook_start  # as the last step was
        if run.due("save"):
            with run.averaged_weights():
                metrics = validate(model, held, quantised)
            run.save(metrics)
        if run.due("sample"):
            with run.averaged_weights():
                picture = preview(model, held[:SHOWN], quantised)
            run.save_picture(picture)
    finish(run, config, [read_image(pair.image, *size) for pair in training[:MEASURED]])
    return model


def codebook_for(model, x, config, rng):
    """A codebook placed on the latents of a batch x (B, 3, H, W); config: an AutoencoderConfig."""
    with jt.no_grad():
        z = model.encode(x).numpy().transpose(0, 2, 3, 1).reshape(-1, config.embed_dim)
    return init_codebook(z, config.codes, rng)


def reconstruct(model, image, quantise):
    """An image (H, W, 3) uint8 there and back."""
    with jt.no_grad():
        return to_uint8(model(from_uint8(image[None]), quantise=quantise)[0])[0]


def validate(model, images, quantise):
    """{"val_loss"}: the mean absolute error of the images' reconstructions, in [-1, 1] as in training."""
    found = ((image, reconstruct(model, image, quantise).astype(np.float32)) for image in images)
    return {"val_loss": float(np.mean([np.abs(ours - image).mean() / 127.5 for image, ours in found]))}


def preview(model, images, quantise):
    """A picture: image | reconstruction."""
    return pictures.grid([[image, reconstruct(model, image, quantise)] for image in images],
                         captions=["image", "reconstruction"])


def augment(image, rng, crop, flip):
    """A random crop (side `crop`, 0 = none) of a uint8 image (H, W, 3), mirrored half of the time."""
    if crop:
        height, width = min(crop, image.shape[0]), min(crop, image.shape[1])
        top, left = rng.integers(image.shape[0] - height + 1), rng.integers(image.shape[1] - width + 1)
        image = image[top:top + height, left:left + width]
    return image[:, ::-1] if flip and rng.random() < 0.5 else image


def finish(run, config, images):
    """Leaves the averaged weights in the model, scales its latent to mean 0 and deviation 1, and writes
    them."""
    model = run.model
    for name, var in parameters_of(model).items():
        var.update(jt.array(run.state.ema.average[name].numpy()))
    with jt.no_grad():
        z = np.concatenate([model.encode(from_uint8(image[None])).numpy()
                            for image in progress_bar(images, label="latent scale")])
    mean = z.mean((0, 2, 3), dtype=np.float64)
    normalise_latents(model, mean, (z - mean.reshape(1, -1, 1, 1)).std())
    write_checkpoint(config.autoencoder.path, parameters_of(model), run.header({}))
