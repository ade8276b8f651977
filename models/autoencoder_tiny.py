"""The tiny autoencoders (Bohan, TAESD and its successors): 64 channels, factor 8, for latents of 4 to 32 channels.

Made to imitate the autoencoders of large latent diffusion models at a hundredth of the cost. Tensors are named as in the
author's files, whose layers are numbered, with `encoder.` and `decoder.` before the numbers.
"""
from models.layers import Conv, GroupNorm, NumberedModules, down, up
from runtime.backend import jt, nn

PATH_GROUPS = 4  # of the normalisation in a block's global path


class Block(nn.Module):
    """Three convolutions added to the input; with `path`, before them, a layer that is normalised over the whole image."""

    def __init__(self, channels, path):
        super().__init__()
        self.conv = NumberedModules({i: Conv(channels, channels) for i in (0, 2, 4)})
        if path:
            self.pool = NumberedModules({0: Conv(channels, 4 * channels, 1, bias=False),
                               1: GroupNorm(4 * channels, groups=PATH_GROUPS),
                               3: Conv(4 * channels, channels, 1, bias=False)})
        self._path = path

    def execute(self, x):
        """x (B, C, H, W) -> like x."""
        if self._path:
            x = x + self.pool[3](nn.relu(self.pool[1](self.pool[0](x), act=False)))
        h = nn.relu(self.conv[0](x))
        return nn.relu(self.conv[4](nn.relu(self.conv[2](h))) + x)


class Half(NumberedModules):
    """Encoder or decoder: numbered layers, run in order, with `up` where the size doubles."""

    def __init__(self, layers):
        super().__init__({number: layer for number, layer in layers.items() if isinstance(layer, nn.Module)})
        self._run = list(layers.values())

    @property
    def layers(self):
        """All that is run, in order."""
        return self._run

    def execute(self, x):
        """x (B, C, H, W) -> (B, C', H', W')."""
        for layer in self._run:
            x = layer(x)
        return x


class Upsampler(nn.Module):
    """An image of twice the size: the small one enlarged, and details that three convolutions find in what it was made of."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.conv_in, self.conv, self.conv_out = Conv(channels, hidden), Conv(hidden, hidden), Conv(hidden, 12)

    def execute(self, x, h):
        """x (B, 3, H, W), h (B, C, H, W), the features that x was made of -> (B, 3, 2H, 2W)."""
        b, _, height, width = x.shape
        h = nn.relu(self.conv_in(h))
        details = self.conv_out(nn.relu(self.conv(h)) + h)                               # (B, 3 x 2 x 2, H, W)
        # Pixel (2 y + i, 2 x + j) of colour c is detail (c, i, j) of (y, x).
        return up(x) + details.reindex([b, 3, 2 * height, 2 * width], ["i0", "i1*4+i2%2*2+i3%2", "i2/2", "i3/2"])


class TinyAutoencoder(nn.Module):
    """encode and decode of images in [-1, 1]; the numbered halves work with [0, 1]."""

    def __init__(self, config):
        super().__init__()
        c, levels, blocks = config.channels, len(config.channel_mult), config.res_blocks
        coarse = lambda level: config.global_path and level == levels - 1

        layers = [Conv(3, c), Block(c, False)]
        for level in range(1, levels):
            layers += [Conv(c, c, stride=2, bias=False), *(Block(c, coarse(level)) for _ in range(blocks))]
        self.encoder = Half(dict(enumerate([*layers, Conv(c, config.embed_dim)])))

        layers = [soft_clamp, Conv(config.embed_dim, c), nn.relu]
        for level in reversed(range(1, levels)):
            layers += [*(Block(c, coarse(level)) for _ in range(blocks)), up, Conv(c, c, bias=False)]
        self.decoder = Half(dict(enumerate([*layers, Block(c, False), Conv(c, 3)])))
        self.upsampler = Upsampler(c, config.upsampler) if config.upsampler else None

    def encode(self, x):
        """x (B, 3, H, W) in [-1, 1] -> z (B, D, H/f, W/f)."""
        return self.encoder((x if self.upsampler is None else down(x)) * 0.5 + 0.5)

    def decode(self, z, quantise=True):
        """z (B, D, h, w) -> x (B, 3, H, W), about [-1, 1]. There is no codebook: `quantise` changes nothing."""
        return self.enlarge(*self.features(z))

    def features(self, z):
        """z (B, D, h, w) -> the last layer's input (B, C, H, W) and its output, an image (B, 3, H, W) in [0, 1]."""
        *layers, last = self.decoder.layers
        for layer in layers:
            z = layer(z)
        return z, last(z)

    def enlarge(self, h, x):
        """The features and their image -> an image about [-1, 1], twice as large where there is an upsampler."""
        return (x if self.upsampler is None else self.upsampler(x, h)) * 2 - 1

    def execute(self, x):
        """x (B, 3, H, W) -> its reconstruction."""
        return self.decode(self.encode(x))


def soft_clamp(z):
    """Values far from zero approach -3 and 3."""
    return jt.tanh(z / 3) * 3
