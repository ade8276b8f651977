"""The VQGAN autoencoder of models/autoencoder.py in PyTorch, as its user would write it: the peer in benchmarks/torch_twin.py.

Same tensors under the same names, attention by scaled_dot_product_attention. This file needs PyTorch and nothing of this
project.
"""
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_unet import conv, slots

EPS = 1e-6


class Block(nn.Module):
    """norm, SiLU, conv, twice, added to the input."""

    def __init__(self, inputs, outputs, groups):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, inputs, EPS), conv(inputs, outputs)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outputs, EPS), conv(outputs, outputs)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H, W)."""
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attention(nn.Module):
    """Single-head self-attention over all positions."""

    def __init__(self, channels, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, EPS)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        """x (B, C, H, W) -> like x."""
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2).unsqueeze(1) for layer in (self.q, self.k, self.v))    # (B, 1, H W, C)
        out = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(out)


class Down(nn.Module):
    """Halves the size: one pixel of zeros on the right and below, then a convolution with stride 2."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x):
        """x (B, C, H, W) -> (B, C, H/2, W/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    """Doubles the size: nearest neighbour, then a convolution."""

    def __init__(self, channels):
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x):
        """x (B, C, H, W) -> (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Level(nn.Module):
    """Blocks, then the change of size."""

    def __init__(self, inputs, outputs, blocks, groups, resample=None):
        super().__init__()
        self.block = slots({i: Block(outputs if i else inputs, outputs, groups) for i in range(blocks)})
        self.attn = nn.ModuleDict()
        if resample:
            self.add_module({Down: "downsample", Up: "upsample"}[resample], resample(outputs))
        self.resample = [name for name in ("downsample", "upsample") if hasattr(self, name)]

    def forward(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H', W')."""
        for block in self.block.values():
            x = block(x)
        return getattr(self, self.resample[0])(x) if self.resample else x


class Half(nn.Module):
    """Encoder (`down`) or decoder."""

    def __init__(self, down, channels, channel_mult, res_blocks, ends, groups):
        super().__init__()
        self.downwards, last = down, len(channel_mult) - 1
        widest = channel_mult[-1] * channels
        width = channels if down else widest
        self.conv_in = conv(3 if down else ends, width)
        levels = {}
        for level in range(last + 1) if down else range(last, -1, -1):
            resample = (Down if level != last else None) if down else (Up if level else None)
            levels[level] = Level(width, channel_mult[level] * channels, res_blocks + (not down), groups, resample)
            width = channel_mult[level] * channels
        self.add_module("down" if down else "up", slots(levels))
        self.mid = nn.ModuleDict({"block_1": Block(widest, widest, groups), "attn_1": Attention(widest, groups),
                                  "block_2": Block(widest, widest, groups)})
        self.norm_out, self.conv_out = nn.GroupNorm(groups, width, EPS), conv(width, ends if down else 3)

    def forward(self, x):
        """Encoder: x (B, 3, H, W) -> (B, ends, h, w); decoder: back."""
        parts = [*(self.down if self.downwards else self.up).values()]
        middle = [*self.mid.values()]
        h = self.conv_in(x)
        for part in parts + middle if self.downwards else middle + parts:
            h = part(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Autoencoder(nn.Module):
    """Encoder and decoder with a codebook between them, no attention in the levels."""

    def __init__(self, channels, channel_mult, res_blocks, z_channels, embed_dim, codes, groups, **_):
        super().__init__()
        self.encoder = Half(True, channels, channel_mult, res_blocks, z_channels, groups)
        self.decoder = Half(False, channels, channel_mult, res_blocks, z_channels, groups)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(codes, embed_dim)})
        self.quant_conv, self.post_quant_conv = nn.Conv2d(z_channels, embed_dim, 1), nn.Conv2d(embed_dim, z_channels, 1)

    def encode(self, x):
        """x (B, 3, H, W) -> z (B, D, h, w), not quantised."""
        return self.quant_conv(self.encoder(x))

    def decode(self, z):
        """z (B, D, h, w), to its nearest codes -> x (B, 3, H, W)."""
        b, d, h, w = z.shape
        codes = self.quantize["embedding"].weight.float()
        flat = z.float().permute(0, 2, 3, 1).reshape(-1, d)
        index = torch.cat([torch.cdist(part, codes, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
                           for part in flat.split(4096)])
        quantised = codes[index].reshape(b, h, w, d).permute(0, 3, 1, 2)
        return self.decoder(self.post_quant_conv(quantised.to(self.post_quant_conv.weight.dtype)))
