"""Loss of the VQ autoencoder (van den Oord et al. 2017, Eq. 3): L1 reconstruction, codebook, commitment."""
import numpy as np

from ldm.losses import mean_per_sample
from runtime.backend import jt

COMMITMENT = 0.25  # beta of Eq. (3)


def reconstruction_loss(model, x, quantise=True):
    """x (B, 3, H, W) in [-1, 1] -> {"loss", "l1", "codebook"}, each (B,). Without `quantise` the decoder is
    given the latent itself and only the codes are drawn to the latents, not the latents to the codes: the
    first steps shape the latent."""
    found, z, quantised = model(x, quantise=quantise)
    l1 = mean_per_sample(jt.abs(x - found))
    codebook = mean_per_sample((quantised - z.detach()) ** 2)
    if quantise:
        codebook = codebook + COMMITMENT * mean_per_sample((quantised.detach() - z) ** 2)
    return {"loss": l1 + codebook, "l1": l1, "codebook": codebook}


def init_codebook(latents, codes, rng):
    """A codebook for the latents seen so far: latents (N, D) -> (codes, D) float32, drawn from them with a
    little noise so that no two are equal. Codes drawn at random before training collapse to a few that are
    used."""
    chosen = latents[rng.integers(len(latents), size=codes)]
    return (chosen + 0.01 * latents.std(0) * rng.standard_normal(chosen.shape)).astype(np.float32)
