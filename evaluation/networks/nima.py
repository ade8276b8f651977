"""NIMA (Talebi and Milanfar 2018), the aesthetic score of an image: MobileNet (Howard et al. 2017) with ten classes, the
scores 1 to 10.

Weights are those of Keras files: idealo's weights_mobilenet_aesthetic_0.07.hdf5, titu1994's mobilenet_weights.h5, or the same
tensors in an npz. Their names are layer/variable; folders before them and a :0 after them do not matter. The width of the
network is read from the weights.
"""
import numpy as np
from PIL import Image

from evaluation.networks.layers import Convolution, Depthwise, batch_of_one, inference, relu6
from evaluation.networks.pretrained import filled, folded, outputs, read_exactly
from models.layers import NumberedModules, parameters_of
from runtime.backend import jt, nn
from runtime.errors import UserError

SIDE = 224
SCORES = 10
EPS = 1e-3
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
          (1024, 2), (1024, 1))                     # width, where that of the first convolution is 32, and stride
STATISTICS = "gamma", "beta", "moving_mean", "moving_variance"
RESIZE = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR}


class Block(nn.Module):
    """3x3 depthwise, then 1x1, each with ReLU6."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        # Keras pads below and on the right only before it halves the size.
        self.depthwise = Depthwise(inputs, stride, padding=(1, 1) if stride == 1 else (0, 1))
        self.pointwise = Convolution(inputs, outputs)

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        return relu6(self.pointwise(relu6(self.depthwise(x))))


class NIMA(nn.Module):
    """Images -> the probability of every score."""

    def __init__(self, width=32):
        super().__init__()
        self.conv1 = Convolution(3, width, 3, stride=2)
        inputs, blocks = width, {}
        for i, (outs, stride) in enumerate(BLOCKS, 1):
            blocks[i] = Block(inputs, outs * width // 32, stride)
            inputs = outs * width // 32
        self.block = NumberedModules(blocks)
        self.classifier = Convolution(inputs, SCORES)

    @inference
    def features(self, x):
        """x (B, 3, H, W) float32 in [-1, 1], H and W multiples of 32 -> (B, 1024)."""
        if x.shape[2] % 32 or x.shape[3] % 32:
            raise ValueError(f"NIMA: expected images (B, 3, H, W) with H and W multiples of 32, got {tuple(x.shape)}")
        x = relu6(self.conv1(nn.pad(x, (0, 1, 0, 1))))
        for block in self.block:
            x = block(x)
        return x.reshape(*x.shape[:2], -1).mean(2)

    @inference
    def execute(self, x):
        """x (B, 3, H, W) float32 in [-1, 1], H and W multiples of 32 -> probabilities of the scores 1 to 10, (B, 10)."""
        h = self.features(x)
        return nn.softmax(self.classifier(h.reshape(*h.shape, 1, 1)).reshape(h.shape[0], -1), dim=1)

    def predict(self, images, resize="nearest"):
        """uint8 images (H, W, 3) -> probabilities of the scores 1 to 10, (B, 10) float32.

        resize: how images become 224x224: "nearest", as idealo's files were trained and measured, or "bilinear".
        """
        if resize not in RESIZE:
            raise UserError(f"resize: found {resize!r}, expected one of {', '.join(RESIZE)}")
        found = [self(jt.array(batch_of_one(image, (SIDE, SIDE), RESIZE[resize]) / np.float32(127.5) - 1)).numpy()
                 for image in images]
        return np.concatenate(found) if found else np.zeros((0, SCORES), np.float32)


def build_nima(tensors, where="NIMA weights"):
    """The network with the weights in {name: tensor}; UserError for any other network's."""
    tensors = keras_names(tensors, where)
    classifier = classifier_of(tensors, where)
    model = NIMA(outputs(tensors, "conv1/kernel", where, 3))
    parameters, layers = parameters_of(model), layers_of(classifier)
    shapes = {}
    for layer, (kernel, norm) in layers.items():
        weight = parameters[f"{layer}.weight"].shape
        shapes[kernel] = (weight[1], weight[0]) if layer == "classifier" else [weight[i] for i in kernel_axes(layer)]
        names = [f"{norm}/{name}" for name in STATISTICS] if norm else [f"{classifier}/bias"]
        shapes.update({name: weight[:1] for name in names})
    arrays = read_exactly(tensors, shapes, where)
    values = {}
    for layer, (kernel, norm) in layers.items():
        if norm:
            weight = arrays[kernel].transpose(np.argsort(kernel_axes(layer)))
            weight, bias = folded(weight, *(arrays[f"{norm}/{name}"] for name in STATISTICS), EPS)
        else:
            weight, bias = arrays[kernel].T, arrays[f"{classifier}/bias"]
        values[f"{layer}.weight"], values[f"{layer}.bias"] = weight, bias
    return filled(model, values, where)


def layers_of(classifier):
    """{our layer: (its kernel, its normalisation) in Keras}."""
    layers = {"conv1": ("conv1/kernel", "conv1_bn"), "classifier": (f"{classifier}/kernel", None)}
    for i in range(1, len(BLOCKS) + 1):
        layers[f"block.{i}.depthwise"] = f"conv_dw_{i}/depthwise_kernel", f"conv_dw_{i}_bn"
        layers[f"block.{i}.pointwise"] = f"conv_pw_{i}/kernel", f"conv_pw_{i}_bn"
    return layers


def kernel_axes(layer):
    """Which of our axes (outputs, inputs, height, width) each axis of the Keras kernel is."""
    return (2, 3, 0, 1) if layer.endswith("depthwise") else (2, 3, 1, 0)


def keras_names(tensors, where):
    """The tensors under layer/variable: conv1/kernel for model_weights/conv1/conv1/kernel:0."""
    short, problems = {}, []
    for name, tensor in tensors.items():
        key = "/".join(name.split(":")[0].split("/")[-2:])
        if key in short:
            problems.append(f"{where}: {name} is there twice, as {key}, expected every tensor once")
        short[key] = tensor
    if problems:
        raise UserError(problems)
    return short


def classifier_of(tensors, where):
    """The name of the layer of ten outputs; UserError, with the reason, for networks that only look like it."""
    expected = "expected NIMA on MobileNet, such as idealo's weights_mobilenet_aesthetic_0.07.hdf5"
    if "conv_dw_1/depthwise_kernel" not in tensors:
        raise UserError(f"{where}: no conv_dw_1/depthwise_kernel among its {len(tensors)} tensors, so not Keras' MobileNet; "
                        f"{expected}")
    dense = [name for name, tensor in tensors.items() if name.endswith("/kernel") and len(tensor.shape) == 2]
    ten = [name.rpartition("/")[0] for name in dense if tensors[name].shape[1] == SCORES]
    if len(ten) != 1:
        widths = ", ".join(str(tensors[name].shape[1]) for name in dense) or "none"
        raise UserError(f"{where}: MobileNet with dense layers of width {widths}, expected one of width 10; {expected}")
    return ten[0]
