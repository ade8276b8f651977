"""Training a GAN of Table 1: generator step, discriminator step, hinge losses, two time scales (section 7 of
docs/baselines.md)."""
from dataclasses import dataclass

import numpy as np

from baselines.clade import distance_map
from baselines.discriminator import build_discriminator
from baselines.gan import build_gan
from baselines.layers import set_training
from baselines.losses import discriminator_hinge, feature_matching, generator_hinge, kl_divergence, l1
from baselines.networks import initialise
from baselines.run import GanRun
from baselines.semantics import Semantics
from baselines.vgg import load_vgg
from data.batches import batch_rows, train_val_split
from data.landscape import read_image, read_labels
from ldm.noise import generator as keyed
from ldm.pixels import from_uint8, to_uint8
from models.weights.loading import load_weights
from runtime import pictures
from runtime.backend import jt

SHOWN = 4                # rows in the picture


def train_gan(config, pairs, resume):
    """Trains on the pairs; the checkpoints are in the run's folder."""
    options, seed, size = config.train.gan, config.train.seed, (config.data.height, config.data.width)
    fit(config)
    gan, discriminator = build_gan(config.gan, seed), build_discriminator(config.gan.discriminator)
    initialise(discriminator, seed, config.gan.spectral_init)
    vgg = load_vgg(config.gan.vgg) if config.gan.vgg else None
    if options.init_from:
        load_weights(gan, options.init_from, "gan")
    run = GanRun(config, gan, discriminator)
    run.start(resume)
    training, validation = train_val_split(pairs, config.data.validation)
    held = [(read_image(pair.image, *size), read_labels(pair.labels, *size, config.data.class_set)) for pair in validation]

    def make_batch(step):
        rows = batch_rows(seed, step, options.batch_size, len(training))
        return Batch.read([training[row] for row in rows], config, keyed(seed, "gan", step), step)

    for batch in run.batches(make_batch):                    # from the saved step to the last
        losses = generator_losses(gan, discriminator, batch, config.gan, vgg)
        logged = run.move_generator(losses)                  # Adam at half the rate, moving average
        losses = discriminator_losses(gan, discriminator, batch)
        run.step({**logged, **losses})                       # Adam at twice the rate, log line
        if run.due("save"):
            with run.averaged_weights():
                metrics = validate(gan, held, config)
            run.save(metrics)
        if run.due("sample"):
            with run.averaged_weights():
                picture = preview(gan, held[:SHOWN], config)
            run.save_picture(picture)


def fit(config):
    """Gives the networks the sizes that follow from the data: classes, channels of the mask, where a `vae`
    network starts."""
    gan, generator = config.gan, config.gan.generator
    generator.classes = generator.style_classes = config.unet.classes
    generator.start = [config.data.height >> generator.doublings, config.data.width >> generator.doublings]
    gan.discriminator.mask_channels = generator.mask_channels
    gan.encoder.z_dim = generator.z_dim


# ---------------------------------------------------------------------------------------------------- one step

def generator_losses(gan, discriminator, batch, config, vgg=None):
    """{name: Var}: the losses of generator and encoder, and "loss", their weighted sum."""
    real = jt.array(batch.images)
    style, mu, logvar = gan.encode(real, batch.semantics, batch.eps[0])
    if gan.codes:
        gan.remember_codes(style, batch.semantics)
    fake, side = gan.generator.images(batch.semantics, style, batch.noise)
    features, predictions = discriminator(batch.twice, jt.concat([fake, real]))
    losses = {"gan": generator_hinge(predictions),
              "features": config.lambda_features * feature_matching(features, discriminator.shared)}
    if mu is not None:
        losses["kl"] = config.lambda_kl * kl_divergence(mu, logvar)
    if side is not None:
        losses["side"] = config.lambda_side * l1(side, real)
    if vgg is not None:
        losses["vgg"] = config.lambda_vgg * vgg.loss(fake, real)
    return {**losses, "loss": sum(losses.values())}


def discriminator_losses(gan, discriminator, batch):
    """{name: Var}: hinge on images that are generated anew, by the generator as it has just become."""
    real = jt.array(batch.images)
    with jt.no_grad():                # in training mode all the same: one more batch of statistics, one more iteration
        style, _, _ = gan.encode(real, batch.semantics, batch.eps[1])
        fake, _ = gan.generator.images(batch.semantics, style, batch.noise)
    _, predictions = discriminator(batch.twice, jt.concat([fake.detach(), real]))
    on_fake, on_real = discriminator_hinge(predictions)
    return {"d_fake": on_fake, "d_real": on_real, "loss": on_fake + on_real}


@dataclass
class Batch:
    """images (B, 3, H, W) float32 in [-1, 1], what is known of their pixels, and every draw of a step."""
    images: np.ndarray
    semantics: Semantics
    twice: Semantics                 # the same for generated and real images together
    eps: tuple                       # of z, for either half of the step
    seed: tuple                      # of SEAN's noise

    @classmethod
    def read(cls, pairs, config, rng, step):
        """The pairs' images and masks, half of them mirrored."""
        size, generator = (config.data.height, config.data.width), config.gan.generator
        images = np.stack([read_image(pair.image, *size) for pair in pairs])
        labels = np.stack([read_labels(pair.labels, *size, config.data.class_set) for pair in pairs])
        mirrored = (rng.random(len(pairs)) < 0.5) & config.data.flip
        distance = None
        if generator.distance and config.gan.flipped_distance:
            distance = np.stack([distance_map(one)[:, ::-1 if turned else 1] for one, turned in zip(labels, mirrored)])
        images[mirrored], labels[mirrored] = images[mirrored][:, :, ::-1], labels[mirrored][:, :, ::-1]
        if generator.distance and not config.gan.flipped_distance:
            distance = np.stack([distance_map(one) for one in labels])
        semantics = Semantics(labels, generator.classes, distance=distance)
        eps = rng.standard_normal((2, len(pairs), generator.z_dim), dtype=np.float32)
        x = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(127.5) - np.float32(1)
        return cls(x, semantics, semantics.repeated(2), tuple(eps), (config.train.seed, step))

    def noise(self, name, shape):
        """SEAN's noise of one layer."""
        seed, step = self.seed
        return keyed(seed, f"noise {name}", step).standard_normal(shape, dtype=np.float32)


# ---------------------------------------------------------------------------------------------------- looking at it

def paint_own(gan, image, labels, config):
    """An image (H, W, 3) painted again from its own mask and style, without noise."""
    generator = config.gan.generator
    distance = distance_map(labels)[None] if generator.distance else None
    semantics = Semantics(labels[None], generator.classes, distance=distance)
    set_training(gan, False)
    with jt.no_grad():
        style, _, _ = gan.encode(from_uint8(image[None]), semantics)
        painted = to_uint8(gan.generator(semantics, style))[0]
    set_training(gan, True)
    return painted


def validate(gan, held, config):
    """{"val_loss"}: the mean absolute difference, in [-1, 1], of held-out images and what is painted of their
    own mask and style."""
    difference = lambda image, labels: np.abs(paint_own(gan, image, labels, config).astype(np.float64) - image).mean()
    return {"val_loss": float(np.mean([difference(*pair) for pair in held])) / 127.5}


def preview(gan, held, config):
    """A picture of held-out pairs: mask | painted in its own style | photo."""
    rows = [[pictures.colour_labels(labels), paint_own(gan, image, labels, config), image] for image, labels in held]
    return pictures.grid(rows, captions=["mask", "painted in its own style", "photo"])
