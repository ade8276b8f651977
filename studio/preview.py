"""What a latent looks like, without the decoder: a linear map from latents to small RGB images, found by least squares.

The autoencoder is far from linear, but the mean colour of what a latent pixel decodes to is nearly so. It is fitted once, on
pictures of all kinds of light, and costs a matrix product of a few numbers a pixel at every step.
"""
import numpy as np


class LatentColours:
    """A map z (B, C, h, w) -> uint8 (B, h, w, 3). weights: (C + 1, 3), the last row added to all; low, high: (C,), the range of
    the latents it was fitted to; r2: how much of the colours' variance it explains there."""

    def __init__(self, weights, low, high, r2):
        self.weights, self.low, self.high, self.r2 = np.asarray(weights, np.float32), low, high, r2

    def __call__(self, z):
        z = np.asarray(z, np.float32).transpose(0, 2, 3, 1)
        # Kept in the range of real latents, as the decoder's codebook would: early estimates lie far outside.
        rgb = np.clip(np.where(np.isnan(z), 0, z), self.low, self.high) @ self.weights[:-1] + self.weights[-1]
        return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def fit(latents, images):
    """The LatentColours of least squares. latents: (N, C, h, w); images: uint8 (N, H, W, 3), H and W multiples of h and w."""
    latents, images = np.asarray(latents, np.float64), np.asarray(images, np.float64)
    n, channels, h, w = latents.shape
    means = images.reshape(n, h, images.shape[1] // h, w, images.shape[2] // w, 3).mean((2, 4)).reshape(-1, 3)
    inputs = np.concatenate([latents.transpose(0, 2, 3, 1).reshape(-1, channels), np.ones((n * h * w, 1))], axis=1)
    weights = np.linalg.lstsq(inputs, means, rcond=None)[0]
    left = ((means - inputs @ weights) ** 2).sum() / ((means - means.mean(0)) ** 2).sum()
    low, high = np.quantile(inputs[:, :-1], (0.002, 0.998), axis=0).astype(np.float32)
    return LatentColours(weights, low, high, float(1 - left))
