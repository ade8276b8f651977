"""Algorithm 2: synthesis from a mask and a style reference, in rounds of noising and denoising."""
import numpy as np

from ldm.colour_transfer import transfer_all
from ldm.guidance import guided, guides
from ldm.levels import walk
from ldm.noise import normal, q_sample
from ldm.pixels import from_uint8, through_jpeg, to_uint8
from ldm.sample import denoise, start_alpha_bar
from ldm.schedule import respace
from runtime.backend import jt


def synthesise(encode, decode, model, references, labels, names, sampling, schedule, latent_channels=3, progress=None):
    """Algorithm 2 for a batch -> (images uint8 (B, H, W, 3), network evaluations per image).

    encode: x (B, 3, H, W) -> z_0 (B, C, h, w); decode: back; model: theta* of Eq. (7), callable (z, t, labels) -> eps.
    references: X_R, uint8 (B, H, W, 3); labels: m, int (B, h, w); names: B strings that key each image's noise;
    sampling: SamplingConfig, one RoundConfig for every k; progress(): called after every denoising step.
    """
    references, labels = np.asarray(references), np.asarray(labels, dtype=np.int32)
    assert len(references) == len(labels) == len(names), (len(references), len(labels), len(names))
    shape = (latent_channels, *labels.shape[1:])
    images, m = references, jt.array(labels)
    for k, round_ in enumerate(sampling.rounds):                                        # K rounds of refinement
        with jt.no_grad():
            z_T = noised_start(encode, k, images, references, names, sampling, schedule, shape)
            eps_model = guided(model, round_.guidance, round_.guidance_interval, round_.guidance_rescale)
            z_0 = denoise(eps_model, z_T, m, walk(schedule, round_), sampler=round_.sampler, eta=round_.eta,
                          noise_fn=lambda i: normal(sampling.seed, names, k, shape, i), progress=progress)  # Eq. (5)
            images = to_uint8(decode(z_0), sampling.truncate)                           # X_G^k
    return images, evaluations(sampling, schedule)


def noised_start(encode, k, images, references, names, sampling, schedule, shape):
    """z_T of round k = 0, 1, ..., (B, *shape): made from the images of the round before, which for k = 0 are the references."""
    round_ = sampling.rounds[k]
    eps = jt.array(normal(sampling.seed, names, k, shape, "start"))
    if round_.from_noise:
        return eps                                                                      # Table 2's DM: no reference
    # Kept as uint8 unless asked for: the published pipeline lost quality to four JPEG files on the way.
    quality = sampling.jpeg_between_rounds
    filed = (lambda images: through_jpeg(images, quality)) if quality else (lambda images: images)
    if k > 0:                                                                           # Eq. (6)
        images = filed(transfer_all(sampling.colour_transfer, filed(images), references))
    z_0 = encode(from_uint8(images))
    alpha_bar = start_alpha_bar(respace(schedule, round_.steps), round_.start, round_.published_offset)
    return q_sample(z_0, alpha_bar, eps)                                                # Eq. (1)


def steps_taken(round_):
    """Denoising steps of a round: `levels`, else `start`, which from pure noise is the whole grid."""
    return round_.levels or round_.start


def evaluations(sampling, schedule=None):
    """Network evaluations per image; a guided step counts two. schedule: needed where a round has a guidance interval."""
    return sum(calls(round_, schedule) for round_ in sampling.rounds)


def calls(round_, schedule=None):
    """Network evaluations of a round per image."""
    if not round_.guidance_interval:
        return steps_taken(round_) * (2 if round_.guidance > 1 else 1)
    assert schedule is not None, "where the steps of a round with a guidance interval lie depends on the schedule"
    return sum(2 if guides(round_.guidance, round_.guidance_interval, t) else 1 for t in walk(schedule, round_).timesteps)
