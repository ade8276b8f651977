"""Encoder and decoder of VQGAN and of latent diffusion's KL autoencoder (Esser et al. 2021; Rombach et al. 2022)."""
from models.kernels.conv import conv2d
from models.layers import GROUPS, Conv, GroupNorm, NumberedModules, Up, same, self_attention
from runtime.backend import jt, nn

EPS = 1e-6  # of these networks' group normalisations


class ResnetBlock(nn.Module):
    """norm, SiLU, conv, twice, added to the input."""

    def __init__(self, inputs, outputs, groups=GROUPS):
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(inputs, EPS, groups), Conv(inputs, outputs)
        self.norm2, self.conv2 = GroupNorm(outputs, EPS, groups), Conv(outputs, outputs)
        self.nin_shortcut = Conv(inputs, outputs, 1) if inputs != outputs else same

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H, W)."""
        return self.conv2(self.norm2(self.conv1(self.norm1(x))), residual=self.nin_shortcut(x))


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions: 12,288 of them for a 512x384 image."""
    last = False

    def __init__(self, channels, groups=GROUPS):
        super().__init__()
        self.norm = GroupNorm(channels, EPS, groups)
        self.q, self.k, self.v = (Conv(channels, channels, 1) for _ in range(3))
        self.proj_out = Conv(channels, channels, 1)

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, H, W)."""
        weight = jt.concat([layer.kernel(self.last) for layer in (self.q, self.k, self.v)], dim=0)
        bias = jt.concat([self.q.bias, self.k.bias, self.v.bias], dim=0)
        qkv = conv2d(self.norm(x, act=False), weight, bias, last=self.last)             # (B, 3C, H, W)
        return self.proj_out(self_attention(qkv, 1, self.last), residual=x)


class Downsample(nn.Module):
    """Halves the size: one pixel of zeros on the right and below, then a convolution with stride 2."""
    last = False

    def __init__(self, channels):
        super().__init__()
        self.conv = Conv(channels, channels, 3, stride=2, padding=0)

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, H/2, W/2)."""
        return self.conv(nn.pad(x, (0, 0, 0, 1, 0, 1) if self.last else (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the size: nearest neighbour, then a convolution."""

    def __init__(self, channels):
        super().__init__()
        self.up, self.conv = Up(), Conv(channels, channels)

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, 2H, 2W)."""
        return self.conv(self.up(x))


class Level(nn.Module):
    """One level of the encoder or the decoder: blocks, with or without attention behind each, then the change of size."""

    def __init__(self, inputs, outputs, blocks, groups, attend, downsample=False, upsample=False):
        super().__init__()
        self.block = NumberedModules({i: ResnetBlock(outputs if i else inputs, outputs, groups) for i in range(blocks)})
        if attend:
            self.attn = NumberedModules({i: AttnBlock(outputs, groups) for i in range(blocks)})
        self._attend = attend
        if downsample:
            self.downsample = Downsample(outputs)
        if upsample:
            self.upsample = Upsample(outputs)
        self._resample = self.downsample if downsample else self.upsample if upsample else same

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H', W')."""
        for i, block in enumerate(self.block):
            x = block(x)
            if self._attend:
                x = self.attn[i](x)
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
    """Image (B, 3, H, W) -> (B, outputs, H/f, W/f)."""

    def __init__(self, channels, channel_mult, res_blocks, attention_levels, outputs, groups):
        super().__init__()
        self.conv_in = Conv(3, channels)
        width, levels, last = channels, {}, len(channel_mult) - 1
        for level, mult in enumerate(channel_mult):
            levels[level] = Level(width, mult * channels, res_blocks, groups, level in attention_levels,
                                  downsample=level != last)
            width = mult * channels
        self.down = NumberedModules(levels)
        self.mid = Middle(width, groups)
        self.norm_out, self.conv_out = GroupNorm(width, EPS, groups), Conv(width, outputs)

    def execute(self, x):
        """x (B, 3, H, W) -> (B, outputs, H/f, W/f)."""
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(self.norm_out(self.mid(h)))


class Decoder(nn.Module):
    """(B, z, H/f, W/f) -> image (B, 3, H, W)."""

    def __init__(self, channels, channel_mult, res_blocks, attention_levels, z_channels, groups):
        super().__init__()
        width, levels = channel_mult[-1] * channels, {}
        self.conv_in = Conv(z_channels, width)
        self.mid = Middle(width, groups)
        for level, mult in reversed(list(enumerate(channel_mult))):
            levels[level] = Level(width, mult * channels, res_blocks + 1, groups, level in attention_levels,
                                  upsample=level != 0)
            width = mult * channels
        self.up = NumberedModules(levels)  # the coarsest first, numbered by level
        self.norm_out, self.conv_out = GroupNorm(width, EPS, groups), Conv(width, 3)

    def execute(self, z):
        """z (B, z, H/f, W/f) -> (B, 3, H, W)."""
        h = self.mid(self.conv_in(z))
        for level in self.up:
            h = level(h)
        return self.conv_out(self.norm_out(h))
