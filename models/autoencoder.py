"""The VQGAN autoencoder of latent diffusion (Esser et al. 2021; Rombach et al. 2022, "vq-f4").

At the published size 55,322,782 parameters in 205 tensors, named as in taming-transformers. An image of 512x384 becomes a
latent of 3 x 96 x 128. `encode` does not quantise and there is no latent scale; `decode` quantises.
"""
import numpy as np

from models.blocks import same, up
from models.kernels.attention import attention
from models.kernels.conv import conv2d
from models.kernels.nearest_code import nearest_code
from models.layers import GROUPS, Conv, GroupNorm, Slots, initialise, parameters_of
from runtime.backend import jt, nn

EPS = 1e-6  # of this network's group normalisations
GREY = np.full((3, 3), 1 / 3)                       # the projection of RGB on brightness
COLOUR_WEIGHT = GREY + 4 * (np.eye(3) - GREY)       # colour differences, four times as strong


class ResnetBlock(nn.Module):
    """norm, SiLU, conv, twice, added to the input."""

    def __init__(self, inputs, outputs, groups=GROUPS):
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(inputs, EPS, groups), Conv(inputs, outputs)
        self.norm2, self.conv2 = GroupNorm(outputs, EPS, groups), Conv(outputs, outputs)
        self.nin_shortcut = Conv(inputs, outputs, 1) if inputs != outputs else same

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H, W)."""
        return self.nin_shortcut(x) + self.conv2(self.norm2(self.conv1(self.norm1(x))))


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions: 12,288 of them for a 512x384 image."""

    def __init__(self, channels, groups=GROUPS):
        super().__init__()
        self.norm = GroupNorm(channels, EPS, groups)
        self.q, self.k, self.v = (Conv(channels, channels, 1) for _ in range(3))
        self.proj_out = Conv(channels, channels, 1)

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, H, W)."""
        b, c, height, width = x.shape
        weight = jt.concat([self.q.weight, self.k.weight, self.v.weight], dim=0)
        bias = jt.concat([self.q.bias, self.k.bias, self.v.bias], dim=0)
        qkv = conv2d(self.norm(x, act=False), weight, bias).reshape(b, 3 * c, height * width)
        return x + self.proj_out(attention(qkv, 1).reshape(b, c, height, width))


class Downsample(nn.Module):
    """Halves the size: one pixel of zeros on the right and below, then a convolution with stride 2."""

    def __init__(self, channels):
        super().__init__()
        self.conv = Conv(channels, channels, 3, stride=2, padding=0)

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, H/2, W/2)."""
        return self.conv(nn.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the size: nearest neighbour, then a convolution."""

    def __init__(self, channels):
        super().__init__()
        self.conv = Conv(channels, channels)

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, 2H, 2W)."""
        return self.conv(up(x))


class Level(nn.Module):
    """One level of the encoder or the decoder: blocks, then the change of size, if any."""

    def __init__(self, inputs, outputs, blocks, groups, downsample=False, upsample=False):
        super().__init__()
        self.block = Slots({i: ResnetBlock(outputs if i else inputs, outputs, groups) for i in range(blocks)})
        if downsample:
            self.downsample = Downsample(outputs)
        if upsample:
            self.upsample = Upsample(outputs)
        self._resample = self.downsample if downsample else self.upsample if upsample else same

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H', W')."""
        for block in self.block:
            x = block(x)
        return self._resample(x)


class Middle(nn.Module):
    """Residual block, attention, residual block at the smallest size."""

    def __init__(self, channels, groups):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, H, W)."""
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """Image (B, 3, H, W) -> (B, z, H/f, W/f)."""

    def __init__(self, channels, channel_mult, res_blocks, z_channels, groups):
        super().__init__()
        self.conv_in = Conv(3, channels)
        width, levels, last = channels, {}, len(channel_mult) - 1
        for level, mult in enumerate(channel_mult):
            levels[level] = Level(width, mult * channels, res_blocks, groups, downsample=level != last)
            width = mult * channels
        self.down = Slots(levels)
        self.mid = Middle(width, groups)
        self.norm_out, self.conv_out = GroupNorm(width, EPS, groups), Conv(width, z_channels)

    def execute(self, x):
        """x (B, 3, H, W) -> (B, z, H/f, W/f)."""
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(self.norm_out(self.mid(h)))


