"""Counts the arithmetic of a GAN's convolutions and linear layers as they are called: 2 per multiply-add.
Nothing is computed: Jittor knows all sizes before."""
import contextlib
import math

import numpy as np

import baselines.routing
import baselines.scgan
import baselines.sean
import baselines.spectral_norm
import models.layers
from baselines.semantics import Semantics
from models.layers import Linear
from runtime.backend import jt

CALLERS = baselines.routing, baselines.scgan, baselines.sean, baselines.spectral_norm, models.layers


@contextlib.contextmanager
def counting():
    """Within the block, convolutions and linear layers add to the yielded list of FLOPs."""
    found, kept, linear = [], [module.conv2d for module in CALLERS], Linear.execute

    def count_conv(x, weight, *args, **options):
        y = kept[0](x, weight, *args, **options)
        found.append(2 * math.prod(y.shape) * math.prod(weight.shape[1:]))
        return y

    def count_linear(self, x):
        found.append(2 * x.shape[0] * math.prod(self.weight.shape))
        return linear(self, x)

    for module in CALLERS:
        module.conv2d = count_conv
    Linear.execute = count_linear
    try:
        yield found
    finally:
        for module, conv2d in zip(CALLERS, kept):
            module.conv2d = conv2d
        Linear.execute = linear


def generator_flops(generator, size):
    """FLOPs of one image (H, W) of a generator, its encoder left out."""
    config = generator.config
    labels, zeros = np.zeros((1, *size), dtype=np.int32), lambda *shape: np.zeros(shape, dtype=np.float32)
    semantics = Semantics(labels, config.classes, zeros(1, *size) if config.edges else None,
                          zeros(1, 2, *size) if config.distance else None)
    style = None
    if config.family == "sean":
        style = jt.zeros((1, config.classes, 512))
    elif config.vae:
        style = jt.zeros((1, config.z_dim))
    with jt.no_grad(), counting() as found:
        generator(semantics, style)
    return sum(found)
