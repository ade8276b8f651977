"""SegFormer (Xie et al. 2021), B0 to B5, which names the ADE20K class of every pixel.

The size is read from the weights, which may have the names of Hugging Face transformers 4 (so are the files of the hub) or 5,
or of NVlabs' own repository. Images are (B, C, H, W) all the way: what the paper calls tokens are pixels here, a linear layer
is a 1x1 convolution. NVIDIA's weights are for research and evaluation only.
"""
from dataclasses import dataclass

import numpy as np

from evaluation.networks.layers import Convolution, Depthwise, batch_of_one, inference
from evaluation.networks.pretrained import filled, folded, outputs, read_exactly
from models.kernels.bilinear import label_map, resize
from models.kernels.cross_attention import cross_attention
from models.layers import NumberedModules, parameters_of
from runtime.backend import jt, nn
from runtime.errors import UserError

HEADS = 1, 2, 5, 8                                               # of the four stages, in every size
PATCH = (7, 4), (3, 2), (3, 2), (3, 2)                           # kernel and stride with which a stage begins
EPS = 1e-5                                                       # of normalisation (batch and layer)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)   # of ImageNet, in [0, 1]
PUBLISHED = {                                                    # name: first width, blocks of the stages, width of the head
    "B0": (32, (2, 2, 2, 2), 256), "B1": (64, (2, 2, 2, 2), 256), "B2": (64, (3, 4, 6, 3), 768),
    "B3": (64, (3, 4, 18, 3), 768), "B4": (64, (3, 8, 27, 3), 768), "B5": (64, (3, 6, 40, 3), 768)}

# Our layer: its name in Hugging Face 4, in Hugging Face 5 and in NVlabs' files (k = i + 1; |n is the n-th half of its rows).
STAGE = {
    "patch": ("segformer.encoder.patch_embeddings.{i}.proj", "segformer.stages.{i}.patch_embeddings.proj",
              "backbone.patch_embed{k}.proj"),
    "patch_norm": ("segformer.encoder.patch_embeddings.{i}.layer_norm", "segformer.stages.{i}.patch_embeddings.layer_norm",
                   "backbone.patch_embed{k}.norm"),
    "norm": ("segformer.encoder.layer_norm.{i}", "segformer.stages.{i}.layer_norm", "backbone.norm{k}")}
BLOCKS = "segformer.encoder.block.{i}.{j}.", "segformer.stages.{i}.blocks.{j}.", "backbone.block{k}.{j}."
BLOCK = {
    "norm1": ("layer_norm_1", "layernorm_before", "norm1"),
    "query": ("attention.self.query", "attention.q_proj", "attn.q"),
    "key": ("attention.self.key", "attention.k_proj", "attn.kv|0"),
    "value": ("attention.self.value", "attention.v_proj", "attn.kv|1"),
    "reduce": ("attention.self.sr", "attention.sequence_reduction.sequence_reduction", "attn.sr"),
    "reduce_norm": ("attention.self.layer_norm", "attention.sequence_reduction.layer_norm", "attn.norm"),
    "out": ("attention.output.dense", "attention.o_proj", "attn.proj"),
    "norm2": ("layer_norm_2", "layernorm_after", "norm2"),
    "mlp1": ("mlp.dense1", "mlp.fc1", "mlp.fc1"),
    "depthwise": ("mlp.dwconv.dwconv",) * 3,
    "mlp2": ("mlp.dense2", "mlp.fc2", "mlp.fc2")}
LINEAR = "query", "key", "value", "out", "mlp1", "mlp2"          # stored as (outputs, inputs)
LEVEL = "decode_head.linear_c.{i}.proj", "decode_head.linear_projections.{i}.proj", "decode_head.linear_c{k}.proj"
FUSE = "decode_head.linear_fuse", "decode_head.linear_fuse", "decode_head.linear_fuse.conv"
FUSE_NORM = "decode_head.batch_norm", "decode_head.batch_norm", "decode_head.linear_fuse.bn"
CLASSIFIER = "decode_head.classifier", "decode_head.classifier", "decode_head.linear_pred"
STATISTICS = "weight", "bias", "running_mean", "running_var"
HUGGING_FACE_4, HUGGING_FACE_5, NVLABS = range(3)
UNUSED = "decode_head.conv_seg.weight", "decode_head.conv_seg.bias", ".num_batches_tracked"


@dataclass
class Size:
    """What the shapes of the weights say, stage by stage where there are four."""
    widths: tuple
    depths: tuple
    hidden: tuple        # width inside the multilayer perceptrons
    reductions: tuple    # side of the square of pixels that becomes one key
    decoder: int
    classes: int

    @property
    def name(self):
        """B0 to B5, or "of its own"."""
        found = [name for name, published in PUBLISHED.items() if published == (self.widths[0], self.depths, self.decoder)]
        return found[0] if found else "of its own"


