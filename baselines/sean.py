"""SEAN (Zhu et al. 2020, "SEAN: Image Synthesis with Semantic Region-Adaptive Normalization"): every class
has a style code, encoded from the reference image under the reference's own mask. Any number of classes."""
import numpy as np

from baselines.gaugan import SPADE
from baselines.layers import BatchNorm, instance_norm, leaky
from baselines.semantics import nearest
from baselines.trunk import Block, Trunk
from models.kernels.conv import conv2d
from models.layers import Conv, Linear, NumberedModules, relu
from runtime.backend import jt, nn

CODE = 512                       # numbers of a style code
PLAIN = "up_3", "up_4"           # blocks without style


def without_effect(name):
    """Whether a parameter of this name changes nothing: blocks without style have their blending all the same."""
    return "blending_" in name and any(f"{block}." in name for block in PLAIN)


class Zencoder(nn.Module):
    """Image and mask -> the style code of each class."""

    def __init__(self):
        super().__init__()
        self.model = NumberedModules({1: Conv(3, 32, padding=0), 4: Conv(32, 64, stride=2),
                                      7: Conv(64, 128, stride=2), 10: Doubling(128, 256),
                                      14: Conv(256, CODE, padding=0)})

    def execute(self, image, semantics):
        """image (B, 3, H, W) in [-1, 1] -> codes (B, K, 512), zeros for classes that the mask does not
        have."""
        return class_means(self.features(image), semantics)

    def features(self, image):
        """image (B, 3, H, W) -> (B, 512, H/2, W/2). A constant image has none: its normalisation would divide
        rounding errors by their own size."""
        pad, model = nn.ReflectionPad2d(1), self.model
        x = leaky(instance_norm(model[1](pad(image))))                      # (B, 32, H, W)
        for i in (4, 7, 10):
            x = leaky(instance_norm(model[i](x)))                           # (B, 256, H/2, W/2) at last
        return jt.tanh(model[14](pad(x)))


class Doubling(nn.Module):
    """Transposed 3x3 convolution of stride 2, (B, Cin, H, W) -> (B, Cout, 2H, 2W)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = jt.zeros((inputs, outputs, 3, 3))
        self.bias = jt.zeros((outputs,))

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, 2H, 2W)."""
        return nn.conv_transpose(x, self.weight, self.bias, stride=2, padding=1, output_padding=1)


def class_means(features, semantics):
    """features (B, D, h, w) -> their means over the pixels of each class, (B, K, D)."""
    batch, depth, height, width = features.shape
    planes = semantics.one_hot((height, width))[:, :semantics.classes].reshape(batch, semantics.classes, -1)
    columns = features.reshape(batch, depth, -1)
    # Image by image: of three axes Jittor makes no matrix product on a CPU.
    totals = jt.stack([nn.matmul_transpose(planes[i], columns[i]) for i in range(batch)])        # (B, K, D)
    pixels = np.stack([counts(semantics, (height, width), i) for i in range(batch)])
    return totals / jt.array(np.maximum(pixels, 1).astype(np.float32)).unsqueeze(2)


def counts(semantics, size, i):
    """Pixels of each class in the i-th mask at a size, (K,)."""
    labels = nearest(semantics.labels[i], size)
    return np.bincount(labels[labels >= 0], minlength=semantics.classes)[:semantics.classes]


class ACE(nn.Module):
    """The paper's SEAN block: noise, batch normalisation, and modulation by style and by mask, blended."""

    def __init__(self, name, channels, config):
        super().__init__()
        block, _, layer = name.partition(".")
        self._noise_name = f"{block}_ACE_{layer[-1]}"                        # such as up_0_ACE_s
        self._classes, self._styled = config.style_classes, block not in PLAIN
        self.blending_gamma = jt.zeros((1,))
        self.blending_beta = jt.zeros((1,))
        self.noise_var = jt.zeros((channels,))
        self.Spade = SPADE(channels, config)      # its own batch statistics are stored but unused
        self.param_free_norm = BatchNorm(channels)
        if self._styled:
            for j in range(config.style_classes):
                setattr(self, f"fc_mu{j}", Linear(CODE, CODE))
            self.conv_gamma = Conv(CODE, channels)
            self.conv_beta = Conv(CODE, channels)

    def execute(self, x, given):
        """x (B, C, h, w) -> like x."""
        y = self.param_free_norm(self.with_noise(x, given.noise))
        seg = given.semantics.one_hot(x.shape[2:])
        gamma, beta = self.Spade.modulation(seg)
        if self._styled:
            styles = self.styles(given.style)
            a, b = jt.sigmoid(self.blending_gamma), jt.sigmoid(self.blending_beta)
            gamma = a * style_map(styles, seg, self.conv_gamma) + (1 - a) * gamma
            beta = b * style_map(styles, seg, self.conv_beta) + (1 - b) * beta
        return y * (1 + gamma) + beta                       # 1 + gamma, where the paper prints gamma

    def with_noise(self, x, noise):
        """x and one plane of noise per image, scaled per channel; None adds nothing."""
        if noise is None:
            return x
        plane = jt.array(noise(self._noise_name, (x.shape[0], 1, *x.shape[2:])))
        return x + self.noise_var.reshape(1, -1, 1, 1) * plane

    def styles(self, codes):
        """codes (B, K, 512) -> this layer's (B, K, 512), every class by weights of its own."""
        if codes.shape[1] > self._classes:
            raise ValueError(f"SEAN: codes of {codes.shape[1]} classes, expected at most {self._classes}")
        layers = [getattr(self, f"fc_mu{j}") for j in range(codes.shape[1])]
        return relu(jt.stack([layer(codes[:, j]) for j, layer in enumerate(layers)], dim=1))


def style_map(styles, seg, conv):
    """conv of the map that holds at every pixel its class's style: styles (B, K, 512), seg (B, L, h, w) ->
    (B, C, h, w).

    The map is styles times one-hot, and so is its convolution: K input channels in place of 512, with weights
    of each image. At 512x384 that is 29/512 of what was half of SEAN's cost, and the map is never stored.
    """
    outputs, depth = conv.weight.shape[:2]
    by_depth = conv.weight.transpose(0, 2, 3, 1).reshape(-1, depth)                     # (C 3 3, 512)
    maps = []
    for i in range(styles.shape[0]):
        weight = nn.matmul_transpose(by_depth, styles[i])                               # (C 3 3, K)
        weight = weight.reshape(outputs, 3, 3, -1).transpose(0, 3, 1, 2)
        maps.append(conv2d(seg[i:i + 1, :styles.shape[1]], weight, conv.bias, padding=1))
    return jt.concat(maps, dim=0)


class SEANBlock(Block):
    """Normalised by ACE layers, which its names are of."""
    prefix = "ace"

    def norm(self, name, channels, config):
        """An ACE layer."""
        return ACE(name, channels, config)


class SEAN(Trunk):
    """The generator and, within it, the encoder of its codes."""
    block = SEANBlock

    def __init__(self, config):
        super().__init__(config)
        self.Zencoder = Zencoder()
