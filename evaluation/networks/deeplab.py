"""DeepLabV3+ (Chen et al. 2018) on MobileNetV2 (Sandler et al. 2018), which names the ADE20K class of every pixel.

A small stand-in for SegFormer. The weights are an npz with batch normalisation folded in, of the network published for
TensorFlow Lite as lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1; all widths are read from it.
"""
import numpy as np

from evaluation.networks.layers import Convolution, Depthwise, batch_of_one, inference, relu6
from evaluation.networks.pretrained import filled, outputs, read_exactly
from models.kernels.bilinear import label_map, resize
from models.layers import parameters_of
from runtime.backend import jt, nn
from runtime.errors import UserError

STRIDE_2 = 1, 3                                    # blocks that halve the size
DILATION = {**dict.fromkeys(range(7, 14), 2), **dict.fromkeys(range(14, 17), 4)}
ADDED = 2, 4, 5, 7, 8, 9, 11, 12, 14, 15           # blocks whose input is added to their result
LOW = 2                                            # the block from whose middle the fine details are taken
BLOCKS = 17
SIZE = 513, 513                                    # height and width at which it was published; both 1 more than 32 n


class Block(nn.Module):
    """1x1 that widens (not in the first block), 3x3 depthwise, 1x1 that narrows."""

    def __init__(self, index, inputs, middle, outs):
        super().__init__()
        dilation = DILATION.get(index, 1)
        self._widens, self._added = index > 0, index in ADDED
        if self._widens:
            self.expand = Convolution(inputs, middle)
        self.depthwise = Depthwise(middle, 2 if index in STRIDE_2 else 1, dilation, (dilation, dilation))
        self.project = Convolution(middle, outs)

    def execute(self, x):
        """x (B, Cin, H, W) -> the depthwise result (B, Cmiddle, H', W') and the block's (B, Cout, H', W')."""
        middle = relu6(self.depthwise(relu6(self.expand(x)) if self._widens else x))
        y = self.project(middle)
        return middle, x + y if self._added else y


class Separable(nn.Module):
    """3x3 depthwise, 1x1, each with ReLU."""

    def __init__(self, inputs, outs):
        super().__init__()
        self.depthwise, self.pointwise = Depthwise(inputs), Convolution(inputs, outs)

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H, W)."""
        return nn.relu(self.pointwise(nn.relu(self.depthwise(x))))


class DeepLab(nn.Module):
    """Images -> logits of the 151 classes, 0 for unlabelled. `width`: layer name -> its outputs."""

    def __init__(self, width):
        super().__init__()
        self.classes = width("logits")
        self.stem = Convolution(3, width("stem"), 3, stride=2, padding=1)
        inputs = width("stem")
        for i in range(BLOCKS):
            setattr(self, f"block{i}", Block(i, inputs, width(f"block{i}.depthwise"), width(f"block{i}.project")))
            inputs = width(f"block{i}.project")
        self.image_pooling = Convolution(inputs, width("image_pooling"))
        self.aspp0 = Convolution(inputs, width("aspp0"))
        self.concat_projection = Convolution(width("image_pooling") + width("aspp0"), width("concat_projection"))
        self.low_level = Convolution(width(f"block{LOW}.depthwise"), width("low_level"))
        self.decoder0 = Separable(width("concat_projection") + width("low_level"), width("decoder0.pointwise"))
        self.decoder1 = Separable(width("decoder0.pointwise"), width("decoder1.pointwise"))
        self.logits = Convolution(width("decoder1.pointwise"), width("logits"))

    @inference
    def execute(self, x):
        """x (B, 3, H, W) in [-1, 1], H and W 1 more than a multiple of 32 -> logits (B, 151, H, W)."""
        if x.shape[2] % 32 != 1 or x.shape[3] % 32 != 1:
            raise ValueError(f"DeepLab: expected images (B, 3, H, W) with H and W 1 more than a multiple of 32, "
                             f"got {tuple(x.shape)}")
        size = x.shape[2:]
        x = relu6(self.stem(x))
        for i in range(BLOCKS):
            middle, x = getattr(self, f"block{i}")(x)
            if i == LOW:
                low = nn.relu(self.low_level(middle))
        mean = x.reshape(*x.shape[:2], -1).mean(2).reshape(*x.shape[:2], 1, 1)
        context, local = nn.relu(self.image_pooling(mean)), nn.relu(self.aspp0(x))
        context = context.broadcast([context.shape[0], context.shape[1], *x.shape[2:]])
        x = nn.relu(self.concat_projection(jt.concat([context, local], dim=1)))
        x = jt.concat([resize(x, low.shape[2:], align_corners=True), low], dim=1)
        return resize(self.logits(self.decoder1(self.decoder0(x))), size, align_corners=True)

    def predict(self, images, size=SIZE):
        """uint8 images (H, W, 3) -> their labels (H, W) int32: 0 for unlabelled, ADE20K's 150 classes counted from 1.

        size: height and width at which the network sees them, each 1 more than a multiple of 32 (bilinear, by Pillow).
        """
        if any(side % 32 != 1 for side in size):
            raise UserError(f"size: found {tuple(size)}, expected height and width 1 more than a multiple of 32, as {SIZE}")
        found = []
        for image in images:
            logits = self(jt.array(batch_of_one(image, size) / np.float32(127.5) - 1))
            found.append(label_map(logits, image.shape[:2]).numpy()[0])
        return found


def build_deeplab(tensors, where="DeepLab weights"):
    """The network with the weights in {name: tensor}; UserError for any other network's."""
    if "block0.depthwise.weight" not in tensors or "concat_projection.weight" not in tensors:
        raise UserError(f"{where}: no block0.depthwise.weight and concat_projection.weight among its {len(tensors)} tensors, "
                        "expected the npz of DeepLabV3+ on MobileNetV2 with batch normalisation folded in")
    model = DeepLab(lambda layer: outputs(tensors, f"{layer}.weight", where))
    shapes = {name: var.shape for name, var in parameters_of(model).items()}
    return filled(model, read_exactly(tensors, shapes, where), where)
