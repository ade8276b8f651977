"""LPIPS (Zhang et al. 2018), the learned perceptual distance of two images, on SqueezeNet 1.1 (Iandola et al. 2016).

    d(a, b) = sum over 7 depths of the mean over pixels of w . (f(a) - f(b))^2,   f of unit length at every pixel

The linear heads w are the published squeeze.pth of version 0.1. They were fitted to torchvision's SqueezeNet (names
features.0.weight, ...), and on that trunk the distance is LPIPS. A Keras or Caffe trunk (conv1.weight, fire2.squeeze1x1.weight,
...) has other weights and takes other pixels: its features are good, but its distances are not comparable with published ones.
"""
import numpy as np

from evaluation.networks.layers import Convolution, batch_of_one, inference
from evaluation.networks.pretrained import filled, read_exactly
from models.layers import NumberedModules, parameters_of
from models.weights.formats import open_weight_file
from runtime.backend import jt, nn
from runtime.errors import UserError

FIRES = {2: (64, 16, 128), 3: (128, 16, 128), 4: (128, 32, 256), 5: (256, 32, 256), 6: (256, 48, 384), 7: (384, 48, 384),
         8: (384, 64, 512), 9: (512, 64, 512)}     # inputs, squeezed, outputs
POOLED = 2, 4, 6                                   # fire modules before which the size is halved
DEPTHS = 64, 128, 256, 384, 384, 512, 512          # widths of conv1 and fires 3, 5, 6, 7, 8, 9, which are compared
SHALLOW = 2, 4                                     # fires whose result is not compared
HEADS = {"AlexNet": (64, 192, 384, 256, 256), "VGG-16": (64, 128, 256, 512, 512)}   # the other published heads
TORCHVISION = {"conv1": "features.0", **{f"fire.{n}": f"features.{place}"
                                         for n, place in zip(FIRES, (3, 4, 6, 7, 9, 10, 11, 12))}}
CAFFE = {"conv1": "conv1", **{f"fire.{n}": f"fire{n}" for n in FIRES}}
MEAN_BGR = (103.939, 116.779, 123.68)              # of the Caffe network, which takes blue first, 0 to 255
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)   # of the torchvision network, for images in [-1, 1]


