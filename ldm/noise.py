"""Gaussian noise that belongs to an image, and the forward process that adds it, Eqs. (1) and (2)."""
import hashlib
import json

import numpy as np

from runtime.backend import jt


def generator(seed, name, round_, *extra):
    """The NumPy generator of one image in one round: the same for the same key, on every machine and in any order.

    Hashing the key, rather than counting images, is what makes a picture independent of the others in its batch.
    """
    key = json.dumps([seed, name, round_, *extra], default=int)
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest(), "little")))


def normal(seed, names, round_, shape, *extra):
    """N(0, I) for a batch, every image's from its own generator. -> (len(names), *shape) float32 array."""
    return np.stack([generator(seed, name, round_, *extra).standard_normal(shape, dtype=np.float32) for name in names])


def q_sample(z_0, alpha_bar, eps):
    """z_t from z_0, Eq. (2); with the reference's latent as z_0 it is Eq. (1). z_0, eps: (B, C, h, w).

    alpha_bar: float, or float64 array (B,) with one level per sample.
    """
    assert tuple(z_0.shape) == tuple(eps.shape), (z_0.shape, eps.shape)
    if np.ndim(alpha_bar) == 0:
        return float(alpha_bar) ** 0.5 * z_0 + (1 - float(alpha_bar)) ** 0.5 * eps
    return per_sample(np.sqrt(alpha_bar)) * z_0 + per_sample(np.sqrt(1 - alpha_bar)) * eps


def per_sample(values):
    """A float64 array (B,) as a float32 Var (B, 1, 1, 1) that broadcasts over latents; rounded only here."""
    return jt.array(np.asarray(values, dtype=np.float32).reshape(-1, 1, 1, 1))
