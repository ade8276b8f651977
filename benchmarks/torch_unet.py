"""The U-Net of models/unet.py in PyTorch, as its user would write it: the peer in benchmarks/torch_twin.py.

Same tensors under the same names. Written for speed: one-hot masks are made once per size, attention is
scaled_dot_product_attention on views of one product (no copies where memory is channels_last), nothing stops torch.compile.
This file needs PyTorch and nothing of this project.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


def slots(children):
    """Children under the numbers that published checkpoints give them."""
    return nn.ModuleDict({str(number): child for number, child in children.items()})


def conv(inputs, outputs):
    """A 3 x 3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def same(x):
    """No resampling."""
    return x


def down(x):
    """2 x 2 mean, (B, C, H, W) -> (B, C, H/2, W/2)."""
    return F.avg_pool2d(x, 2)


def up(x):
    """Nearest neighbour, (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class SPADE(nn.Module):
    """Group normalisation modulated by convolutions of the mask."""

    def __init__(self, channels, classes, hidden, groups):
        super().__init__()
        self.groups = groups
        self.mlp_shared = slots({0: conv(classes, hidden)})
        self.mlp_gamma = conv(hidden, channels)
        self.mlp_beta = conv(hidden, channels)

    def forward(self, x, masks):
        """x (B, C, H, W), masks: {H: one-hot (B, K, H, W)} -> like x."""
        a = F.relu(self.mlp_shared["0"](masks[x.shape[2]]))
        return F.group_norm(x, self.groups, eps=1e-5) * (1 + self.mlp_gamma(a)) + self.mlp_beta(a)


class ResBlock(nn.Module):
    """Residual block; with `classes` both norms are SPADE's and in_layers, out_layers are numbered as SDM numbers them."""

    def __init__(self, inputs, outputs, emb, groups, resample=same, classes=None, hidden=None):
        super().__init__()
        self.resample, self.masked = resample, classes is not None
        if self.masked:
            self.in_norm, self.out_norm = (SPADE(n, classes, hidden, groups) for n in (inputs, outputs))
            self.in_layers, self.out_layers = slots({1: conv(inputs, outputs)}), slots({2: conv(outputs, outputs)})
        else:
            self.in_layers = slots({0: nn.GroupNorm(groups, inputs), 2: conv(inputs, outputs)})
            self.out_layers = slots({0: nn.GroupNorm(groups, outputs), 3: conv(outputs, outputs)})
        self.emb_layers = slots({1: nn.Linear(emb, 2 * outputs)})
        self.skip_connection = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, emb, masks):
        """x (B, Cin, H, W), emb (1 or B, D) after SiLU -> (B, Cout, H', W')."""
        scale, shift = self.emb_layers["1"](emb)[:, :, None, None].chunk(2, dim=1)
        h = self.in_norm(x, masks) if self.masked else self.in_layers["0"](x)
        h = self.in_layers["1" if self.masked else "2"](self.resample(F.silu(h)))
        h = self.out_norm(h, masks) if self.masked else self.out_layers["0"](h)
        h = self.out_layers["2" if self.masked else "3"](F.silu(h * (1 + scale) + shift))
        return self.skip_connection(self.resample(x)) + h


