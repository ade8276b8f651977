"""What a latent looks like, without the decoder: a linear map from latents to small RGB images, found by least squares.

The autoencoder is far from linear, but the mean colour of what a latent pixel decodes to is nearly linear in it and, where
it has few channels, its eight neighbours. The map is fitted once, on pictures of all kinds of light.
"""
import numpy as np

FEW = 4                               # channels of a latent for which its neighbours are looked at

class LatentColours:
    """A map z (B, C, h, w) -> uint8 (B, h, w, 3). weights: (9 C + 1 or C + 1, 3), the last row added to all; low, high:
    (C,), the range of the latents it was fitted to; r2: how much of the colours' variance it explains there."""

    def __init__(self, weights, low, high, r2):
        self.weights, self.low, self.high, self.r2 = np.asarray(weights, np.float32), low, high, r2

    def __call__(self, z):
        z = np.asarray(z, np.float32).transpose(0, 2, 3, 1)
        # Kept in the range of real latents, as the decoder's codebook would: early estimates lie far outside.
        rgb = neighbours(np.clip(np.where(np.isnan(z), 0, z), self.low, self.high)) @ self.weights[:-1] + self.weights[-1]
        return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def neighbours(z):
    """z (B, h, w, C) -> (B, h, w, 9 C): every pixel with those around it; at the border the border again. Many channels say
    enough by themselves, and stay as they are."""
    b, h, w, channels = z.shape
    if channels > FEW:
        return z
    z = np.pad(z, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return np.concatenate([z[:, i:i + h, j:j + w] for i in range(3) for j in range(3)], axis=-1)


def fit(latents, images):
    """The LatentColours of least squares. latents: (N, C, h, w); images: uint8 (N, H, W, 3), H and W multiples of h and w."""
    latents, images = np.asarray(latents, np.float64).transpose(0, 2, 3, 1), np.asarray(images, np.float64)
    n, h, w, channels = latents.shape
    means = images.reshape(n, h, images.shape[1] // h, w, images.shape[2] // w, 3).mean((2, 4)).reshape(-1, 3)
    inputs = np.concatenate([neighbours(latents).reshape(n * h * w, -1), np.ones((n * h * w, 1))], axis=1)
    weights = np.linalg.lstsq(inputs, means, rcond=None)[0]
    left = ((means - inputs @ weights) ** 2).sum() / ((means - means.mean(0)) ** 2).sum()
    low, high = np.quantile(latents.reshape(-1, channels), (0.002, 0.998), axis=0).astype(np.float32)
    return LatentColours(weights, low, high, float(1 - left))
