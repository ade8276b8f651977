"""SCGAN (Wang et al. 2021, "Image Synthesis via Semantic Composition"): convolutions and affine rows that are
mixed anew at every pixel, by what a routing network makes of the mask."""
from baselines.gaugan import SPADE
from baselines.layers import BatchNorm, hardtanh
from baselines.routing import RoutingNetwork, weights
from baselines.spectral_norm import SpectralConv
from baselines.trunk import Block, Given, Trunk
from models.kernels.conv import conv2d
from models.layers import NumberedModules
from runtime.backend import jt, nn


class SCConv(nn.Module):
    """K convolutions, mixed per pixel."""

    def __init__(self, inputs, outputs, experts):
        super().__init__()
        self.conv_bases = NumberedModules({k: SpectralConv(inputs, outputs, bias=False) for k in range(experts)})

    def execute(self, x, route):
        """x (B, Cin, h, w), route (B, K, h, w) -> (B, Cout, h, w), the sum over k of route_k conv_k(x)."""
        weight = jt.concat([conv.weight() for conv in self.conv_bases], dim=0)
        y = conv2d(x, weight, jt.zeros((weight.shape[0],)), padding=1)      # one convolution of K Cout channels
        batch, experts, height, width = route.shape
        return (y.reshape(batch, experts, -1, height, width) * route.unsqueeze(2)).sum(1)


class SCNorm(nn.Module):
    """Batch normalisation, modulated by rows (gamma | beta) that are mixed per pixel."""

    def __init__(self, channels, experts):
        super().__init__()
        self.affine_params_groups = jt.zeros((experts, 2 * channels))
        self.param_free_norm = BatchNorm(channels)

    def execute(self, x, given):
        """x (B, C, h, w) -> like x."""
        _, route = given.routes[tuple(x.shape[2:])]
        rows, channels = self.affine_params_groups.transpose(1, 0), x.shape[1]
        both = conv2d(route, rows.reshape(*rows.shape, 1, 1), jt.zeros((2 * channels,)))        # (B, 2C, h, w)
        return self.param_free_norm(x) * (1 + both[:, :channels]) + both[:, channels:]


class SCGANBlock(Block):
    """Mixed convolutions and norms; the shortcut is SPADE's."""

    def conv(self, inputs, outputs, config):
        """K convolutions."""
        return SCConv(inputs, outputs, config.conv_experts)

    def shortcut_conv(self, inputs, outputs, config):
        """3x3, where the others have 1x1."""
        return SpectralConv(inputs, outputs)

    def norm(self, name, channels, config):
        """SPADE on the shortcut, mixed rows elsewhere."""
        if name.endswith("_s"):
            return SPADE(channels, config)
        return SCNorm(channels, config.norm_experts)

    def convolve(self, conv, x, given):
        """By the experts' weights at x's size."""
        return conv(x, given.routes[tuple(x.shape[2:])][0])


class SCGAN(Trunk):
    """The generator and, within it, the routing network."""
    block = SCGANBlock

    def __init__(self, config):
        super().__init__(config)
        self.pyramid_spaital_routing = RoutingNetwork(config)               # spelt so in published files

    @staticmethod
    def first_channels(config):
        """Has an option of its own."""
        return config.first_channels

    def images(self, semantics, style=None, noise=None):
        """Images and side images (B, 3, H, W) in [-1, 1]."""
        given = Given(semantics, style)
        levels, side = self.pyramid_spaital_routing(semantics.one_hot(semantics.size))
        for level in levels:                      # no two have one size: G_middle_0 and G_middle_1 share theirs
            given.routes[tuple(level[0].shape[2:])] = [weights(logits, self.config) for logits in level]
        return hardtanh(self.before_activation(given)), side
