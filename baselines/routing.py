"""SCGAN's routing network (Wang et al. 2021, "Image Synthesis via Semantic Composition"): from the mask
alone, at every size, how much each of a layer's experts counts at each pixel."""
import numpy as np

from baselines.layers import hardtanh, leaky
from baselines.spectral_norm import SpectralConv
from models.kernels.conv import conv2d
from models.layers import Conv, NumberedModules, down, up
from runtime.backend import jt, nn


class RoutingNetwork(nn.Module):
    """Mask -> logits of the experts at every level, from the smallest, and a side image."""

    def __init__(self, config):
        super().__init__()
        self._config, self._levels = config, config.doublings + 1
        r, seg = config.routing_channels, config.mask_channels
        conv = SpectralConv if config.spectral_routing else Conv
        widths = [16 * r, 8 * r, 4 * r, 2 * r] + [r] * (self._levels - 4)
        self.labelDec1 = NumberedModules({0: conv(seg, widths[0]), 2: conv(widths[0], widths[0])})
        for i in range(1, self._levels):
            convs = {1: conv(widths[i - 1] + seg, widths[i]), 3: conv(widths[i], widths[i])}
            setattr(self, f"labelDec{i + 1}", NumberedModules(convs))
        self.toRGB = NumberedModules({0: Conv(r, r // 2), 2: Conv(r // 2, 3)})

    def execute(self, seg):
        """seg (B, L, H, W) -> [(logits of convolutions (B, K, h, w), logits of affine rows (B, n, h, w))]
        from the smallest level, side image (B, 3, H, W) in [-1, 1]."""
        config, masks = self._config, pyramid(seg, self._levels, self._config)
        x = self.labelDec1[2](leaky(self.labelDec1[0](masks[0])))
        maps = [x]
        for i in range(1, self._levels):
            layer = getattr(self, f"labelDec{i + 1}")
            x = jt.concat([up(x), masks[i]], dim=1)
            x = layer[3](leaky(layer[1](leaky(x))))
            maps.append(x)
        image = hardtanh(self.toRGB[2](leaky(self.toRGB[0](x))))
        return [(pooled(x, config.conv_experts), pooled(x, config.norm_experts)) for x in maps], image


def pyramid(seg, levels, config):
    """seg (B, L, H, W) -> the mask at each level, from the smallest; with `position`, the largest of them
    weighted by a Gaussian, each made of the weighted one above it, and the top one last."""
    masks = [seg]
    for j in range(1, levels):
        if not config.position:
            masks.insert(0, down(masks[0]))
            continue
        smaller = masks[0][:, :, ::2, ::2]
        masks.insert(0, positioned(smaller, config) if j + 1 < config.position else smaller)
    if config.position:
        masks[-1] = positioned(seg, config)
    return masks


def positioned(seg, config):
    """seg (B, L, h, w) times its blur: the deeper inside its region, the larger. The Gaussian is not
    normalised, so values grow."""
    size, batch, channels = config.gaussian_size, seg.shape[0], seg.shape[1]
    squares = (np.arange(size) - size // 2) ** 2
    kernel = np.exp(-(squares[:, None] + squares) / (2 * config.gaussian_sigma ** 2)).astype(np.float32)
    kernel, none = jt.array(kernel).reshape(1, 1, size, size), jt.zeros((1,))
    for _ in range(config.gaussian_steps):
        planes = seg.reshape(batch * channels, 1, *seg.shape[2:])
        blurred = conv2d(planes, kernel, none, 1, size // 2).reshape(seg.shape) * seg
        seg = blurred / (seg + 1e-8) if config.gaussian_relative else blurred
    return seg


def pooled(x, experts):
    """x (B, C, h, w) -> (B, K, h, w): means over K windows of channels, which overlap where K does not divide
    C."""
    channels = x.shape[1]
    windows = np.zeros((experts, channels, 1, 1), dtype=np.float32)
    for j in range(experts):
        low, high = j * channels // experts, -(-(j + 1) * channels // experts)
        windows[j, low:high] = 1 / (high - low)
    return conv2d(x, jt.array(windows), jt.zeros((experts,)))


def weights(logits, config):
    """Logits (B, K, h, w) -> what the experts are multiplied by."""
    scaled = config.temperature * logits
    if config.weighting == "softmax":
        e = jt.exp(scaled - scaled.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)
    return {"sigmoid": jt.sigmoid, "hardtanh": hardtanh, "identity": lambda x: x}[config.weighting](scaled)
