"""The U-Net for sampling: exact guidance at 58 % of the arithmetic of two whole forwards.

What a guided step repeats without need, at the published size in GFLOP (2 x multiply-adds of convolutions, linear layers
and matrix products; benchmarks/guided_step.py counts them again):

    plain: two forwards                                     2 x 689.85 = 1379.7
    the encoder sees neither mask nor guidance: once                    - 117.1
    gamma and beta depend on the mask alone: kept             2 x 231.7 = - 463.3
    ours                                                                   799.3     0.579 of it

Without a mask gamma and beta are constant but for a one-pixel border, nine values a channel: they are found on a picture of
3 x 3. The timestep's projections are kept too. Both branches go through the decoder as one batch. Nothing is approximated.
"""
from models.blocks import SDMResBlock, Times
from models.kernels.casting import cast
from models.kernels.norm_branches import norm_branches
from models.spade import SegmentationMaps
from runtime.backend import jt

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class CachedUNet:
    """model(z, t, labels) and model.branches(z, t, labels) of a UNet whose weights stay.

    labels: (B, H, W) ids. What depends on them is made at the first call with a new Var and kept for the next ones, which
    have to pass the same Var. cache_gb: GB (10^9 bytes) of gamma and beta to keep at most; what does not fit, the layers
    with the fewest GFLOP a byte, is computed again at every step.
    """

    def __init__(self, unet, cache_gb=4.0):
        self.unet, self.budget = unet, int(cache_gb * 1e9)
        self.layers = spade_layers(unet)
        self.times, self.empty = {}, {}
        self.labels, self.masks = None, None

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
                self.prepare(labels)
            if float(t) not in self.times:
                self.times[float(t)] = CachedTimes(self.unet.embed(t))
            times = self.times[float(t)]
            skips = self.unet.encode(z, times)
            if branches == 2:
                skips = [jt.concat([skip, skip], dim=0) for skip in skips]
            return self.unet.decode(skips[-1], skips, times, self.masks)

    def prepare(self, labels):
        """Makes what depends on the masks; the model's calls do so by themselves."""
        self.labels, self.masks = labels, None                      # the old maps go before the new ones come
        self.masks = CachedSpadeMaps(labels, self.unet.classes, self.unet.precision, self.kept_layers(labels.shape), self.empty)

    def kept_layers(self, shape):
        """[(SPADE layer, its height)] that fit the budget for labels of this shape, those that save most per byte first."""
        kept, free = [], self.budget
        # A layer's arithmetic is 9 pixels (29 + 2 C) 128 a map, its bytes 8 C pixels: narrow ones save the most for a byte.
        for spade, factor in sorted(self.layers, key=lambda item: item[0].channels):
            size = BYTES[self.unet.precision] * 2 * spade.channels * shape[0] * (shape[1] // factor) * (shape[2] // factor)
            if size <= free:
                kept.append((spade, shape[1] // factor))
                free -= size
        return kept


class CachedTimes(Times):
    """A timestep whose scales and shifts are computed once for every block."""

    def __init__(self, emb):
        super().__init__(emb)
        self.kept = {}

    def scale_shift(self, layer, batch):
        """A block's (B, C) scale and shift."""
        key = id(layer), batch
        if key not in self.kept:
            self.kept[key] = super().scale_shift(layer, batch)
            jt.sync(list(self.kept[key]))
        return self.kept[key]


class CachedSpadeMaps(SegmentationMaps):
    """SegmentationMaps with the gamma and beta that SPADE layers make of them: those of `kept` made once, the others at every
    call."""

    def __init__(self, labels, classes, dtype, kept, empty):
        super().__init__(labels, classes, dtype)
        self.maps, self.empty = {}, empty
        for spade, height in kept:
            self.maps[id(spade)] = spade.maps(self.at(height))
            self.maps[id(spade)].sync()                             # one after the other: their hidden layers need memory

    def normalise(self, spade, h, scale=None, shift=None):
        """h (B or 2B, C, H, W), rows from B on without a mask -> like h, through a SPADE layer."""
        maps = self.maps.get(id(spade))
        if maps is None:
            maps = spade.maps(self.at(h.shape[2]))
        return norm_branches(h, maps, self.without_mask(spade, h.shape[2:]), spade.groups, scale=scale, shift=shift)

    def without_mask(self, spade, size):
        """A layer's gamma and beta where there is no mask, (2C, min(H, 3), min(W, 3)): made once for all masks."""
        small = tuple(min(n, 3) for n in size)
        key = id(spade), small
        if key not in self.empty:
            self.empty[key] = spade.maps(cast(jt.zeros((1, self.classes, *small)), self.dtype))[0]
            self.empty[key].sync()
        return self.empty[key]


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
