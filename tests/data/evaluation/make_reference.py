"""Makes keys.json and reference.npz beside it: what PyTorch, and Hugging Face's SegFormer, make of drawn weights.

    pip install torch pytest transformers==4.46.3
    python -m tests.data.evaluation.make_reference --first --complete FOLDER
    pip install transformers==5.23.0
    python -m tests.data.evaluation.make_reference --second

From the root of the repository. `--complete FOLDER` adds small parts of outputs that pytorch-fid 0.3.0
(inception_fid_deterministic.npz), transformers 4.46 (segformer_b0_deterministic.npz) and Keras 3
(nima_mobilenet_deterministic.npz) gave.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from tests.published import FOLDER, batch, drawn, photo

NARROW = dict(hidden_sizes=[8, 16, 40, 64], depths=[1, 2, 1, 1], decoder_hidden_size=24, num_labels=7)
PICTURE = 45, 70


def filled(model):
    """A torch module with drawn weights, and their shapes."""
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.tensor(drawn(name, shape)) for name, shape in shapes.items()})
    return model.eval(), shapes


def segformer(**config):
    """Hugging Face's network with drawn weights, and their shapes."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation
    return filled(SegformerForSemanticSegmentation(SegformerConfig(**{"num_labels": 150, **config})))


def normalised(image):
    """uint8 (H, W, 3) -> (1, 3, H, W), as ImageNet's networks take it."""
    mean, deviation = (np.array(v, dtype=np.float32).reshape(1, 3, 1, 1)
                       for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return torch.tensor((batch(image) / 255 - mean) / deviation)


# ---------------------------------------------------------------------------- DeepLabV3+ on MobileNetV2, folded

def deeplab_shapes(stem, middles, outs, pool, low, decoder, classes):
    """{name: shape} of its weights."""
    shapes, inputs = {"stem": (stem, 3, 3, 3)}, stem
    for i, (middle, out) in enumerate(zip(middles, outs)):
        if i:
            shapes[f"block{i}.expand"] = middle, inputs, 1, 1
        shapes[f"block{i}.depthwise"] = middle, 1, 3, 3
        shapes[f"block{i}.project"] = out, middle, 1, 1
        inputs = out
    shapes["image_pooling"] = shapes["aspp0"] = pool, inputs, 1, 1
    shapes["concat_projection"] = pool, 2 * pool, 1, 1
    shapes["low_level"] = low, middles[2], 1, 1
    for name, width in (("decoder0", pool + low), ("decoder1", decoder)):
        shapes[f"{name}.depthwise"], shapes[f"{name}.pointwise"] = (width, 1, 3, 3), (decoder, width, 1, 1)
    shapes["logits"] = classes, decoder, 1, 1
    return {f"{name}.{kind}": list(shape if kind == "weight" else shape[:1])
            for name, shape in shapes.items() for kind in ("weight", "bias")}


def deeplab(w, x):
    """x (B, 3, H, W) in [-1, 1] -> logits (B, classes, H, W)."""
    def conv(name, x, stride=1, dilation=1):
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        groups = x.shape[1] if weight.shape[1] == 1 and x.shape[1] > 1 else 1
        return F.conv2d(x, weight, bias, stride, dilation * (weight.shape[-1] // 2), dilation, groups)

    size, low, x = x.shape[2:], None, F.relu6(conv("stem", x, 2))
    for i in range(17):
        h = F.relu6(conv(f"block{i}.expand", x)) if i else x
        h = F.relu6(conv(f"block{i}.depthwise", h, 2 if i in (1, 3) else 1, 4 if i > 13 else 2 if i > 6 else 1))
        low = h if i == 2 else low
        h = conv(f"block{i}.project", h)
        x = x + h if i in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15) else h
    pooled = F.relu(conv("image_pooling", x.mean((2, 3), keepdim=True))).expand(-1, -1, *x.shape[2:])
    x = F.relu(conv("concat_projection", torch.cat([pooled, F.relu(conv("aspp0", x))], 1)))
    low = F.relu(conv("low_level", low))
    x = torch.cat([F.interpolate(x, low.shape[2:], mode="bilinear", align_corners=True), low], 1)
    for name in ("decoder0", "decoder1"):
        x = F.relu(conv(f"{name}.pointwise", F.relu(conv(f"{name}.depthwise", x))))
    return F.interpolate(conv("logits", x), size, mode="bilinear", align_corners=True)


# ---------------------------------------------------------------------------- SqueezeNet 1.1 and LPIPS

FIRES = (64, 16, 128), (128, 16, 128), (128, 32, 256), (256, 32, 256), (256, 48, 384), (384, 48, 384), (384, 64, 512), \
    (512, 64, 512)


def squeezenet_shapes(caffe):
    """{name: shape} in the names of torchvision or of the Caffe network's npz."""
    shapes = {"conv1" if caffe else "features.0": (64, 3, 3, 3)}
    for n, place, (inputs, squeezed, outs) in zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), FIRES):
        owner, squeeze = (f"fire{n}", "squeeze1x1") if caffe else (f"features.{place}", "squeeze")
        shapes[f"{owner}.{squeeze}"] = squeezed, inputs, 1, 1
        shapes[f"{owner}.expand1x1"] = outs // 2, squeezed, 1, 1
        shapes[f"{owner}.expand3x3"] = outs // 2, squeezed, 3, 3
    return {f"{name}.{kind}": list(shape if kind == "weight" else shape[:1])
            for name, shape in shapes.items() for kind in ("weight", "bias")}


