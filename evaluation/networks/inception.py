"""The Inception v3 that the Frechet inception distance is defined by (Heusel et al. 2017), as pytorch-fid publishes it.

Szegedy et al. 2016, "Rethinking the Inception architecture", with what sets the TensorFlow graph of 2015-12-05 apart from
torchvision's network: means over 3x3 windows leave out what lies beyond the border, the last block takes a maximum in place
of a mean, batch normalisation has eps 1e-3, and there are 1,008 classes, whose layer is not used here.
The weights are the state dict pt_inception-2015-12-05-6726825d.pth (torch-fidelity's weights-inception-... is the same).
"""
import numpy as np

from evaluation.networks.layers import Convolution, inference
from evaluation.networks.pretrained import filled, folded, read_exactly
from models.kernels.conv_onednn import channels_last, conv_onednn
from models.kernels.pool import pool
from models.kernels.turn import to_first, to_last
from models.layers import parameters_of
from runtime.backend import jt, nn
from runtime.errors import UserError

SIDE = 299  # of the images it takes
IMAGES = 8  # at a time on a CPU
EPS = 1e-3
CLASSIFIER = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}     # not used, but the network is known by it
STATISTICS = "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"


class ConvRelu(Convolution):
    """Convolution and ReLU. On a CPU all maps of this network lie as (B, H, W, C), which oneDNN need not turn; on a GPU as the
    shapes here say, (B, C, H, W)."""

    def execute(self, x, relu=True):
        """x (B, Cin, H, W) -> (B, Cout, H', W')."""
        if channels_last():
            padding = self._padding if isinstance(self._padding, tuple) else (self._padding, self._padding)
            return conv_onednn(x, self.weight, self.bias, self._stride, padding, last=True, relu=relu)
        y = super().execute(x)
        return nn.relu(y) if relu else y


def run(x, *layers):
    """One layer after the other."""
    for layer in layers:
        x = layer(x)
    return x


def join(*maps):
    """Maps side by side along their channels."""
    return jt.concat(maps, dim=3 if channels_last() else 1)


def largest(x, stride=2, padding=0):
    """The maximum over 3x3 windows."""
    return pool(x, "max", stride, padding) if channels_last() else nn.max_pool2d(x, 3, stride, padding)


def averaged(x, layer):
    """The mean over 3x3 windows without what lies beyond the border, a 1x1 convolution and ReLU.

    The convolution goes first: it commutes with the mean, bias included, and leaves fewer channels to average.
    """
    if channels_last():
        return nn.relu(pool(layer(x, relu=False), "mean", padding=1))
    inside = np.outer(*(3 - (np.arange(size) == 0) - (np.arange(size) == size - 1) for size in x.shape[2:]))
    # Jittor's own count_include_pad=False divides by nine all the same.
    return nn.relu(nn.avg_pool2d(layer(x, relu=False), 3, 1, 1) * jt.array((9 / inside).astype(np.float32)))


class BlockA(nn.Module):
    """Mixed_5b to 5d: 1x1, 5x5, two 3x3, mean. Layers have the names of the published file here and below."""

    def __init__(self, inputs, pool):
        super().__init__()
        self.branch1x1 = ConvRelu(inputs, 64)
        self.branch5x5_1 = ConvRelu(inputs, 48)
        self.branch5x5_2 = ConvRelu(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = ConvRelu(inputs, 64)
        self.branch3x3dbl_2 = ConvRelu(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvRelu(96, 96, 3, padding=1)
        self.branch_pool = ConvRelu(inputs, pool)

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, 224 + pool, H, W)."""
        return join(run(x, self.branch1x1), run(x, self.branch5x5_1, self.branch5x5_2),
                          run(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3),
                          averaged(x, self.branch_pool))


class BlockB(nn.Module):
    """Mixed_6a, which halves the size: 3x3, two 3x3, maximum."""

    def __init__(self, inputs):
        super().__init__()
        self.branch3x3 = ConvRelu(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = ConvRelu(inputs, 64)
        self.branch3x3dbl_2 = ConvRelu(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvRelu(96, 96, 3, stride=2)

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, 480 + Cin, (H - 1) / 2, (W - 1) / 2)."""
        return join(run(x, self.branch3x3),
                          run(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3), largest(x))


class BlockC(nn.Module):
    """Mixed_6b to 6e: 1x1, 7x7, two 7x7, mean, where a 7x7 is a 1x7 and a 7x1."""

    def __init__(self, inputs, width):
        super().__init__()
        row = lambda ins, outs: ConvRelu(ins, outs, (1, 7), padding=(0, 3))
        column = lambda ins, outs: ConvRelu(ins, outs, (7, 1), padding=(3, 0))
        self.branch1x1 = ConvRelu(inputs, 192)
        self.branch7x7_1 = ConvRelu(inputs, width)
        self.branch7x7_2 = row(width, width)
        self.branch7x7_3 = column(width, 192)
        self.branch7x7dbl_1 = ConvRelu(inputs, width)
        self.branch7x7dbl_2 = column(width, width)
        self.branch7x7dbl_3 = row(width, width)
        self.branch7x7dbl_4 = column(width, width)
        self.branch7x7dbl_5 = row(width, 192)
        self.branch_pool = ConvRelu(inputs, 192)

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, 768, H, W)."""
        return join(run(x, self.branch1x1), run(x, self.branch7x7_1, self.branch7x7_2, self.branch7x7_3),
                          run(x, self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3, self.branch7x7dbl_4,
                              self.branch7x7dbl_5), averaged(x, self.branch_pool))


class BlockD(nn.Module):
    """Mixed_7a, which halves the size: 3x3, 7x7 and 3x3, maximum."""

    def __init__(self, inputs):
        super().__init__()
        self.branch3x3_1 = ConvRelu(inputs, 192)
        self.branch3x3_2 = ConvRelu(192, 320, 3, stride=2)
        self.branch7x7x3_1 = ConvRelu(inputs, 192)
        self.branch7x7x3_2 = ConvRelu(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = ConvRelu(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = ConvRelu(192, 192, 3, stride=2)

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, 512 + Cin, (H - 1) / 2, (W - 1) / 2)."""
        return join(run(x, self.branch3x3_1, self.branch3x3_2),
                          run(x, self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3, self.branch7x7x3_4),
                          largest(x))