class Attention(nn.Module):
    """Self-attention over all positions, added to its input."""

    def __init__(self, channels, head_channels, groups):
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        """x (B, C, H, W) -> (B, C, H, W)."""
        b, c, height, width = x.shape
        h = self.norm(x).flatten(2).transpose(1, 2)                                     # (B, L, C), a view
        h = F.linear(h, self.qkv.weight[:, :, 0], self.qkv.bias)
        q, k, v = h.view(b, -1, self.heads, 3, c // self.heads).permute(3, 0, 2, 1, 4)  # head by head q, k, v: (B, n, L, D)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, -1, c)
        h = F.linear(h, self.proj_out.weight[:, :, 0], self.proj_out.bias)
        return x + h.transpose(1, 2).view(b, c, height, width)


class UNet(nn.Module):
    """model(z, t, labels) -> eps and, with learn_sigma, the variance's interpolation. Arguments: configs' UNetConfig."""

    def __init__(self, channels, channel_mult, res_blocks, attention_factors, head_channels, classes, spade_channels,
                 latent_channels, groups, learn_sigma):
        super().__init__()
        self.channels, self.classes, self.factors = channels, classes, [2 ** level for level in range(len(channel_mult))]
        emb, last = 4 * channels, len(channel_mult) - 1
        plain = lambda inputs, outputs, resample=same: ResBlock(inputs, outputs, emb, groups, resample)
        masked = lambda inputs, outputs, resample=same: ResBlock(
            inputs, outputs, emb, groups, resample, classes, spade_channels)
        attention = lambda width: Attention(width, head_channels, groups)

        self.time_embed = slots({0: nn.Linear(channels, emb), 2: nn.Linear(emb, emb)})
        blocks, width, widths = [[conv(latent_channels, channels)]], channels, [channels]
        for level, mult in enumerate(channel_mult):
            for _ in range(res_blocks):
                blocks.append([plain(width, mult * channels)])
                width = mult * channels
                if 2 ** level in attention_factors:
                    blocks[-1].append(attention(width))
                widths.append(width)
            if level != last:
                blocks.append([plain(width, width, down)])
                widths.append(width)
        self.input_blocks = nn.ModuleList(map(nn.ModuleList, blocks))
        self.middle_block = nn.ModuleList([masked(width, width), attention(width), masked(width, width)])
        blocks = []
        for level in range(last, -1, -1):
            for i in range(res_blocks + 1):
                blocks.append([masked(width + widths.pop(), channel_mult[level] * channels)])
                width = channel_mult[level] * channels
                if 2 ** level in attention_factors:
                    blocks[-1].append(attention(width))
                if level and i == res_blocks:
                    blocks[-1].append(masked(width, width, up))
        self.output_blocks = nn.ModuleList(map(nn.ModuleList, blocks))
        self.out = slots({0: nn.GroupNorm(groups, width), 2: conv(width, latent_channels * (2 if learn_sigma else 1))})

    def forward(self, z, t, labels):
        """z (B, C, H, W), t (1 or B,) on the scale 0..999, labels (B, H, W) int64, -1 = no mask -> (B, C or 2C, H, W)."""
        emb = self.time_embed["0"](timestep_embedding(t, self.channels))
        emb = F.silu(self.time_embed["2"](F.silu(emb)))
        masks, h, skips = self.masks(labels, z), z, []
        for block in self.input_blocks:
            h = self.run(block, h, emb, masks)
            skips.append(h)
        h = self.run(self.middle_block, h, emb, masks)
        for block in self.output_blocks:
            h = self.run(block, torch.cat([h, skips.pop()], dim=1), emb, masks)
        return self.out["2"](F.silu(self.out["0"](h)))

    def masks(self, labels, z):
        """{height: one-hot (B, K, height, W) in z's memory format} of every size the network works at."""
        ids = torch.arange(self.classes, device=labels.device)
        layout = torch.channels_last if z.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        parts = [labels[:, ::factor, ::factor] for factor in self.factors]
        return {part.shape[1]: (part[:, None] == ids[:, None, None]).to(z.dtype, memory_format=layout) for part in parts}

    @staticmethod
    def run(block, h, emb, masks):
        """The layers of one numbered block in order."""
        for layer in block:
            h = layer(h, emb, masks) if isinstance(layer, ResBlock) else layer(h)
        return h


def timestep_embedding(t, width):
    """t (R,) -> (R, width) float32, [cos | sin]; the angles in float64."""
    half = width // 2
    frequency = torch.exp(-math.log(10000) / half * torch.arange(half, dtype=torch.float64, device=t.device))
    angle = t.double()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1).float()
