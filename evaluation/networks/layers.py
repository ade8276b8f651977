"""Layers of the evaluation networks, which only run forwards, and pictures as these networks take them."""
import functools

import numpy as np
from PIL import Image

from models.kernels.conv import conv2d
from models.kernels.depthwise import depthwise
from runtime.backend import jt, nn
from runtime.errors import UserError


def inference(method):
    """A method that keeps nothing for a backward pass: a network's intermediate images are freed as soon as they are used."""
    @functools.wraps(method)
    def run(*args):
        with jt.no_grad():
            return method(*args)
    return run


class Convolution(nn.Module):
    """Convolution with bias, any kernel: numbers, or pairs (height, width)."""

    def __init__(self, inputs, outputs, kernel=1, stride=1, padding=0):
        super().__init__()
        self._stride, self._padding = stride, padding
        kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        self.weight = jt.zeros((outputs, inputs, *kernel))
        self.bias = jt.zeros((outputs,))

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H', W')."""
        return conv2d(x, self.weight, self.bias, self._stride, self._padding)


class Depthwise(nn.Module):
    """3x3 convolution with bias of every channel by itself; padding: zeros before and after."""

    def __init__(self, channels, stride=1, dilation=1, padding=(1, 1)):
        super().__init__()
        self._geometry = stride, dilation, padding
        self.weight = jt.zeros((channels, 1, 3, 3))
        self.bias = jt.zeros((channels,))

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, H', W')."""
        return depthwise(x, self.weight, self.bias, *self._geometry)


def relu6(x):
    """min(max(x, 0), 6)."""
    return jt.minimum(jt.maximum(x, 0), 6)


def batch_of_one(image, size=None, how=Image.BILINEAR):
    """A uint8 image (H, W, 3) as float32 (1, 3, H, W), 0 to 255; resized by Pillow to a size (height, width) if there is one.
    Raises UserError for anything else."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"image: found {image.dtype} of shape {image.shape}, expected uint8 (H, W, 3)")
    if size is not None:
        image = np.asarray(Image.fromarray(image).resize((size[1], size[0]), how))
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)
