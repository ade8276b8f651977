"""A SegFormer of one's own, which names the challenge's class of every pixel: evaluation/networks/segformer.py with a gradient.

It can begin with published weights: a whole SegFormer, or an encoder alone as trained on ImageNet (mit_b0 to mit_b5).
"""
import numpy as np

from evaluation.networks.layers import batch_of_one
from evaluation.networks.segformer import (
    CLASSIFIER,
    DEVIATION,
    FUSE,
    FUSE_NORM,
    LEVEL,
    MEAN,
    STAGE,
    STATISTICS,
    SegFormer,
    Size,
    build_segformer,
)
from models.kernels.bilinear import label_map, taps
from models.layers import initialise, parameters_of
from models.weights.checkpoint import RAW, fill, read_header, stored_tensors
from models.weights.formats import open_weight_file
from runtime.backend import jt, nn
from runtime.errors import UserError

HIDDEN = 4          # width inside the multilayer perceptrons, in widths of the stage
SMALLEST = 32       # pixels: the coarsest stage sees a 32nd of an image
PREFIXES = "segformer.", "segformer.", "backbone."   # of the encoder's names, which an encoder saved alone may lack


class Segmenter(SegFormer):
    """The network of a SegmenterConfig. predict() is that of images of the size it was trained on."""

    def __init__(self, config):
        super().__init__(Size(tuple(config.widths), tuple(config.depths), tuple(HIDDEN * width for width in config.widths),
                              tuple(config.reductions), config.decoder, config.classes))

    def execute(self, x):
        """x (B, 3, H, W), normalised as ImageNet -> logits (B, classes, H/4, W/4). Differentiable."""
        total = None
        for stage, level in zip(self.stage, self.level):
            x = stage(x)
            y = level(x)
            total = y if total is None else total + enlarge(y, total.shape[2:])
        return self.classifier(nn.relu(total))

    def predict(self, images, size):
        """uint8 images (H, W, 3) -> their labels (H, W) int32. size: (height, width) at which the network sees them."""
        found = []
        for image in images:
            with jt.no_grad():
                resized = image.shape[:2] == tuple(size)
                logits = self(jt.array(normalised(batch_of_one(image, None if resized else size))))
                found.append(label_map(logits, image.shape[:2]).numpy()[0])
        return found


def normalised(images):
    """float32 images (B, 3, H, W), 0 to 255 -> the same as ImageNet's networks take them."""
    mean, deviation = (np.array(values, dtype=np.float32).reshape(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (images / np.float32(255) - mean) / deviation


def enlarge(x, size):
    """x (B, C, h, w) -> (B, C, *size), bilinear, borders aligned. Differentiable: two products with fixed matrices."""
    for after in (size[1], size[0]):
        batch, channels, height, width = x.shape
        low, high, share = taps(width, after)
        matrix = np.zeros((width, after), dtype=np.float32)
        np.add.at(matrix, (low, np.arange(after)), 1 - share)
        np.add.at(matrix, (high, np.arange(after)), share)
        x = nn.matmul(x.reshape(-1, width), jt.array(matrix))                   # (B C h, W)
        x = x.reshape(batch, channels, height, after).transpose(0, 1, 3, 2)     # (B, C, W, h)
    return x


def build_segmenter(config, seed=None):
    """The segmenter of a SegmenterConfig; with a seed its weights are drawn, else they are to be loaded."""
    model = Segmenter(config)
    if seed is not None:
        initialise(model, seed)
    return model


def load_segmenter(path, config, weights="ema"):
    """A segmenter from a checkpoint of ours. config: the SegmenterConfig in the checkpoint."""
    model = build_segmenter(config)
    prefix = "" if weights == read_header(path, "segmenter").weights else RAW
    fill(model, stored_tensors(path, prefix), f"{path} ({weights} weights)")
    return model


def published(path, decoder):
    """(Size, {our name: array}, whether it has a head) of a SegFormer or its encoder in somebody else's file.

    Without a head the arrays are the encoder's, and `decoder` is the Size's. Raises UserError for any other network.
    """
    tensors = open_weight_file(path).tensors
    scheme, tensors = with_prefix(tensors)
    headless = scheme is not None and f"{FUSE[scheme]}.weight" not in tensors
    if headless:
        tensors = with_empty_head(tensors, scheme, decoder)
    model = build_segformer(tensors, str(path))
    if any(hidden != HIDDEN * width for hidden, width in zip(model.size.hidden, model.size.widths)):
        raise UserError(f"{path}: its perceptrons are {model.size.hidden} wide, expected {HIDDEN} times {model.size.widths}")
    arrays = {name: var.numpy() for name, var in parameters_of(model).items() if name.startswith("stage.") or not headless}
    return model.size, arrays, not headless


def with_prefix(tensors):
    """(whose names they are or None, the tensors under those names) of a whole network's or an encoder's tensors."""
    for scheme, names in enumerate(STAGE["patch"]):
        first, prefix = names.format(i=0, k=1) + ".weight", PREFIXES[scheme]
        if first in tensors:
            return scheme, tensors
        if first[len(prefix):] in tensors:
            return scheme, {prefix + name: tensor for name, tensor in tensors.items()}
    return None, tensors


def with_empty_head(tensors, scheme, decoder):
    """An encoder's tensors, the classifier of what it was trained for left out, and a head of zeros."""
    encoder = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIXES[scheme])
               and not name[len(PREFIXES[scheme]):].startswith(("head.", "classifier.", "decode_head."))}
    zeros = lambda *shape: np.zeros(shape, dtype=np.float32)
    head = {f"{FUSE[scheme]}.weight": zeros(decoder, 4 * decoder, 1, 1),
            f"{CLASSIFIER[scheme]}.weight": zeros(1, decoder, 1, 1), f"{CLASSIFIER[scheme]}.bias": zeros(1),
            **{f"{FUSE_NORM[scheme]}.{name}": zeros(decoder) for name in STATISTICS}}
    for i in range(4):
        width = encoder[STAGE["norm"][scheme].format(i=i, k=i + 1) + ".weight"].shape[0]
        level = LEVEL[scheme].format(i=i, k=i + 1)
        head.update({f"{level}.weight": zeros(decoder, width), f"{level}.bias": zeros(decoder)})
    return {**encoder, **head}
