"""Algorithm 2: synthesis from a mask and a style reference, in rounds of noising and denoising."""
import numpy as np

from ldm.colour_transfer import transfer
from ldm.guidance import guided
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
    # Kept as uint8 unless asked for: the published pipeline lost quality to four JPEG files on the way.
    quality = sampling.jpeg_between_rounds
    filed = (lambda images: through_jpeg(images, quality)) if quality else (lambda images: images)
    for k, round_ in enumerate(sampling.rounds):                                        # K rounds of refinement
        grid, start = respace(schedule, round_.steps), steps_taken(round_)
        eps = jt.array(normal(sampling.seed, names, k, shape, "start"))
        with jt.no_grad():
            if round_.from_noise:
                z_T = eps                                                               # Table 2's DM: no reference
            else:
                if k > 0:                                                               # Eq. (6)
                    images = np.stack([transfer(sampling.colour_transfer, x_g, x_r)
                                       for x_g, x_r in zip(filed(images), references)])
                    images = filed(images)
                z_0 = encode(from_uint8(images))
                z_T = q_sample(z_0, start_alpha_bar(grid, start, round_.published_offset), eps)  # Eq. (1)
            z_0 = denoise(guided(model, round_.guidance), z_T, m, grid, start, round_.sampler, round_.eta,
                          noise_fn=lambda i: normal(sampling.seed, names, k, shape, i), progress=progress)  # Eq. (5)
            images = to_uint8(decode(z_0), sampling.truncate)                           # X_G^k
    return images, evaluations(sampling)


def steps_taken(round_):
    """Denoising steps of a round: `start`, or the whole grid from pure noise."""
    return round_.steps if round_.from_noise else round_.start


def evaluations(sampling):
    """Network evaluations per image; a guided step counts two."""
    return sum(steps_taken(round_) * (2 if round_.guidance > 1 else 1) for round_ in sampling.rounds)
