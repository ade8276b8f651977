"""GauGAN (Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization"): SPADE on batch
normalisation."""
from baselines.layers import free_norm
from baselines.trunk import Block, Trunk
from models.layers import Conv, NumberedModules, relu
from runtime.backend import nn

HIDDEN = 128         # channels between mask and modulation, at any width


class SPADE(nn.Module):
    """Normalises x and modulates it by maps gamma, beta that convolutions make of the mask, Eq. (1)."""

    def __init__(self, channels, config):
        super().__init__()
        mask_channels = config.mask_channels
        self.param_free_norm = free_norm(config, channels)
        self.mlp_shared = NumberedModules({0: Conv(mask_channels, HIDDEN)})
        self.mlp_gamma = Conv(HIDDEN, channels)
        self.mlp_beta = Conv(HIDDEN, channels)

    def execute(self, x, given):
        """x (B, C, h, w) -> like x."""
        gamma, beta = self.modulation(given.semantics.one_hot(x.shape[2:]))
        return self.param_free_norm(x) * (1 + gamma) + beta

    def modulation(self, seg):
        """seg (B, L, h, w) -> gamma, beta (B, C, h, w)."""
        a = relu(self.mlp_shared[0](seg))                                   # (B, 128, h, w)
        return self.mlp_gamma(a), self.mlp_beta(a)


class GauGANBlock(Block):
    """Normalised by SPADE."""

    def norm(self, name, channels, config):
        """A SPADE layer."""
        return SPADE(channels, config)


class GauGAN(Trunk):
    """The generator."""
    block = GauGANBlock
