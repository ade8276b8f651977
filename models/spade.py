"""SPADE, spatially adaptive normalisation (Park et al. 2019, "Semantic Image Synthesis with
Spatially-Adaptive Normalization"), on group normalisation as in the SDM U-Net."""
from models.kernels.conv import conv2d
from models.kernels.launch import gpu
from models.kernels.norm_modulate import norm_modulate_maps
from models.kernels.turn import sizes
from models.layers import GROUPS, Conv, NumberedModules, down, relu
from runtime.backend import jt, nn


class SPADE(nn.Module):
    """Normalises h and modulates it by maps gamma, beta that two convolutions make of the mask."""
    last = False

    def __init__(self, channels, classes, hidden, groups=GROUPS):
        super().__init__()
        self._groups, self._channels, self._classes = groups, channels, classes
        self.mlp_shared = NumberedModules({0: Conv(classes, hidden)})
        self.mlp_gamma = Conv(hidden, channels)
        self.mlp_beta = Conv(hidden, channels)

    def execute(self, h, segmentation, timestep=None):
        """h (B, C, H, W), segmentation: SegmentationMaps, timestep (1 or B, 2C): scale, shift -> like h, after
        SiLU."""
        # 1 + gamma, not the paper's gamma: the layer starts close to plain GroupNorm.
        mask = segmentation.at(sizes(h, self.last)[2])
        maps = self.maps(mask) if gpu() else self.maps_apart(mask)
        return norm_modulate_maps(h, maps, self._groups, 1e-5, timestep, last=self.last)

    def maps(self, mask):
        """mask one-hot (B, K, H, W) -> gamma, beta (B, 2C, H, W), by one convolution for both. They depend on
        nothing else, not h, not t."""
        weight = jt.concat([self.mlp_gamma.kernel(self.last), self.mlp_beta.kernel(self.last)], dim=0)
        bias = jt.concat([self.mlp_gamma.bias, self.mlp_beta.bias], dim=0)
        return conv2d(relu(self.mlp_shared[0](mask)), weight, bias, padding=1, last=self.last)

    def maps_apart(self, mask):
        """The same as a pair, on a CPU: there joining weights of 0.3 GB at every step costs more than it saves."""
        hidden = relu(self.mlp_shared[0](mask))
        return [conv2d(hidden, layer.kernel(self.last), layer.bias, padding=1, last=self.last, kept=layer.kept)
                for layer in (self.mlp_gamma, self.mlp_beta)]

    @property
    def channels(self):
        """C, the channels that it normalises."""
        return self._channels

    @property
    def classes(self):
        """K, the classes of its masks."""
        return self._classes

    @property
    def groups(self):
        """Of its group normalisation."""
        return self._groups


def shares(labels, classes, factor):
    """labels (B, H, W), -1 = no mask -> (B, K, H / factor, W / factor), by area: the share that each class has of a
    square of factor x factor pixels. What is smaller than a square leaves its trace; by nearest it may be missed."""
    b, height, width = labels.shape
    squares = labels.reshape(b, 1, height // factor, factor, width // factor, factor)
    ids = jt.array(list(range(classes))).reshape(1, classes, 1, 1, 1, 1)
    return (squares == ids).float32().sum(5).sum(3) * (1 / factor ** 2)


def one_hot(labels, classes, factor):
    """labels (B, H, W), -1 = no mask -> (B, K, H / factor, W / factor), by nearest: every factor-th pixel.
    Where the label is -1 the vector is zero, which is the unconditional branch."""
    labels = labels[:, ::factor, ::factor] if factor > 1 else labels
    ids = jt.array(list(range(classes))).reshape(1, classes, 1, 1)
    return (labels.unsqueeze(1) == ids).float32()


class SegmentationMaps:
    """The label maps of a batch as SPADE takes them: one-hot at each size, made once per size. resampling: nearest |
    area, see one_hot and shares."""

    def __init__(self, labels, classes, resampling="nearest"):
        self.labels, self.classes, self.sizes = labels, classes, {}
        self.resample = {"nearest": one_hot, "area": shares}[resampling]

    def at(self, height):
        """The masks (B, K, H, W) at a block's height."""
        if height not in self.sizes:
            finer = self.sizes.get(2 * height)
            if self.resample is shares and finer is not None:
                self.sizes[height] = down(finer)                         # a mean of means: the same shares, sooner
            else:
                self.sizes[height] = self.resample(self.labels, self.classes, self.labels.shape[1] // height)
        return self.sizes[height]