class BlockE(nn.Module):
    """Mixed_7b and 7c: 1x1, a 1x3 beside a 3x1, the same after a 3x3, mean; in 7c (`peak`) the maximum in its place."""

    def __init__(self, inputs, peak=False):
        super().__init__()
        row = lambda: ConvRelu(384, 384, (1, 3), padding=(0, 1))
        column = lambda: ConvRelu(384, 384, (3, 1), padding=(1, 0))
        self._peak = peak
        self.branch1x1 = ConvRelu(inputs, 320)
        self.branch3x3_1 = ConvRelu(inputs, 384)
        self.branch3x3_2a, self.branch3x3_2b = row(), column()
        self.branch3x3dbl_1 = ConvRelu(inputs, 448)
        self.branch3x3dbl_2 = ConvRelu(448, 384, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = row(), column()
        self.branch_pool = ConvRelu(inputs, 192)

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, 2048, H, W)."""
        one = run(x, self.branch3x3_1)
        two = run(x, self.branch3x3dbl_1, self.branch3x3dbl_2)
        pool = run(largest(x, 1, 1), self.branch_pool) if self._peak else averaged(x, self.branch_pool)
        return join(run(x, self.branch1x1), run(one, self.branch3x3_2a), run(one, self.branch3x3_2b),
                          run(two, self.branch3x3dbl_3a), run(two, self.branch3x3dbl_3b), pool)


class Inception(nn.Module):
    """Images in [-1, 1] -> the 2,048 features ("pool3") that the distance compares."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = ConvRelu(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvRelu(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvRelu(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = ConvRelu(64, 80)
        self.Conv2d_4a_3x3 = ConvRelu(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (BlockC(768, width) for width in (128, 160, 160, 192))
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280), BlockE(2048, peak=True)

    @inference
    def stages(self, x):
        """x (B, 3, 299, 299) -> the maps whose means have 64, 192, 768 and 2,048 features: (B, C, H, W) each."""
        if list(x.shape[1:]) != [3, SIDE, SIDE]:
            raise ValueError(f"Inception: expected images (B, 3, {SIDE}, {SIDE}), got {tuple(x.shape)}")
        x = to_last(x) if channels_last() else x
        first = largest(run(x, self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3))
        second = largest(run(first, self.Conv2d_3b_1x1, self.Conv2d_4a_3x3))
        third = second
        for block in (self.Mixed_5b, self.Mixed_5c, self.Mixed_5d, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d,
                      self.Mixed_6e):
            third = block(third)
        maps = first, second, third, self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(third)))
        return [to_first(h) for h in maps] if channels_last() else maps

    @inference
    def execute(self, x):
        """x (B, 3, 299, 299) float32 in [-1, 1] -> pool3 (B, 2048).

        So many images at a time that the memory is bounded; on a GPU one: a convolution of several rounds differently there.
        """
        count = IMAGES if channels_last() else 1
        maps = [self.stages(x[i:i + count])[-1] for i in range(0, x.shape[0], count)]
        return jt.concat([h.reshape(*h.shape[:2], -1).mean(2) for h in maps], dim=0)


def build_inception(tensors, where="Inception weights"):
    """The network with the weights of the state dict {name: tensor}; UserError for any other network's."""
    refuse_look_alikes(tensors, where)
    model = Inception()
    parameters = parameters_of(model)
    layers = [name.rpartition(".")[0] for name in parameters if name.endswith(".weight")]
    shapes = dict(CLASSIFIER)
    for layer in layers:
        shapes[f"{layer}.conv.weight"] = parameters[f"{layer}.weight"].shape
        shapes.update({f"{layer}.{name}": parameters[f"{layer}.bias"].shape for name in STATISTICS})
    arrays = read_exactly(tensors, shapes, where, unused=[".num_batches_tracked"])
    values = {}
    for layer in layers:
        statistics = [arrays[f"{layer}.{name}"] for name in STATISTICS]
        values[f"{layer}.weight"], values[f"{layer}.bias"] = folded(arrays[f"{layer}.conv.weight"], *statistics, EPS)
    return filled(model, values, where)


def refuse_look_alikes(tensors, where):
    """UserError, with the reason, for the Inception networks that the distance is not defined by."""
    expected = "expected pytorch-fid's pt_inception-2015-12-05-6726825d.pth"
    if any(name.startswith("AuxLogits.") for name in tensors) or \
            "fc.weight" in tensors and tensors["fc.weight"].shape[0] in (1000, 1001):
        raise UserError(f"{where}: torchvision's Inception v3 (auxiliary classifier or 1,000 classes), which was trained anew "
                        f"and gives other distances; {expected}")
    if "Conv2d_1a_3x3.conv.weight" not in tensors:
        raise UserError(f"{where}: no tensor Conv2d_1a_3x3.conv.weight among {len(tensors)}; {expected} (NVlabs' "
                        "inception-2015-12-05.pt is a TorchScript program, which is not run here)")
