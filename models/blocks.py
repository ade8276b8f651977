"""The blocks of the SDM U-Net: residual block with and without SPADE, attention (Dhariwal and Nichol 2021;
Wang et al. 2022, "Semantic Image Synthesis via Diffusion Models")."""
from models.layers import GROUPS, Conv, GroupNorm, Linear, NumberedModules, Up, same, self_attention
from models.spade import SPADE
from runtime.backend import nn


class ResBlock(nn.Module):
    """Residual block of the encoder, which never sees the mask. resample: same, Down or Up."""

    def __init__(self, inputs, outputs, emb, resample=same, groups=GROUPS):
        super().__init__()
        self.resample = resample
        self.in_layers = NumberedModules({0: GroupNorm(inputs, groups=groups), 2: Conv(inputs, outputs)})
        self.emb_layers = NumberedModules({1: Linear(emb, 2 * outputs)})
        self.out_layers = NumberedModules({0: GroupNorm(outputs, groups=groups), 3: Conv(outputs, outputs)})
        self.skip_connection = Conv(inputs, outputs, 1) if inputs != outputs else same

    def execute(self, x, emb):
        """x (B, Cin, H, W), emb (1 or B, D) of the timestep, after SiLU -> (B, Cout, H', W')."""
        h = self.in_layers[2](self.resample(self.in_layers[0](x)))
        h = self.out_layers[0](h, self.emb_layers[1](emb))
        return self.out_layers[3](h, residual=self.skip_connection(self.resample(x)))


class SDMResBlock(nn.Module):
    """Residual block of the middle and the decoder: both norms are SPADE's."""

    def __init__(self, inputs, outputs, emb, classes, hidden, resample=same, groups=GROUPS):
        super().__init__()
        self.resample = resample
        self.in_norm = SPADE(inputs, classes, hidden, groups)
        self.in_layers = NumberedModules({1: Conv(inputs, outputs)})
        self.emb_layers = NumberedModules({1: Linear(emb, 2 * outputs)})
        self.out_norm = SPADE(outputs, classes, hidden, groups)
        self.out_layers = NumberedModules({2: Conv(outputs, outputs)})
        self.skip_connection = Conv(inputs, outputs, 1) if inputs != outputs else same

    @property
    def doubles(self):
        """Whether the block doubles the size, between its two norms."""
        return isinstance(self.resample, Up)

    def execute(self, x, emb, segmentation):
        """x (B, Cin, H, W), emb as in ResBlock, segmentation: SegmentationMaps -> (B, Cout, H', W')."""
        h = self.in_layers[1](self.resample(self.in_norm(x, segmentation)))
        h = self.out_norm(h, segmentation, self.emb_layers[1](emb))
        return self.out_layers[2](h, residual=self.skip_connection(self.resample(x)))


class AttentionBlock(nn.Module):
    """Self-attention over all positions, added to its input."""
    last = False

    def __init__(self, channels, head_channels, groups=GROUPS):
        super().__init__()
        self._heads = channels // head_channels
        self.norm = GroupNorm(channels, groups=groups)
        self.qkv = Conv(channels, 3 * channels, 1, ndim=1)
        self.proj_out = Conv(channels, channels, 1, ndim=1)

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, H, W)."""
        qkv = self.qkv(self.norm(x, act=False))                             # (B, 3C, H, W)
        return self.proj_out(self_attention(qkv, self._heads, self.last), residual=x)