class ChannelNorm(nn.Module):
    """Layer normalisation of every pixel over its channels."""

    def __init__(self, channels, eps):
        super().__init__()
        self._eps = eps
        self.weight, self.bias = jt.ones((channels,)), jt.zeros((channels,))

    def execute(self, x):
        """x (B, C, H, W) -> like x."""
        x = x - x.sum(1, keepdims=True) / x.shape[1]
        x = x / jt.sqrt((x * x).sum(1, keepdims=True) / x.shape[1] + self._eps)
        return x * self.weight.reshape(1, -1, 1, 1) + self.bias.reshape(1, -1, 1, 1)


class Block(nn.Module):
    """Attention to a reduced image, then a perceptron with a 3x3 convolution inside; both added to the input."""

    def __init__(self, width, heads, hidden, reduction, eps):
        super().__init__()
        self._heads = heads
        self.norm1 = ChannelNorm(width, eps)
        self.query, self.key, self.value = (Convolution(width, width) for _ in range(3))
        if reduction > 1:
            self.reduce, self.reduce_norm = Convolution(width, width, reduction, reduction), ChannelNorm(width, EPS)
        self._reduced = reduction > 1
        self.out = Convolution(width, width)
        self.norm2 = ChannelNorm(width, eps)
        self.mlp1, self.depthwise, self.mlp2 = Convolution(width, hidden), Depthwise(hidden), Convolution(hidden, width)

    def execute(self, x):
        """x (B, C, H, W) -> like x."""
        h = self.norm1(x)
        small = self.reduce_norm(self.reduce(h)) if self._reduced else h
        q, k, v = (y.reshape(y.shape[0], y.shape[1], -1) for y in (self.query(h), self.key(small), self.value(small)))
        x = x + self.out(cross_attention(q, k, v, self._heads).reshape(x.shape))
        return x + self.mlp2(gelu(self.depthwise(self.mlp1(self.norm2(x)))))


def gelu(x):
    """x times the normal distribution's probability of less than x."""
    return 0.5 * x * (1 + jt.erf(x / 2 ** 0.5))


class Stage(nn.Module):
    """Overlapping patches, blocks, normalisation."""

    def __init__(self, inputs, index, size, eps):
        super().__init__()
        width, (kernel, stride) = size.widths[index], PATCH[index]
        self.patch, self.patch_norm = Convolution(inputs, width, kernel, stride, kernel // 2), ChannelNorm(width, EPS)
        self.block = NumberedModules({j: Block(width, HEADS[index], size.hidden[index], size.reductions[index], eps)
                            for j in range(size.depths[index])})
        self.norm = ChannelNorm(width, eps)

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, C, H / stride, W / stride)."""
        x = self.patch_norm(self.patch(x))
        for block in self.block:
            x = block(x)
        return self.norm(x)


class SegFormer(nn.Module):
    """Images -> class logits at a quarter of the resolution."""

    def __init__(self, size, eps=EPS):
        super().__init__()
        self.size, self.classes = size, size.classes
        self.side = 640 if size.name == "B5" else 512   # of the square that images are resized to
        self.stage = NumberedModules({i: Stage(size.widths[i - 1] if i else 3, i, size, eps) for i in range(4)})
        # The published head projects every level, enlarges it, and fuses all of them by one more linear layer and batch
        # normalisation. All of that but the enlarging is linear per pixel, so one layer per level does it before.
        self.level = NumberedModules({i: Convolution(size.widths[i], size.decoder) for i in range(4)})
        self.classifier = Convolution(size.decoder, size.classes)

    @inference
    def execute(self, x):
        """x (B, 3, H, W), normalised as ImageNet -> logits (B, classes, H/4, W/4)."""
        total = None
        for stage, level in zip(self.stage, self.level):
            x = stage(x)
            y = level(x)
            total = y if total is None else total + resize(y, total.shape[2:])
        return self.classifier(nn.relu(total))

    def predict(self, images, side=None):
        """uint8 images (H, W, 3) -> their labels (H, W) int32, the classes counted from 0, 150 of them for ADE20K.

        As the Hugging Face processor does it: resized to a square (bilinear, by Pillow), logits resized back.
        """
        side = side or self.side
        mean, deviation = (np.array(values, dtype=np.float32).reshape(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        found = []
        for image in images:
            x = (batch_of_one(image, (side, side)) / np.float32(255) - mean) / deviation
            found.append(label_map(self(jt.array(x)), image.shape[:2]).numpy()[0])
        return found


def build_segformer(tensors, where="SegFormer weights"):
    """The network with the weights in {name: tensor}, of any size; UserError for any other network's."""
    scheme = scheme_of(tensors, where)
    size = size_of(tensors, scheme, where)
    # NVlabs' network has a smaller eps in its blocks, which the Hugging Face one, made from its weights, has not.
    model = SegFormer(size, eps=1e-6 if scheme == NVLABS else EPS)
    parameters, places = parameters_of(model), places_of(size, scheme)
    shapes = {}
    for layer, place in places.items():
        for kind in ("weight", "bias"):
            shape = list(parameters[f"{layer}.{kind}"].shape)
            if layer.endswith(LINEAR) or layer.startswith("level."):
                shape = shape[:2]
            file_layer, _, half = place.partition("|")
            shapes[f"{file_layer}.{kind}"] = [2 * shape[0], *shape[1:]] if half else shape
    fuse, norm = FUSE[scheme], FUSE_NORM[scheme]
    shapes[f"{fuse}.weight"] = [size.decoder, 4 * size.decoder, 1, 1]
    shapes.update({f"{norm}.{name}": [size.decoder] for name in STATISTICS})
    arrays = read_exactly(tensors, shapes, where, UNUSED)
    values = {}
    for layer, place in places.items():
        file_layer, _, half = place.partition("|")
        for kind in ("weight", "bias"):
            array = arrays[f"{file_layer}.{kind}"]
            values[f"{layer}.{kind}"] = np.split(array, 2)[int(half)] if half else array
    fold_head(values, arrays[f"{fuse}.weight"][:, :, 0, 0], [arrays[f"{norm}.{name}"] for name in STATISTICS])
    return filled(model, values, where)