def squeezenet(w, x, caffe):
    """x (B, 3, H, W) in [-1, 1] -> the seven maps that LPIPS compares."""
    layers = [name[:-len(".weight")] for name in w if name.endswith(".weight")]
    conv = lambda layer, x, **options: F.relu(F.conv2d(x, w[f"{layer}.weight"], w[f"{layer}.bias"], **options))
    column = lambda *values: torch.tensor(values).reshape(1, 3, 1, 1)
    if caffe:
        x = (x.flip(1) + 1) * 127.5 - column(103.939, 116.779, 123.68)
    else:
        x = (x - column(-0.030, -0.088, -0.188)) / column(0.458, 0.448, 0.450)
    maps = [conv(layers[0], x, stride=2)]
    for n in range(2, 10):
        squeeze, one, three = layers[3 * n - 5:3 * n - 2]
        x = F.max_pool2d(maps[-1], 3, 2, ceil_mode=not caffe) if n in (2, 4, 6) else maps[-1]
        x = conv(squeeze, x)
        maps.append(torch.cat([conv(one, x), conv(three, x, padding=1)], 1))
    return [maps[i] for i in (0, 2, 4, 5, 6, 7, 8)]


def lpips(heads, one, other):
    """The distance of two lists of maps, (B,)."""
    unit = lambda f: f / (f.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)
    return sum(F.conv2d((unit(a) - unit(b)).pow(2), head).mean((1, 2, 3)) for head, a, b in zip(heads, one, other))


# ---------------------------------------------------------------------------- what is kept

def first(complete):
    """keys.json and reference.npz, with transformers 4."""
    keys, kept = {}, {}
    _, keys["segformer_b0"] = segformer()
    model, keys["segformer_narrow_4"] = segformer(**NARROW)
    kept["segformer_narrow_4"] = model(normalised(photo(*PICTURE, 3))).logits.numpy()

    narrow = 8, 8, 8, 12, 12, 12, 16, 16, 16, 16, 20, 20, 20, 24, 24, 24, 32
    keys["deeplab_narrow"] = deeplab_shapes(8, [8 + 8 * (i % 5) for i in range(17)], narrow, 24, 12, 20, 9)
    w = {name: torch.tensor(drawn(name, shape)) for name, shape in keys["deeplab_narrow"].items()}
    kept["deeplab_narrow"] = deeplab(w, torch.tensor(batch(photo(65, 97, 4)) / 127.5 - 1)).numpy()[:, :, ::4, ::4]

    x = torch.tensor(batch(photo(61, 83, 5), photo(61, 83, 6)) / 127.5 - 1)
    for name, caffe in (("squeezenet_torchvision", False), ("squeezenet_caffe", True)):
        keys[name] = squeezenet_shapes(caffe)
        w = {key: torch.tensor(drawn(key, shape)) for key, shape in keys[name].items()}
        maps = squeezenet(w, x, caffe)
        kept.update({f"{name}_{i}": f.mean((2, 3)).numpy() for i, f in enumerate(maps)})
        heads = [torch.tensor(abs(drawn(f"lin{i}.model.1.weight", (1, f.shape[1], 1, 1)))) for i, f in enumerate(maps)]
        kept[f"{name}_lpips"] = lpips(heads, [f[:1] for f in maps], [f[1:] for f in maps]).numpy()

    keys["inception"] = old_keys()["inception"]                # of the published file
    if complete:
        with np.load(complete / "inception_fid_deterministic.npz") as arrays:
            kept.update({f"inception_{name}": arrays[name][:, ::8] for name in arrays.files})
        with np.load(complete / "segformer_b0_deterministic.npz") as arrays:
            kept["segformer_b0_small"] = arrays["small_logits"][:, ::3, ::2, ::3]
            kept["segformer_b0_labels"] = arrays["argmax_sub"]
        with np.load(complete / "nima_mobilenet_deterministic.npz") as arrays:
            kept.update({f"nima_{name}": arrays[name][:, ::8] if name == "features" else arrays[name] for name in arrays.files})
    save(keys, kept)


def second():
    """The narrow SegFormer again, with transformers 5 and its names."""
    with np.load(FOLDER / "reference.npz") as arrays:
        kept = dict(arrays)
    keys = old_keys()
    model, keys["segformer_narrow_5"] = segformer(**NARROW)
    kept["segformer_narrow_5"] = model(normalised(photo(*PICTURE, 3))).logits.numpy()
    save(keys, kept)


def old_keys():
    """keys.json as it is."""
    path = FOLDER / "keys.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def save(keys, kept):
    """Writes both files, a tensor per line."""
    lines = [f'"{network}": {{\n' + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in shapes.items()) + "\n}"
             for network, shapes in keys.items()]
    (FOLDER / "keys.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    np.savez_compressed(FOLDER / "reference.npz", **kept)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--second", action="store_true")
    parser.add_argument("--complete", type=Path)
    args = parser.parse_args()
    with torch.no_grad():
        if args.first:
            first(args.complete)
        if args.second:
            second()


if __name__ == "__main__":
    main()
