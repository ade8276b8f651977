"""VGG19 (Simonyan and Zisserman 2015) as a loss: mean absolute differences of its features, weighted as in
pix2pixHD."""
import numpy as np

from baselines.losses import l1
from baselines.networks import settle
from models.kernels.conv import conv2d
from models.layers import Conv, NumberedModules, parameters_of
from models.weights.checkpoint import fill
from models.weights.formats import open_weight_file
from runtime.backend import jt, nn
from runtime.errors import UserError

WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512)
COMPARED = {0: 1 / 32, 5: 1 / 16, 10: 1 / 8, 19: 1 / 4, 28: 1.0}     # relu1_1 to relu5_1, by the number of their convolution


class VGG19(nn.Module):
    """The layers up to relu5_1, numbered as in torchvision's file. Images go in as they are, in [-1, 1]."""

    def __init__(self):
        super().__init__()
        layers, inputs, number = {}, 3, 0
        for width in WIDTHS:
            if width != "pool":
                layers[number], inputs = Conv(inputs, width), width
            number += 1 if width == "pool" else 2
        self.features = NumberedModules(layers)
        self._numbers = list(layers)

    def execute(self, x):
        """x (B, 3, H, W) -> {number: features}."""
        found = {}
        for number in self._numbers:
            if number in (5, 10, 19, 28):
                x = nn.max_pool2d(x, 2, 2)
            layer = self.features[number]
            x = nn.relu(conv2d(x, layer.weight, layer.bias, padding=1))
            if number in COMPARED:
                found[number] = x
        return found

    def loss(self, images, real):
        """Of images (B, 3, H, W) to real ones; no gradient goes to these."""
        with jt.no_grad():
            expected = self(real)
        found = self(images)
        return sum(weight * l1(found[number], expected[number].detach()) for number, weight in COMPARED.items())


def load_vgg(path):
    """The network with torchvision's weights, its classifier left out; UserError for any other file."""
    model = VGG19()
    names = parameters_of(model)
    tensors = open_weight_file(path).tensors
    if not set(names) & set(tensors):
        raise UserError(f"gan.vgg is {path}: its names are not those of torchvision's VGG19")
    fill(model, {name: np.asarray(tensors[name].numpy(), dtype=np.float32) for name in names if name in tensors}, str(path))
    for var in names.values():
        var.stop_grad()
    settle(model)
    return model
