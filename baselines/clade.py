"""CLADE (Tan et al. 2021, "Efficient Semantic Image Synthesis via Class-Adaptive Normalization"): one pair of
numbers per class and channel in place of SPADE's convolutions; with `distance` (CLADE-ICPE) scaled by where
in its region a pixel lies."""
import cv2
import numpy as np

from baselines.layers import free_norm
from baselines.spectral_norm import SpectralConv
from baselines.trunk import Block, Trunk
from models.layers import Conv
from runtime.backend import jt, nn


class ClassAffine(nn.Module):
    """Rows gamma, beta of a pixel's class."""

    def __init__(self, channels, classes, distance):
        super().__init__()
        self._distance = distance
        self.weight = jt.zeros((classes, channels))
        self.bias = jt.zeros((classes, channels))
        if distance:
            self.dist_conv_w = Conv(2, 1, 1)
            self.dist_conv_b = Conv(2, 1, 1)

    def execute(self, x, semantics):
        """x (B, C, h, w) -> x * gamma + beta. Not 1 + gamma: gamma is drawn around a half."""
        ids = semantics.ids(x.shape[2:])
        gamma, beta = gather(self.weight, ids), gather(self.bias, ids)      # never stored: fused with what follows
        if self._distance:
            offsets = semantics.distance(x.shape[2:])
            gamma, beta = gamma * (1 + self.dist_conv_w(offsets)), beta * (1 + self.dist_conv_b(offsets))
        return x * gamma + beta


def gather(rows, ids):
    """rows (K, C) of ids (B, h, w) -> (B, C, h, w)."""
    batch, height, width = ids.shape
    return rows.reindex([batch, rows.shape[1], height, width], ["@e0(i0,i2,i3)", "i1"], extras=[ids])


class CLADELayer(nn.Module):
    """Batch normalisation and ClassAffine; where there are instances, their borders go on as one more
    channel."""

    def __init__(self, channels, config):
        super().__init__()
        self._edges = config.edges
        self.param_free_norm = free_norm(config, channels)
        self.class_specified_affine = ClassAffine(channels, config.classes, config.distance)
        if config.edges:
            self.inst_conv = Conv(1, 1, 1)

    def execute(self, x, given):
        """x (B, C, h, w) -> (B, C or C + 1, h, w)."""
        y = self.class_specified_affine(self.param_free_norm(x), given.semantics)
        if self._edges:
            y = jt.concat([y, self.inst_conv(given.semantics.edges(x.shape[2:]))], dim=1)
        return y


class CLADEBlock(Block):
    """Normalised by class."""

    def norm(self, name, channels, config):
        """A CLADE layer."""
        return CLADELayer(channels, config)

    def conv(self, inputs, outputs, config):
        """Takes the borders' channel too."""
        return SpectralConv(inputs + config.edges, outputs)

    def shortcut_conv(self, inputs, outputs, config):
        """Takes the borders' channel too."""
        return SpectralConv(inputs + config.edges, outputs, 1, bias=False)


class CLADE(Trunk):
    """The generator."""
    block = CLADEBlock


def distance_map(labels, skip=()):
    """Labels (H, W) -> (2, H, W) float32: the vertical and horizontal offset of each pixel from the centroid
    of its connected region, divided by the region's largest, so that it lies in (-1, 1). Classes in `skip`
    have zeros: the published maps skip 0, which is ADE20K's "unknown"."""
    found = np.zeros((2, *labels.shape), dtype=np.float32)
    for label in np.unique(labels):
        if label in skip or label < 0:
            continue
        count, regions = cv2.connectedComponents((labels == label).astype(np.uint8))     # 8-connected
        for region in range(1, count):
            where = np.nonzero(regions == region)
            for axis, positions in enumerate(where):
                offsets = positions - positions.mean()
                found[axis][where] = offsets / np.max(np.abs(offsets) + 1e-5)
    return found
