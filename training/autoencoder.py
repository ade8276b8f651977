"""Training the autoencoder on crops of the training images: L1, codebook or KL; LPIPS and a patch discriminator when asked."""
import numpy as np

from data.batches import batch_rows, train_val_split
from data.landscape import read_image
from ldm.noise import generator
from ldm.pixels import from_uint8, to_uint8
from models.autoencoder import build_autoencoder, normalise_latents
from models.autoencoder_parts import AttnBlock, ResnetBlock
from models.checkpointing import checkpointed_layers
from models.layers import parameters_of
from models.weights.checkpoint import write_checkpoint
from models.weights.loading import load_weights
from runtime import pictures
from runtime.backend import jt
from runtime.errors import UserError
from runtime.log import progress_bar
from training.adversary import Adversary
from training.autoencoder_loss import drawn_loss, image_losses, init_codebook, quantised_loss, total
from training.autoencoder_run import CODEBOOK, AutoencoderRun

SHOWN = 4      # images in the picture
MEASURED = 64  # images whose latents give the mean and the scale to take out at the end


def train_autoencoder(config, pairs, resume):
    """Trains on the pairs' images, writes config.autoencoder.path and returns the model."""
    options, seed, size = config.train.autoencoder, config.train.seed, (config.data.height, config.data.width)
    if config.autoencoder.kind not in ("vq", "kl"):
        raise UserError(f"{config.autoencoder.path}: an autoencoder of kind {config.autoencoder.kind} is not trained here, "
                        "expected its file, or autoencoder.kind: vq or kl")
    vq, lpips = config.autoencoder.kind == "vq", perceptual_network(options)
    model = build_autoencoder(config.autoencoder, seed)
    adversary = Adversary(options, seed) if options.adversarial else None
    run = AutoencoderRun(config, model, adversary)
    if options.init_from:
        load_weights(model, options.init_from, "autoencoder")
    run.start(resume)
    training, validation = train_val_split(pairs, config.data.validation)
    held = [read_image(pair.image, *size) for pair in validation]

    def make_batch(step):
        rng = generator(seed, "autoencoder", step)
        rows = batch_rows(seed, step, options.batch_size, len(training))
        whole = (read_image(training[row].image, *size) for row in rows)
        images = np.stack([augment(image, rng, options.crop, config.data.flip) for image in whole])
        if vq:
            return images
        latent = (config.autoencoder.embed_dim, *(side // config.autoencoder.factor for side in images.shape[1:3]))
        return images, rng.standard_normal((len(images), *latent), dtype=np.float32)

    network = checkpointed_layers(model, (ResnetBlock, AttnBlock)) if config.train.checkpointing == "blocks" else model
    for batch in run.batches(make_batch):                    # from the saved step to the last
        images, eps = (batch, None) if vq else batch
        x, quantise = from_uint8(images), run.steps_done >= options.codebook_start
        if vq and run.steps_done == options.codebook_start > 0 and run.part == 0:
            rng = generator(seed, "codes", run.steps_done)
            run.state.assign(CODEBOOK, init_codebook(latents_of(model, x), config.autoencoder.codes, rng))
        watched = {"codes_used": watch(run, model, x)} if len(run.state.code_used) and quantise else {}
        found, others = quantised_loss(network, x, quantise) if vq else drawn_loss(network, x, jt.array(eps), options.kl)
        losses_of = lambda image: image_losses(image, x, lpips, options.perceptual)
        if adversary and adversary.plays(run.steps_done):    # first it, then the autoencoder against it
            judged = run.move_adversary(adversary.loss(x, found))
            losses = {**adversary.against(found, losses_of, others, model.decoder.conv_out.weight), **judged}
        else:
            losses = total({**losses_of(found), **others})
        run.step({**losses, **watched})                      # AdamW, moving average, log line
        quantised = vq and run.steps_done > options.codebook_start    # as the last step was
        if run.due("save"):
            with run.averaged_weights():
                metrics = validate(model, held, quantised, lpips)
            run.save(metrics)
        if run.due("sample"):
            with run.averaged_weights():
                picture = preview(model, held[:SHOWN], quantised)
            run.save_picture(picture)
    finish(run, config, [read_image(pair.image, *size) for pair in training[:MEASURED]])
    return model


def perceptual_network(options):
    """The LPIPS of an AutoencoderStage, None where it names no weights."""
    if not options.lpips_trunk:
        return None
    from evaluation.networks.lpips import open_lpips
    return open_lpips(options.lpips_trunk, options.lpips_heads)


def latents_of(model, x):
    """Latent vectors (N, D) of images x (B, 3, H, W)."""
    with jt.no_grad():
        z = model.encode(x).numpy()
    return z.transpose(0, 2, 3, 1).reshape(-1, z.shape[1])


def reconstruct(model, image, quantise):
    """An image (H, W, 3) uint8 there and back."""
    with jt.no_grad():
        return to_uint8(model.decode(model.encode(from_uint8(image[None])), quantise=quantise))[0]


def validate(model, images, quantise, lpips=None):
    """{"val_loss", "val_psnr"}: the mean absolute error of the images' reconstructions, in [-1, 1] as in training, and their
    PSNR; with a LPIPS "val_lpips", with a codebook "val_codes", the share of its codes that the images use."""
    found = [reconstruct(model, image, quantise) for image in images]
    difference = [ours.astype(np.float32) - image for ours, image in zip(found, images)]
    mean = lambda values: float(np.mean(list(values)))
    metrics = {"val_loss": mean(np.abs(d).mean() / 127.5 for d in difference),
               "val_psnr": mean(10 * np.log10(255 ** 2 / max(np.square(d).mean(), 1e-10)) for d in difference)}
    if lpips:
        metrics["val_lpips"] = mean(lpips.predict(list(zip(found, images))))
    if quantise:
        used = [codes_of(model, from_uint8(image[None])) for image in images]
        metrics["val_codes"] = len(np.unique(np.concatenate(used))) / model.quantize.embedding.weight.shape[0]
    return metrics


def codes_of(model, x):
    """The codes (N,) that images x (B, 3, H, W) are quantised to."""
    with jt.no_grad():
        return model.quantize(model.encode(x))[1].numpy().reshape(-1)


def watch(run, model, x):
    """Notes which codes a batch x uses and, when it is time, revives those that were not. -> the share used, (1,)."""
    run.state.notice(codes_of(model, x))
    share = run.state.code_used.mean(keepdims=True)
    if run.steps_done % run.options.revive_every == 0 and run.steps_done > run.options.codebook_start:
        run.state.revive(latents_of(model, x), generator(run.config.train.seed, "revived", run.steps_done))
    return jt.array(share)


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
