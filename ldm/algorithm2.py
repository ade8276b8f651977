"""Algorithm 2: synthesis from a mask and a style reference, in rounds of noising and denoising."""
import numpy as np

from ldm.colour_transfer import transfer_all
from ldm.guidance import guided_in, guides
from ldm.large import larger
from ldm.noise import normal, q_sample
from ldm.pixels import from_uint8, through_jpeg, to_uint8
from ldm.sample import denoise
from ldm.schedule import alpha_bar_at, points_of
from runtime.backend import jt
from runtime.errors import RunError


def synthesise(encode, decode, model, references, labels, names, sampling, schedule, latent_channels=3,
               progress=None, latent_size=None, reference_labels=None, large=None, between=None):
    """Algorithm 2 for a batch -> (images uint8 (B, H, W, 3), network evaluations per image).

    encode: x (B, 3, H, W) -> z_0 (B, C, h, w); decode: back; model: theta* of Eq. (7), callable (z, t, labels)
    -> eps. references: X_R, uint8 (B, H, W, 3); labels: m, int (B, h, w); names: B strings that key each image's
    noise; sampling: SamplingConfig, one RoundConfig for every k; progress(): called after every denoising step;
    latent_size: (h, w) where labels are larger than the latents; reference_labels: the references' own masks, for a
    colour transfer by class; large: a ldm.large.Large where the images are to be larger than the references; between: another
    (encode, decode) for the way from a round to the next, where the first and the last image are not concerned.
    """
    references, labels = np.asarray(references), np.asarray(labels, dtype=np.int32)
    assert len(references) == len(labels) == len(names), (len(references), len(labels), len(names))
    shape = (latent_channels, *(latent_size or labels.shape[1:]))
    images, m, last = references, jt.array(labels), len(sampling.rounds) - 1
    coder, others = (encode, decode), between or (encode, decode)
    with jt.no_grad():
        for k, r in enumerate(sampling.rounds):                               # K rounds of refinement
            noise = lambda key: normal(sampling.seed, names, k, shape, key)   # noqa: B023 (used in its round only)
            if k > 0:
                images = recoloured(images, references, sampling, labels, reference_labels)            # Eq. (6)
            encode, decode = (others if k else coder)[0], (coder if k == last else others)[1]
            z_T = noised(encode, images, r, schedule, jt.array(noise("start")))                       # Eq. (1)
            z_0 = denoise(guided_in(model, r), z_T, m, points_of(r, schedule), r.sampler, r.eta, noise, progress)  # Eq. (5)
            check_finite(z_0, names, k)
            images = to_uint8(decode(z_0), sampling.truncate)                 # X_G^k
        if large is not None:
            images = larger(decode, model, z_0, large, names, sampling, schedule, progress)                    # Fig. 7
    return images, evaluations(sampling, schedule)


def check_finite(z_0, names, k):
    """RunError that names the images whose latents (B, C, h, w) are not finite: a decoder may well make a picture of them."""
    finite = np.isfinite(z_0.numpy()).all(axis=(1, 2, 3))                     # (B,)
    if not finite.all():
        bad = [name for name, well in zip(names, finite) if not well]
        raise RunError(f"{', '.join(bad[:5])}: the latents of round {k + 1} are not finite ({len(bad)} of {len(names)} images "
                       "at hand); a lower guidance, another sampler or float32 may help, else the weights are broken")


def recoloured(images, references, sampling, labels=None, reference_labels=None):
    """The images of the round before in the colours of the references, uint8 (B, H, W, 3), Eq. (6)."""
    # Kept as uint8 unless asked for: the published pipeline lost quality to four JPEG files on the way.
    quality = sampling.jpeg_between_rounds
    filed = (lambda images: through_jpeg(images, quality)) if quality else (lambda images: images)
    return filed(transfer_all(sampling.colour_transfer, filed(images), references, labels, reference_labels))


def noised(encode, images, round_, schedule, eps):
    """z_T of a round, like eps (B, C, h, w): the images' latents noised to t_start (or t_noise), Eq. (1)."""
    if round_.from_noise:
        return eps                                                            # Table 2's DM: no reference
    z_0 = encode(from_uint8(images))
    return q_sample(z_0, alpha_bar_at(schedule, round_.t_noise or round_.t_start), eps)


def evaluations(sampling, schedule=None):
    """Network evaluations per image; a guided step counts two. schedule: where a round has a guidance interval."""
    return sum(calls(round_, schedule) for round_ in sampling.rounds)


def calls(round_, schedule=None):
    """Network evaluations of a round per image."""
    if round_.sampler == "distilled":
        return round_.steps
    if not round_.guidance_interval:
        return round_.steps * (2 if round_.guidance > 1 else 1)
    assert schedule is not None, "which steps lie in a guidance interval depends on the schedule"
    return sum(2 if guides(round_.guidance, round_.guidance_interval, t) else 1
               for t in points_of(round_, schedule).timesteps)
