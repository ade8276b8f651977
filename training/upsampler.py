"""Training the head that lets a tiny autoencoder paint at twice its size: L1 on crops. The rest stays as it is."""
import numpy as np

from data.batches import batch_rows, train_val_split
from data.landscape import read_image
from ldm.losses import mean_per_sample
from ldm.noise import generator
from ldm.pixels import from_uint8, to_uint8
from models.autoencoder import build_autoencoder
from models.layers import initialise, parameters_of
from models.weights.checkpoint import fill, write_checkpoint
from models.weights.loading import open_weights
from runtime import pictures
from runtime.backend import jt
from runtime.errors import UserError
from training.autoencoder import augment
from training.run import Run

SHOWN = 4  # images in the picture


def train_upsampler(config, pairs, resume):
    """Adds a head to the tiny autoencoder in train.autoencoder.init_from, trains it on the pairs' images, writes
    config.autoencoder.path and returns the model."""
    options, seed, size = config.train.autoencoder, config.train.seed, (config.data.height, config.data.width)
    model = build_autoencoder(config.autoencoder)
    with_new_head(model, options.init_from, seed)
    run = Run(config, "autoencoder", model.upsampler)
    run.start(resume)
    training, validation = train_val_split(pairs, config.data.validation)
    held = [read_image(pair.image, *size) for pair in validation]

    def make_batch(step):
        rng = generator(seed, "upsampler", step)
        rows = batch_rows(seed, step, options.batch_size, len(training))
        whole = (read_image(training[row].image, *size) for row in rows)
        return np.stack([augment(image, rng, options.crop, flip=True) for image in whole])

    for images in run.batches(make_batch):                   # from the saved step to the last
        x = from_uint8(images)
        with jt.no_grad():
            h, small = (part.detach() for part in model.features(model.encode(x)))
        run.step({"loss": mean_per_sample((model.enlarge(h, small) - x).abs())})
        if run.due("save"):
            with run.averaged_weights():
                metrics = validate(model, held)
            run.save(metrics)
        if run.due("sample"):
            with run.averaged_weights():
                rows = [[image, reconstruct(model, image)] for image in held[:SHOWN]]
            run.save_picture(pictures.grid(rows, captions=["image", "reconstruction"]))
    for name, var in parameters_of(model.upsampler).items():
        var.update(jt.array(run.state.ema.average[name].numpy()))
    write_checkpoint(config.autoencoder.path, parameters_of(model), run.header(validate(model, held)))
    return model


def with_new_head(model, path, seed):
    """Fills a model with the autoencoder in a file, without its head, and with a new one whose details are zero."""
    if not path:
        raise UserError("train.autoencoder.init_from is empty, expected the file of a tiny autoencoder: all but its head "
                        "stays as it is")
    initialise(model.upsampler, seed, zero=["conv_out"])
    tensors = {name: tensor for name, tensor in open_weights(path, "autoencoder").tensors.items()
               if not name.startswith("upsampler.")}
    tensors.update({f"upsampler.{name}": var.numpy() for name, var in parameters_of(model.upsampler).items()})
    fill(model, tensors, path)


def reconstruct(model, image):
    """An image (H, W, 3) uint8 there and back."""
    with jt.no_grad():
        return to_uint8(model(from_uint8(image[None])))[0]


def validate(model, images):
    """{"val_loss", "val_psnr"}: the mean squared error and PSNR of the images' reconstructions, of 0 to 255."""
    errors = [np.square(reconstruct(model, image).astype(np.float64) - image).mean() for image in images]
    return {"val_loss": float(np.mean(errors)), "val_psnr": float(np.mean(10 * np.log10(255 ** 2 / np.array(errors))))}
