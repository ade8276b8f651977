"""Losses of autoencoders: L1 and LPIPS of the reconstruction; of VQ the codebook and commitment (van den Oord et al. 2017,
Eq. 3), of KL the divergence from N(0, I) (Rombach et al. 2022, "Latent Diffusion", appendix G)."""
import math

import numpy as np

from ldm.losses import mean_per_sample
from runtime.backend import jt

COMMITMENT = 0.25  # beta of Eq. (3)


def quantised_loss(model, x, quantise=True):
    """A VQ autoencoder's reconstruction (B, 3, H, W) of x in [-1, 1], and {"codebook"} (B,). Without `quantise` the decoder is
    given the latent itself and only the codes are drawn to the latents, not the latents to the codes: the first steps shape the
    latent."""
    found, z, quantised = model(x, quantise=quantise)
    codebook = mean_per_sample((quantised - z.detach()) ** 2)
    if quantise:
        codebook = codebook + COMMITMENT * mean_per_sample((quantised.detach() - z) ** 2)
    return found, {"codebook": codebook}


def drawn_loss(model, x, eps, weight):
    """A KL autoencoder's reconstruction of x (B, 3, H, W) by a latent drawn with eps (B, D, h, w) ~ N(0, I), and {"kl"} (B,),
    times its weight. The divergence is summed over the latent and divided by the image's numbers, as L1 is: the published
    weight, 1e-6, is of sums over both."""
    mean, log_variance = model.posterior(x)
    divergence = 0.5 * (mean * mean + jt.exp(log_variance) - 1 - log_variance)
    per_number = math.prod(mean.shape[1:]) / math.prod(x.shape[1:])
    return model.decode(mean + jt.exp(0.5 * log_variance) * eps), {"kl": weight * per_number * mean_per_sample(divergence)}


def image_losses(found, x, lpips=None, perceptual=1.0):
    """{"l1"} and with a LPIPS {"lpips"}, times its weight, of reconstructions of x; both (B, 3, H, W) -> (B,)."""
    losses = {"l1": mean_per_sample(jt.abs(x - found))}
    return {**losses, "lpips": perceptual * lpips.distance(found, x)} if lpips else losses


def total(losses):
    """{name: (B,)} with their sum as "loss"."""
    return {"loss": sum(losses.values()), **losses}


def init_codebook(latents, codes, rng):
    """A codebook for the latents seen so far: latents (N, D) -> (codes, D) float32, drawn from them with a
    little noise so that no two are equal. Codes drawn at random before training collapse to a few that are
    used."""
    chosen = latents[rng.integers(len(latents), size=codes)]
    return (chosen + 0.01 * latents.std(0) * rng.standard_normal(chosen.shape)).astype(np.float32)
