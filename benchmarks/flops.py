"""Counts the arithmetic of a network's matrix products as they are called: 2 per multiply-add, by the name of the layer."""
import contextlib
import math

import models.layers
import models.spade
from models.layers import Conv, Linear


@contextlib.contextmanager
def counting(model=None):
    """Within the block, what every network's layers are called for adds to the yielded {layer name: FLOPs}; those
    of `model` have names, others are "other". Nothing else is changed."""
    names = {id(module): name for name, module in model.named_modules()} if model is not None else {}
    found = {}

    def add(name, flops):
        found[name] = found.get(name, 0) + flops

    conv, linear, attention = Conv.execute, Linear.execute, models.layers.attention

    def count_conv(self, x, residual=None):
        y = conv(self, x, residual)
        add(names.get(id(self), "other"), 2 * math.prod(y.shape) * math.prod(self.weight.shape[1:]))
        return y

    def count_linear(self, x):
        add(names.get(id(self), "other"), 2 * x.shape[0] * math.prod(self.weight.shape))
        return linear(self, x)

    def count_attention(qkv, heads, last=False):
        batch, channels, length = (qkv.shape[i] for i in ((0, 2, 1) if last else (0, 1, 2)))
        add("attention", 4 * batch * (channels // 3) * length ** 2)  # q k^T and p v
        return attention(qkv, heads, last=last)

    def count_maps(x, weight, bias, **options):
        y = conv2d(x, weight, bias, **options)
        add("mlp_gamma and mlp_beta", 2 * math.prod(y.shape) * math.prod(weight.shape[1:]))
        return y

    conv2d, models.spade.conv2d = models.spade.conv2d, count_maps
    Conv.execute, Linear.execute = count_conv, count_linear
    models.layers.attention = count_attention
    try:
        yield found
    finally:
        Conv.execute, Linear.execute, models.spade.conv2d = conv, linear, conv2d
        models.layers.attention = attention


def unet_parts(found):
    """{part: GFLOP} of a U-Net's count."""
    parts = {}
    for name, flops in found.items():
        part = ("spade" if "mlp_" in name else "attention" if name == "attention" or ".qkv" in name or ".proj_out" in name
                else "encoder" if name.startswith("input_blocks") else "decoder" if name.startswith("output_blocks")
                else "middle" if name.startswith("middle_block") else "head" if name.startswith("out") else "time")
        parts[part] = parts.get(part, 0) + flops / 1e9
    return {part: round(value, 2) for part, value in parts.items()}