class Decoder(nn.Module):
    """(B, z, H/f, W/f) -> image (B, 3, H, W)."""

    def __init__(self, channels, channel_mult, res_blocks, z_channels, groups):
        super().__init__()
        width, levels = channel_mult[-1] * channels, {}
        self.conv_in = Conv(z_channels, width)
        self.mid = Middle(width, groups)
        for level, mult in reversed(list(enumerate(channel_mult))):
            levels[level] = Level(width, mult * channels, res_blocks + 1, groups, upsample=level != 0)
            width = mult * channels
        self.up = Slots(levels)  # the coarsest first, numbered by level
        self.norm_out, self.conv_out = GroupNorm(width, EPS, groups), Conv(width, 3)

    def execute(self, z):
        """z (B, z, H/f, W/f) -> (B, 3, H, W)."""
        h = self.mid(self.conv_in(z))
        for level in self.up:
            h = level(h)
        return self.conv_out(self.norm_out(h))


class Codebook(nn.Module):
    """Vector quantisation: every latent vector to its nearest code."""

    def __init__(self, codes, width):
        super().__init__()
        self.embedding = Table(codes, width)

    def execute(self, z):
        """z (B, D, h, w) -> quantised like z, index (B, h, w)."""
        b, d, h, w = z.shape
        index = nearest_code(z.transpose(0, 2, 3, 1).reshape(-1, d), self.embedding.weight)
        quantised = self.embedding.weight[index].reshape(b, h, w, d).transpose(0, 3, 1, 2)
        return quantised, index.reshape(b, h, w)


class Table(nn.Module):
    """A (codes, width) table of vectors."""

    def __init__(self, codes, width):
        super().__init__()
        self.weight = jt.zeros((codes, width))

    def execute(self, index):
        """index (...,) -> (..., width)."""
        return self.weight[index]


class VQAutoencoder(nn.Module):
    """Encoder E and decoder D of the paper, with a codebook before D."""

    def __init__(self, config):
        super().__init__()
        sizes = config.channels, config.channel_mult, config.res_blocks, config.z_channels, config.groups
        self.encoder, self.decoder = Encoder(*sizes), Decoder(*sizes)
        self.quantize = Codebook(config.codes, config.embed_dim)
        self.quant_conv = Conv(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = Conv(config.embed_dim, config.z_channels, 1)

    def encode(self, x):
        """x (B, 3, H, W) in [-1, 1] -> z (B, D, H/f, W/f), not quantised."""
        return self.quant_conv(self.encoder(x))

    def decode(self, z, quantise=True):
        """z (B, D, h, w) -> x (B, 3, H, W), about [-1, 1]; through the codebook unless told otherwise."""
        return self.decoder(self.post_quant_conv(self.quantize(z)[0] if quantise else z))

    def execute(self, x, quantise=True):
        """x (B, 3, H, W) -> reconstruction, z, quantised z. The decoder's gradient passes the quantiser straight through."""
        z = self.encode(x)
        quantised = self.quantize(z)[0]
        straight = z + (quantised - z).detach() if quantise else z
        return self.decoder(self.post_quant_conv(straight)), z, quantised


def build_autoencoder(config, seed=None):
    """The autoencoder of an AutoencoderConfig. With a seed its weights are drawn, and every residual branch ends in zeros,
    which learns faster at first; the first convolution sees colours as strongly as brightness, which in photos varies far
    more and else is all that is learnt for long. Without a seed they are to be loaded."""
    model = VQAutoencoder(config)
    if seed is not None:
        owners = {name.rpartition(".")[0] for name in parameters_of(model)}
        initialise(model, seed, zero=[name for name in owners if name.endswith((".conv2", ".proj_out"))])
        first = model.encoder.conv_in.weight
        first.update(jt.array(np.einsum("oikl,ij->ojkl", first.numpy(), COLOUR_WEIGHT).astype(np.float32)))
    return model


def standardise(model, mean, deviation):
    """Rewrites the weights so that latents become (z - mean) / deviation and reconstructions stay as they are.

    The noise schedule assumes latents of deviation 1; the published one is near it, one of one's own may be anywhere. The
    change is folded into quant_conv, the codebook and post_quant_conv, so that no scale has to be carried along.
    mean (D,), deviation a float.
    """
    mean = np.asarray(mean, dtype=np.float64)
    values = {name: var.numpy().astype(np.float64) for name, var in parameters_of(model).items() if "quant" in name}
    weight = values["post_quant_conv.weight"]
    changed = {
        "quant_conv.weight": values["quant_conv.weight"] / deviation,
        "quant_conv.bias": (values["quant_conv.bias"] - mean) / deviation,
        "quantize.embedding.weight": (values["quantize.embedding.weight"] - mean) / deviation,
        "post_quant_conv.weight": weight * deviation,
        "post_quant_conv.bias": values["post_quant_conv.bias"] + weight[:, :, 0, 0] @ mean,
    }
    for name, var in parameters_of(model).items():
        if name in changed:
            var.update(jt.array(changed[name].astype(np.float32)))