class Fire(nn.Module):
    """1x1 that squeezes, then 1x1 beside 3x3, each with ReLU."""

    def __init__(self, inputs, squeezed, outputs):
        super().__init__()
        self.squeeze = Convolution(inputs, squeezed)
        self.expand1x1 = Convolution(squeezed, outputs // 2)
        self.expand3x3 = Convolution(squeezed, outputs // 2, 3, padding=1)

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H, W)."""
        x = nn.relu(self.squeeze(x))
        return nn.relu(jt.concat([self.expand1x1(x), self.expand3x3(x)], dim=1))


class SqueezeNet(nn.Module):
    """Images -> features at the seven depths that are compared. `caffe`: of a Keras or Caffe file, else of torchvision."""

    def __init__(self, caffe):
        super().__init__()
        self.caffe = caffe
        self.conv1 = Convolution(3, 64, 3, stride=2)
        self.fire = NumberedModules({n: Fire(*widths) for n, widths in FIRES.items()})

    @inference
    def execute(self, x):
        """features() for looking only: no gradient."""
        return self.features(x)

    def features(self, x):
        """x (B, 3, H, W) float32 in [-1, 1] -> seven maps (B, 64 to 512, H', W')."""
        x = nn.relu(self.conv1(self.normalised(x)))
        found = [x]
        for n in FIRES:
            if n in POOLED:
                # torchvision (and Caffe) keep a last incomplete window, the Keras network does not.
                x = nn.max_pool2d(x, 3, 2, ceil_mode=not self.caffe)
            x = self.fire[n](x)
            if n not in SHALLOW:
                found.append(x)
        return found

    def normalised(self, x):
        """x (B, 3, H, W) in [-1, 1] as the trunk takes it."""
        constant = lambda values: jt.array(np.array(values, dtype=np.float32).reshape(1, 3, 1, 1))
        if self.caffe:
            return jt.concat([x[:, 2:3], x[:, 1:2], x[:, 0:1]], dim=1) * 127.5 + 127.5 - constant(MEAN_BGR)
        return (x - constant(SHIFT)) / constant(SCALE)

    def predict(self, images, side=224):
        """uint8 images (H, W, 3) -> means over the pixels of the deepest features, (B, 512) float32.

        side: of the square that images are resized to (bilinear, by Pillow).
        """
        found = []
        for image in images:
            deepest = self(jt.array(batch_of_one(image, (side, side)) / np.float32(127.5) - 1))[-1]
            found.append(deepest.reshape(*deepest.shape[:2], -1).mean(2).numpy())
        return np.concatenate(found) if found else np.zeros((0, DEPTHS[-1]), np.float32)


class LPIPS(nn.Module):
    """The distance of pairs of images. `published`: whether it is the one that papers report."""

    def __init__(self, trunk):
        super().__init__()
        self.trunk, self.published = trunk, not trunk.caffe
        self.head = NumberedModules({i: Head(width) for i, width in enumerate(DEPTHS)})

    @inference
    def execute(self, a, b):
        """distance() for looking only: no gradient."""
        return self.distance(a, b)

    def distance(self, a, b):
        """a, b (B, 3, H, W) float32 in [-1, 1] -> distances (B,), with gradients where the images have some."""
        if list(a.shape) != list(b.shape):
            raise ValueError(f"LPIPS: expected two batches of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
        total = 0
        for head, one, other in zip(self.head, self.trunk.features(a), self.trunk.features(b)):
            total = total + head(one, other)
        return total

    def predict(self, pairs):
        """Pairs of uint8 images (H, W, 3) of one size -> distances (B,) float32."""
        found = []
        for pair in pairs:
            a, b = (jt.array(batch_of_one(image) / np.float32(127.5) - 1) for image in pair)
            found.append(self(a, b).numpy())
        return np.concatenate(found) if found else np.zeros(0, np.float32)


class Head(nn.Module):
    """Weighted squared difference of features of unit length, averaged over the pixels."""

    def __init__(self, channels):
        super().__init__()
        self.weight = jt.zeros((1, channels, 1, 1))

    def execute(self, one, other):
        """Two maps (B, C, H, W) -> (B,)."""
        # Within the root a number that no sum of squares notices: where all features are zero its slope would be infinite.
        one, other = (f / (jt.sqrt((f * f).sum(1, keepdims=True) + 1e-20) + 1e-10) for f in (one, other))
        difference = ((one - other) * (one - other) * self.weight).sum(1)
        return difference.reshape(difference.shape[0], -1).mean(1)


def open_lpips(trunk, heads):
    """LPIPS with the weights in two files, as a loss: gradients go to the images, none to the weights."""
    squeezenet = build_squeezenet(open_weight_file(trunk).tensors, str(trunk))
    model = build_lpips(squeezenet, open_weight_file(heads).tensors, str(heads))
    for var in parameters_of(model).values():
        var.stop_grad()
    return model


def build_squeezenet(tensors, where="SqueezeNet weights"):
    """The trunk with the weights in {name: tensor}, in torchvision's names or Caffe's; UserError for any other network's."""
    caffe = "fire2.squeeze1x1.weight" in tensors
    if not caffe and "features.3.squeeze.weight" not in tensors:
        raise UserError(f"{where}: neither features.3.squeeze.weight nor fire2.squeeze1x1.weight among its {len(tensors)} "
                        "tensors, expected torchvision's squeezenet1_1 or the npz of the Caffe network")
    if "features.0.weight" in tensors and tuple(tensors["features.0.weight"].shape) == (96, 3, 7, 7):
        raise UserError(f"{where}: SqueezeNet 1.0 (its first convolution is 7x7), expected squeezenet1_1")
    model = SqueezeNet(caffe)
    names = {name: published_name(name, caffe) for name in parameters_of(model)}
    arrays = read_exactly(tensors, {names[name]: var.shape for name, var in parameters_of(model).items()}, where,
                          unused=["classifier.1.weight", "classifier.1.bias"])
    return filled(model, {name: arrays[published] for name, published in names.items()}, where)


def published_name(name, caffe):
    """The name in a file of one of our parameters of the trunk."""
    owner, _, rest = name.rpartition(".")
    module, _, layer = owner.rpartition(".") if owner.startswith("fire.") else (owner, "", "")
    if caffe and layer == "squeeze":
        layer = "squeeze1x1"
    return ".".join(part for part in ((CAFFE if caffe else TORCHVISION)[module], layer, rest) if part)


def build_lpips(trunk, tensors, where="LPIPS heads"):
    """LPIPS on a SqueezeNet of build_squeezenet with the heads in {name: tensor}: lin0.model.1.weight to lin6..., or, in a file
    that has those of several networks, squeeze.lin0.model.1.weight and so on. UserError for any others."""
    if any(name.startswith("squeeze.") for name in tensors):
        tensors = {name[len("squeeze."):]: tensor for name, tensor in tensors.items() if name.startswith("squeeze.")}
    widths = tuple(tensor.shape[1] for _, tensor in sorted(tensors.items()) if len(tensor.shape) == 4)
    for network, published in HEADS.items():
        if widths == published:
            raise UserError(f"{where}: the heads of LPIPS on {network}, expected those on SqueezeNet (squeeze.pth)")
    model = LPIPS(trunk)
    names = {f"head.{i}.weight": f"lin{i}.model.1.weight" for i in range(len(DEPTHS))}
    arrays = read_exactly(tensors, {names[f"head.{i}.weight"]: (1, width, 1, 1) for i, width in enumerate(DEPTHS)}, where)
    values = {name: var.numpy() for name, var in parameters_of(trunk).items()}
    values = {f"trunk.{name}": array for name, array in values.items()}
    return filled(model, {**values, **{name: arrays[published] for name, published in names.items()}}, where)