def fold_head(values, fuse, statistics):
    """Multiplies the fusing layer (D, 4 D), which takes the coarsest level first, and its batch normalisation into the
    projections of the levels, in float64; what is constant goes to level 0."""
    weight, bias = folded(fuse, *statistics, EPS)
    for i, part in enumerate(reversed(np.split(weight, 4, axis=1))):
        for kind in ("weight", "bias"):
            values[f"level.{i}.{kind}"] = part @ values[f"level.{i}.{kind}"].astype(np.float64)
    values["level.0.bias"] += bias


def places_of(size, scheme):
    """{our layer: its name in the file} of all layers but the fusing one and its normalisation."""
    places = {"classifier": CLASSIFIER[scheme]}
    for i in range(4):
        places[f"level.{i}"] = LEVEL[scheme].format(i=i, k=i + 1)
        places.update({f"stage.{i}.{layer}": names[scheme].format(i=i, k=i + 1) for layer, names in STAGE.items()})
        for j in range(size.depths[i]):
            prefix = BLOCKS[scheme].format(i=i, j=j, k=i + 1)
            places.update({f"stage.{i}.block.{j}.{layer}": prefix + names[scheme] for layer, names in BLOCK.items()
                           if size.reductions[i] > 1 or not layer.startswith("reduce")})
    return places


def scheme_of(tensors, where):
    """Whose names the tensors have; UserError, with the reason, for networks that only look like it."""
    expected = "expected Hugging Face's SegformerForSemanticSegmentation or NVlabs' segformer.*.ade.*.pth"
    if "backbone.layers.0.0.projection.weight" in tensors:
        raise UserError(f"{where}: OpenMMLab's own layout (backbone.layers...), which is not read; {expected}")
    for scheme, names in enumerate(STAGE["patch"]):
        if names.format(i=0, k=1) + ".weight" in tensors:
            if f"{FUSE[scheme]}.weight" not in tensors:
                raise UserError(f"{where}: no {FUSE[scheme]}.weight, only an encoder (as trained on ImageNet) or another head; "
                                f"{expected}")
            return scheme
    if "patch_embed1.proj.weight" in tensors:
        raise UserError(f"{where}: NVlabs' encoder alone (mit_b*.pth), as trained on ImageNet; {expected}")
    raise UserError(f"{where}: no SegFormer's names among its {len(tensors)} tensors; {expected}")


def size_of(tensors, scheme, where):
    """The Size that the shapes of the tensors say; UserError where a tensor that says it is missing."""
    name = lambda layer, i, j=0: (STAGE[layer][scheme] if layer in STAGE else BLOCKS[scheme] + BLOCK[layer][scheme]).format(
        i=i, j=j, k=i + 1) + ".weight"
    depths = []
    for i in range(4):
        depths.append(1)
        while name("norm1", i, depths[i]) in tensors:
            depths[i] += 1
    widths = tuple(outputs(tensors, name("patch", i), where) for i in range(4))
    if any(width % heads for width, heads in zip(widths, HEADS)):
        raise UserError(f"{where}: its stages are {widths} wide, expected multiples of {HEADS} (the attention heads)")
    return Size(
        widths=widths, depths=tuple(depths), hidden=tuple(outputs(tensors, name("mlp1", i), where) for i in range(4)),
        reductions=tuple(outputs(tensors, name("reduce", i), where, 2) if name("reduce", i) in tensors else 1
                         for i in range(4)),
        decoder=outputs(tensors, f"{FUSE[scheme]}.weight", where),
        classes=outputs(tensors, f"{CLASSIFIER[scheme]}.weight", where))
