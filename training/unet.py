"""Training the U-Net, Algorithm 1, on cached latents."""
import numpy as np

from configs.schema import RoundConfig, SamplingConfig
from data.batches import batch_rows, prefetch, train_val_split
from data.landscape import read_image
from data.latents import build_or_open
from ldm.algorithm2 import synthesise
from ldm.losses import diffusion_loss, drop_masks
from ldm.noise import generator
from ldm.pixels import from_uint8
from ldm.schedule import make_schedule
from models.cached_unet import CachedUNet
from models.precision import compute_in, imitated, resolve
from models.unet import build_unet
from models.weights.checkpoint import weights_hash
from models.weights.loading import load_weights
from runtime import pictures
from runtime.backend import jt
from training.run import Run

SHOWN = 4                # rows in the picture
VALIDATION_DRAWS = 4     # timesteps per held-out image
# The picture's sampling: from so much of the schedule, and short, so that it costs seconds. Its guidance is the first round's.
PREVIEW_START, PREVIEW_STEPS = 0.6, 16


def train_unet(config, pairs, autoencoder, resume):
    """Trains on the pairs' latents and label maps; the checkpoints are in the run's folder."""
    options, size = config.train.unet, (config.data.height, config.data.width)
    schedule = make_schedule(config.diffusion.schedule, config.diffusion.timesteps)
    code = weights_hash(autoencoder)

    def encode(images):
        with jt.no_grad():
            return autoencoder.encode(from_uint8(images)).numpy()

    config.train.precision = resolve(config.train.precision)
    if imitated(config.train.precision, training=True):
        print(imitated(config.train.precision, training=True))
    model = build_unet(config.unet, seed=config.train.seed)
    compute_in(model, config.train.precision)
    run = Run(config, "unet", model, extra={"autoencoder": code}, precision=config.train.precision)
    run.check(resume)
    latents = build_or_open(pairs, config.data, config.autoencoder.factor, encode, code, config.data.cache)
    if options.init_from:
        load_weights(model, options.init_from, "unet")
    run.start(resume)
    copies = len(latents.z) // len(pairs)  # 2 with mirrored copies: rows 2i and 2i + 1 are of pair i
    training, validation = train_val_split(list(range(len(pairs))), config.data.validation)
    rows = np.array([row * copies + c for row in training for c in range(copies)])
    held = np.array([row * copies for row in validation])

    def make_batch(step):
        chosen = rows[batch_rows(config.train.seed, step, options.batch_size, len(rows))]
        rng = generator(config.train.seed, "unet", step)
        labels = latents.labels[chosen].astype(np.int32)
        return draw_noise(rng, latents.z[chosen], drop_masks(labels, rng.random(len(chosen)) < options.mask_dropout), schedule)

    def losses(batch, step):
        z_0, labels, t, eps = batch
        return diffusion_loss(model, jt.array(z_0), jt.array(labels), t, jt.array(eps), schedule)

    def validate():
        totals = []
        for row in held:  # one at a time, always with the same noise
            rng = generator(config.train.seed, "validation", int(row))
            repeated = np.repeat(row, VALIDATION_DRAWS)
            batch = draw_noise(rng, latents.z[repeated], latents.labels[repeated].astype(np.int32), schedule)
            with jt.no_grad():
                totals.append({name: value.numpy().mean() for name, value in losses(batch, 0).items()})
        return {f"val_{name}": float(np.mean([total[name] for total in totals])) for name in totals[0]}

    def draw():
        chosen = validation[:SHOWN]
        images = np.stack([read_image(pairs[i].image, *size) for i in chosen])
        # Each mask is painted in the style of the next image.
        references = np.roll(images, 1, axis=0) if len(images) > 1 else images
        labels = latents.labels[[i * copies for i in chosen]].astype(np.int32)
        preview = SamplingConfig(rounds=[RoundConfig(t_start=int(PREVIEW_START * len(schedule)), steps=PREVIEW_STEPS,
                                                     guidance=config.sampling.rounds[0].guidance)],
                                 colour_transfer="none", seed=config.train.seed)
        with jt.no_grad():
            samples, _ = synthesise(autoencoder.encode, autoencoder.decode, CachedUNet(model), references, labels,
                                    [pairs[i].stem for i in chosen], preview, schedule, config.unet.latent_channels)
        masks = [pictures.colour_labels(m.repeat(config.autoencoder.factor, 0).repeat(config.autoencoder.factor, 1))
                 for m in labels]
        return pictures.grid([list(row) for row in zip(masks, references, samples, images)],
                             captions=["mask", "reference", "sample", "the mask's own photo"])

    run.fit(lambda n: prefetch(make_batch, range(n, options.steps), options.workers), losses, validate, draw)


def draw_noise(rng, z_0, labels, schedule):
    """A batch ready for the loss: z_0, labels, t (B,) uniform, eps like z_0."""
    t = rng.integers(len(schedule), size=len(z_0))
    return np.ascontiguousarray(z_0), labels, t, rng.standard_normal(z_0.shape, dtype=np.float32)
