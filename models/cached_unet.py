"""The U-Net for sampling: exact guidance at 58 % of the arithmetic of two whole forwards.

What a guided step repeats without need, at the published size in GFLOP (2 x multiply-adds of convolutions, linear
layers and matrix products; benchmarks/guided_step.py counts them again):

    plain: two forwards                                     2 x 689.85 = 1379.7
    the encoder sees neither mask nor guidance: once                    - 117.1
    gamma and beta depend on the mask alone: kept             2 x 231.7 = - 463.3
    ours                                                                   799.3     0.579 of it

What every residual block makes of the timestep, 35 products of one row, is one product.

Without a mask gamma and beta are constant but for a one-pixel border, nine values a channel: they are found on a
picture of 3 x 3. Both branches go through the decoder as one batch. Nothing is approximated.
"""
import copy

import numpy as np

from models.blocks import ResBlock, SDMResBlock
from models.kernels.norm_branches import norm_branches
from models.kernels.turn import sizes
from models.spade import SegmentationMaps
from runtime.backend import jt, nn

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class CachedUNet:
    """model(z, t, labels) and model.branches(z, t, labels) of a UNet whose weights stay.

    It wraps the network: in a copy that shares all weights, a CachedSPADE stands for each SPADE layer, and a Slice
    of one product for what each residual block makes of the timestep.

    labels: (B, H, W) ids. What depends on them is made at the first call with a new Var and kept for the next
    ones, which have to pass the same Var. cache_gb: GB (10^9 bytes) of gamma and beta to keep at most; what does
    not fit, the layers with the fewest GFLOP a byte, is computed again at every step.
    """

    def __init__(self, unet, cache_gb=4.0):
        self.budget = int(cache_gb * 1e9)
        self.layers = [(CachedSPADE(spade), factor) for spade, factor in spade_layers(unet)]
        blocks = [module for module in unet.modules() if isinstance(module, (ResBlock, SDMResBlock))]
        self.projections = Projections([block.emb_layers[1] for block in blocks])
        self.unet = replaced(unet, {**{id(layer.spade): layer for layer, _ in self.layers}, **self.projections.slices})
        self.labels, self.segmentation = None, None

    def __call__(self, z, t, labels):
        """z (B, C, h, w), t a number, labels (B, h, w) -> (B, C or 2C, h, w), with the masks."""
        return self.run(z, t, labels, branches=1)

    def branches(self, z, t, labels):
        """The outputs with and without the masks, each (B, C or 2C, h, w)."""
        out = self.run(z, t, labels, branches=2)
        return out[:z.shape[0]], out[z.shape[0]:]

    def run(self, z, t, labels, branches):
        """The network; with two branches the rows after the first B are those without a mask."""
        with jt.no_grad():
            if labels is not self.labels:
                self.prepare(labels, z.shape[2:])
            emb = self.projections(self.unet.embed(t))
            skips = self.unet.encode(z, emb)
            if branches == 2:
                skips = [jt.concat([skip, skip], dim=0) for skip in skips]
            return self.unet.decode(skips, emb, self.segmentation)

    def prepare(self, labels, size=None):
        """Makes what depends on the masks; the model's calls do so by themselves. size: (h, w) of the latents where
        that is not the masks'."""
        self.labels = labels
        self.segmentation = SegmentationMaps(labels, self.unet.classes, self.unet.mask_resampling)
        for layer, _ in self.layers:
            layer.kept = None                                       # the old maps go before the new ones come
        for layer, height in self.kept_layers((labels.shape[0], *(size or labels.shape[1:]))):
            layer.keep(self.segmentation.at(height))

    def kept_layers(self, shape):
        """[(CachedSPADE, its height)] that fit the budget for latents (B, h, w), the best per byte first."""
        chosen, free = [], self.budget
        # A layer's arithmetic is 9 pixels (29 + 2 C) 128 a map, its bytes 8 C pixels: narrow ones save most a byte.
        for layer, factor in sorted(self.layers, key=lambda item: item[0].spade.channels):
            size = layer.bytes_of(shape[0], shape[1] // factor, shape[2] // factor)
            if size <= free:
                chosen.append((layer, shape[1] // factor))
                free -= size
        return chosen

    @property
    def kept_maps(self):
        """The gamma and beta that are kept, Vars (B, 2C, H, W)."""
        return [layer.kept for layer, _ in self.layers if layer.kept is not None]


class CachedSPADE:
    """A SPADE layer that may keep its maps, and that takes rows without a mask after those of the masks."""

    def __init__(self, spade):
        self.spade, self.kept, self.empty = spade, None, {}

    def __call__(self, h, segmentation, timestep=None):
        """As SPADE, but for h (B or 2B, C, H, W), whose rows from B on are without a mask."""
        _, _, height, width = sizes(h, self.spade.last)
        maps = self.spade.maps(segmentation.at(height)) if self.kept is None else self.kept
        empty = self.without_mask((height, width))
        return norm_branches(h, maps, empty, self.spade.groups, timestep=timestep, last=self.spade.last)

    def keep(self, mask):
        """Makes the maps of a mask, one-hot (B, K, H, W), and keeps them."""
        self.kept = self.spade.maps(mask)
        self.kept.sync()                                    # layer by layer: their hidden layers need memory

    def without_mask(self, size):
        """Gamma and beta where there is no mask, (2C, min(H, 3), min(W, 3)) or with channels last: made once for all masks."""
        small = tuple(min(n, 3) for n in size)
        if small not in self.empty:
            self.empty[small] = self.spade.maps(jt.zeros((1, self.spade.classes, *small)))[0]
            self.empty[small].sync()
        return self.empty[small]

    def bytes_of(self, masks, height, width):
        """What gamma and beta of so many masks take."""
        return BYTES[self.spade.mlp_gamma.output_dtype] * 2 * self.spade.channels * masks * height * width


class Projections:
    """The linear layers of one input as one product; slices: {id of a layer: what gives its part of the result}."""

    def __init__(self, layers):
        self.layers, self.weight, self.bias = layers, None, None
        ends = np.cumsum([layer.weight.shape[0] for layer in layers]).tolist()
        self.slices = {id(layer): Slice(end - layer.weight.shape[0], end) for layer, end in zip(layers, ends)}

    def __call__(self, emb):
        """emb (1, D) -> (outputs of all layers,)."""
        if self.weight is None:
            self.weight = jt.concat([layer.weight for layer in self.layers], dim=0)
            self.bias = jt.concat([layer.bias for layer in self.layers], dim=0)
            jt.sync([self.weight, self.bias])
        return (nn.matmul_transpose(emb, self.weight) + self.bias).reshape(-1)


class Slice:
    """A layer's part of what Projections gives."""

    def __init__(self, start, end):
        self.start, self.end = start, end

    def __call__(self, every):
        """every (outputs of all layers,) -> (1, outputs), the same numbers in the same place."""
        return every[self.start:self.end].reshape(1, -1)


def replaced(module, layers):
    """A copy of the module with `layers`, {id of a layer: what takes its place}; all else is shared."""
    twin = copy.copy(module)
    for name, child in vars(module).items():
        if id(child) in layers:
            setattr(twin, name, layers[id(child)])
        elif isinstance(child, nn.Module) and any(id(layer) in layers for layer in child.modules()):
            setattr(twin, name, replaced(child, layers))
    return twin


def spade_layers(unet):
    """[(SPADE layer, its down-sampling factor)] of a UNet, in the order in which they run."""
    found, factor = [], unet.coarsest
    for block in [unet.middle_block, *unet.output_blocks]:
        for layer in block:
            if isinstance(layer, SDMResBlock):
                found.append((layer.in_norm, factor))
                factor //= 2 if layer.doubles else 1
                found.append((layer.out_norm, factor))
    return found
