"""Training the U-Net, Algorithm 1, on cached latents."""
import numpy as np

from configs.schema import RoundConfig, SamplingConfig
from data.batches import batch_rows, train_val_split
from data.landscape import read_image
from data.latents_together import build_together
from ldm.algorithm2 import synthesise
from ldm.losses import diffusion_loss, drop_masks
from ldm.noise import generator
from ldm.pixels import from_uint8
from ldm.schedule import make_schedule
from models.cached_unet import CachedUNet
from models.checkpointing import CheckpointedUNet
from models.precision import compute_in, imitated, resolve
from models.unet import build_unet
from models.weights.checkpoint import weights_hash
from models.weights.loading import load_weights
from models.weights.ranking import score
from runtime import pictures
from runtime.backend import jt
from training.memory import checkpoints, cost
from training.meter import QUARTERS
from training.ranks import ranks_here
from training.run import Run
from training.validation import Painted

SHOWN = 4                # rows in the picture
VALIDATION_DRAWS = 4     # timesteps and noises per held-out image
# The picture's sampling: from so much of the schedule, and short, so that it costs seconds. Its guidance is
# the first round's.
PREVIEW_START, PREVIEW_STEPS = 0.6, 16


def train_unet(config, pairs, autoencoder, resume):
    """Trains on the pairs' latents and label maps; the checkpoints are in the run's folder."""
    options, seed = config.train.unet, config.train.seed
    schedule = make_schedule(config.diffusion.schedule, config.diffusion.timesteps)
    config.train.precision = resolve(config.train.precision)
    if imitated(config.train.precision):
        print(imitated(config.train.precision))
    model = build_unet(config.unet, seed)
    compute_in(model, config.train.precision)
    code = weights_hash(autoencoder)
    ranks = ranks_here()
    run = Run(config, "unet", model, extra={"autoencoder": code}, precision=config.train.precision, ranks=ranks)
    run.check(resume)
    latents = cached_latents(pairs, autoencoder, code, config, ranks)
    if options.init_from:
        load_weights(model, options.init_from, "unet")
    run.start(resume)
    if run.writes:
        print(cost(config, model, ranks.size), flush=True)
    train_rows, val_rows, validation = split_rows(latents, pairs, config.data.validation)
    shown = [pairs[row] for row in validation[:SHOWN]], latents.label_maps(val_rows[:SHOWN])

    def make_batch(step):
        rng = generator(seed, "unet", step)
        rows = train_rows[batch_rows(seed, step, options.batch_size, len(train_rows))]
        z_0, labels = rows_of(latents, rows)
        labels = drop_masks(labels, rng.random(len(rows)) < options.mask_dropout)
        return z_0, labels, *draw_noise(rng, z_0.shape, len(schedule), options.timesteps)

    painted = None
    if options.validate_images and run.writes:
        fixed = validation[:options.validate_images]
        masks = latents.label_maps(val_rows[:options.validate_images])
        painted = Painted(autoencoder, [pairs[row] for row in fixed], masks, schedule, config)

    exact = config.train.precision == "float32" or jt.flags.use_cuda
    network = CheckpointedUNet(model, exact) if checkpoints(config, model, ranks.size) else model
    for z_0, labels, t, eps in run.batches(make_batch):      # from the saved step to the last
        losses = diffusion_loss(network, jt.array(z_0), jt.array(labels), t, jt.array(eps), schedule, options.min_snr)
        run.step(losses, quarters=t * QUARTERS // len(schedule))             # AdamW, moving average, log line
        if run.due("save"):
            found = []
            for average in run.state.averages if run.writes else []:      # one, or several lengths: the best is saved
                with run.averaged_weights(average):
                    metrics = validate(model, latents, val_rows, schedule, seed, options.min_snr)
                    found.append(({**metrics, **(painted.scores(model) if painted else {})}, average))
            run.save(*min(found, key=lambda item: score(item[0], options.best_by), default=({},)))
        if run.due("sample") and run.writes:
            with run.averaged_weights():
                picture = preview(model, autoencoder, *shown, schedule, config)
            run.save_picture(picture)


def cached_latents(pairs, autoencoder, code, config, ranks):
    """The Latents of the pairs, encoded now, by all processes, where the cache has not got them. code: the hash of the
    autoencoder's weights."""
    def encode(images):
        with jt.no_grad():
            return autoencoder.encode(from_uint8(images)).numpy()

    return build_together(pairs, config.data, config.autoencoder.factor, encode, code, config.data.cache, ranks,
                          label_factor=config.label_factor)


def split_rows(latents, pairs, held):
    """(rows of the cache to train on, rows held out, the pairs that these are of), arrays and a list."""
    copies = len(latents.z) // len(pairs)  # 2 with mirrored copies: rows 2i and 2i + 1 are of pair i
    training, validation = train_val_split(list(range(len(pairs))), held)
    return (np.array([row * copies + c for row in training for c in range(copies)]),
            np.array([row * copies for row in validation]), validation)


def rows_of(latents, rows):
    """z_0 (B, C, h, w) float32 and labels (B, h, w) int32 of rows of the cache."""
    return np.ascontiguousarray(latents.z[rows]), latents.label_maps(rows)


def draw_noise(rng, shape, timesteps, spread="uniform"):
    """t (B,) on the schedule, eps ~ N(0, I) of z's shape (B, C, h, w). spread: uniform, or logit_normal (Esser et al.
    2024, "Scaling Rectified Flow Transformers"): a normal variable's logistic function, half of it in 0.34 .. 0.66."""
    if spread == "uniform":
        t = rng.integers(timesteps, size=shape[0])
    else:
        t = (timesteps / (1 + np.exp(-rng.standard_normal(shape[0])))).astype(int)
    return t, rng.standard_normal(shape, dtype=np.float32)


def validate(model, latents, rows, schedule, seed, min_snr=0.0):
    """{"val_loss", ...}, the mean losses of held-out rows, one at a time and always with the same noise."""
    totals = []
    for row in rows:
        z_0, labels = rows_of(latents, np.repeat(row, VALIDATION_DRAWS))
        t, eps = draw_noise(generator(seed, "validation", int(row)), z_0.shape, len(schedule))
        with jt.no_grad():
            losses = diffusion_loss(model, jt.array(z_0), jt.array(labels), t, jt.array(eps), schedule, min_snr)
            totals.append({name: value.numpy().mean() for name, value in losses.items()})
    return {f"val_{name}": float(np.mean([total[name] for total in totals])) for name in totals[0]}


def preview(model, autoencoder, pairs, labels, schedule, config, sampling=None):
    """A picture of held-out pairs: mask | reference | sample | photo. labels: (B, h, w) or larger; sampling: a SamplingConfig,
    a short round of the first one's guidance unless told otherwise."""
    images = np.stack([read_image(pair.image, config.data.height, config.data.width) for pair in pairs])
    # Each mask is painted in the style of the next image.
    references = np.roll(images, 1, axis=0) if len(images) > 1 else images
    labels, factor = labels.astype(np.int32), config.label_factor
    round_ = RoundConfig(t_start=int(PREVIEW_START * len(schedule)), steps=PREVIEW_STEPS,
                         guidance=config.sampling.rounds[0].guidance)
    sampling = sampling or SamplingConfig(rounds=[round_], colour_transfer="none", seed=config.train.seed)
    with jt.no_grad():
        samples, _ = synthesise(autoencoder.encode, autoencoder.decode, CachedUNet(model), references, labels,
                                [pair.stem for pair in pairs], sampling, schedule, config.unet.latent_channels,
                                latent_size=config.latent_size)
    masks = [pictures.colour_labels(mask.repeat(factor, 0).repeat(factor, 1), config.data.class_set.colours) for mask in labels]
    return pictures.grid([list(row) for row in zip(masks, references, samples, images)],
                         captions=["mask", "reference", "sample", "the mask's own photo"])
