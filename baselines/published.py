"""Published files of the four GANs (`latest_net_G.pth`, `best_net_G.pth`, `_net_E`, `_net_D`): what network
they are of, from names and shapes alone, and their tensors under the names of today."""
import re

import numpy as np

from baselines.config import DOUBLINGS, DiscriminatorConfig, EncoderConfig, GeneratorConfig
from runtime.errors import UserError

MARKS = {"pyramid_spaital_routing.": "scgan", ".ace_0.": "sean", "class_specified_affine": "clade", "mlp_gamma": "gaugan"}
COUNTERS = "num_batches_tracked"       # stays 0 in all published files
# What is in no name and no shape, and what is taken where nobody says otherwise.
ASSUMED = {"upsampling": "normal", "edges": False, "temperature": 0.05, "weighting": "softmax", "position": 0,
           "gaussian_size": 7, "gaussian_sigma": 1.5, "gaussian_steps": 1, "gaussian_relative": False}
OF_FAMILY = {"scgan": list(ASSUMED), "gaugan": ["upsampling", "edges"], "sean": ["upsampling", "edges"],
             "clade": ["upsampling"]}


def family_of(names):
    """gaugan | clade | sean | scgan, or None where the names are of no such generator."""
    if "conv_img.weight" not in names:
        return None
    return next((family for mark, family in MARKS.items() if any(mark in name for name in names)), None)


def infer_generator(shapes, where="generator", size=None, **said):
    """(GeneratorConfig, notes) of {name: shape}. size: (H, W) of the images that a network with encoder
    paints, in which its start lies; said: what cannot be inferred (ASSUMED has the names). Notes say what was
    assumed."""
    family = family_of(shapes)
    if family is None:
        raise UserError(f"{where}: its names are of none of GauGAN, CLADE, SEAN, SCGAN")
    unknown = sorted(set(said) - set(OF_FAMILY[family]))
    if unknown:
        raise UserError(f"{where}: {', '.join(unknown)} cannot be said of a {family} network, expected "
                        f"{', '.join(OF_FAMILY[family])}")
    try:
        config = known(family, shapes)
    except (KeyError, IndexError) as error:
        raise UserError(f"{where}: not a whole {family} network ({error})") from None
    fixed = {"upsampling": "most"} if "up_4.conv_0.weight_orig" in shapes else {}
    if "pyramid_spaital_routing.labelDec7.1.bias" in shapes:
        fixed["upsampling"] = "more"
    if config.vae:
        cells = shapes["fc.weight"][0] // (16 * first_of(config, shapes))
        fixed = {"upsampling": doublings_of(where, cells, size)} if size else fixed
        if not size and cells != 192:
            raise UserError(f"{where}: paints images of {cells} cells at its start, expected their size to be said")
    for name in OF_FAMILY[family]:
        setattr(config, name, fixed.get(name, said.get(name, ASSUMED[name])))
    if config.vae:
        height, width = size or (384, 512)
        config.start = [height >> config.doublings, width >> config.doublings]
    if config.edges and family != "clade":
        config.classes -= 1
    assumed = [name for name in OF_FAMILY[family] if name not in fixed and name not in said]
    notes = [f"{where}: {name} is not in the file, taken as {getattr(config, name)}" for name in assumed
             if name in ("upsampling", "temperature", "position")]
    return config, notes


def known(family, shapes):
    """The GeneratorConfig of what names and shapes do say."""
    fc, image = shapes["fc.weight"], shapes["conv_img.weight"]
    config = GeneratorConfig(family=family, vae=len(fc) == 2)
    config.channels = image[1] * (2 if "up_4.conv_0.weight_orig" in shapes else 1)
    if family in ("gaugan", "clade") and "head_0.norm_0.param_free_norm.running_mean" not in shapes:
        config.norm = "instance"
    if config.vae:
        config.z_dim = fc[1]
    if family == "clade":
        affine = "head_0.norm_0.class_specified_affine"
        config.classes = shapes[f"{affine}.weight"][0]
        config.distance = f"{affine}.dist_conv_w.weight" in shapes
        config.edges = "head_0.norm_0.inst_conv.weight" in shapes
        return config
    layer = {"gaugan": "head_0.norm_0", "sean": "head_0.ace_0.Spade", "scgan": "up_0.norm_s"}[family]
    config.classes = shapes[f"{layer}.mlp_shared.0.weight"][1]
    if family == "sean":
        config.style_classes = counted(r"head_0\.ace_0\.fc_mu\d+\.bias", shapes)
    if family == "scgan":
        routing = "pyramid_spaital_routing.labelDec1.0"
        config.spectral_routing = f"{routing}.weight_orig" in shapes
        config.routing_channels = shapes[f"{routing}.bias"][0] // 16
        config.first_channels = first_of(config, shapes)
        config.conv_experts = counted(r"head_0\.conv_0\.conv_bases\.\d+\.weight_orig", shapes)
        config.norm_experts = shapes["head_0.norm_0.affine_params_groups"][0]
    return config


def counted(pattern, names):
    """How many of the names a pattern describes."""
    return sum(bool(re.fullmatch(pattern, name)) for name in names)


def first_of(config, shapes):
    """f of the first layer: head_0's input is 16 f wide."""
    if config.family == "scgan":
        return shapes["head_0.conv_0.conv_bases.0.weight_orig"][1] // 16
    return config.channels


def doublings_of(where, cells, size):
    """normal | more | most: that with which images of a size start from so many cells."""
    for name, n in DOUBLINGS.items():
        if (size[0] >> n) * (size[1] >> n) == cells:
            return name
    raise UserError(f"{where}: starts from {cells} cells, which images of {size[0]} x {size[1]} do not")


def infer_discriminator(shapes, where="discriminator", last_stride=1):
    """DiscriminatorConfig of {name: shape}. last_stride: 2 in SEAN, in no name and no shape."""
    try:
        if "enc1.0.0.weight_orig" in shapes:
            return DiscriminatorConfig("fpse", shapes["enc1.0.0.weight_orig"][0], shapes["embedding.weight"][1])
        scales = {name.partition(".")[0] for name in shapes}
        layers = {name.split(".")[1] for name in shapes}
        rows, columns = shapes["discriminator_0.model0.0.weight"][:2]
    except (KeyError, IndexError) as error:
        raise UserError(f"{where}: not a discriminator of the published forms ({error})") from None
    return DiscriminatorConfig("multiscale", rows, columns - 3, len(scales), len(layers) - 1, last_stride)


def infer_encoder(shapes, where="style encoder"):
    """EncoderConfig of {name: shape}."""
    if "layer6.0.weight_orig" not in shapes or "fc_mu.weight" not in shapes:
        raise UserError(f"{where}: layer6 or fc_mu is missing, expected a style encoder of six layers")
    return EncoderConfig(shapes["layer1.0.weight_orig"][0], shapes["fc_mu.weight"][0])


def modern(tensors):
    """{name: tensor} without the counters of batches, and with weight_v where the file is older than PyTorch
    1.0: such a file has the normalised `weight` beside weight_orig and weight_u."""
    kept = {}
    for name, tensor in tensors.items():
        owner, _, kind = name.rpartition(".")
        if kind == COUNTERS or kind == "weight" and f"{owner}.weight_orig" in tensors:
            continue
        kept[name] = tensor
        if kind == "weight_u" and f"{owner}.weight_v" not in tensors:
            kept[f"{owner}.weight_v"] = solved(tensors, owner)
    return kept


def solved(tensors, owner):
    """v along W^T u, at length 1 or, where the normalised weight is there, so that u . W v is the sigma it
    was divided by."""
    weight, u = (np.asarray(tensors[f"{owner}.{kind}"].numpy(), dtype=np.float64) for kind in ("weight_orig", "weight_u"))
    v = weight.reshape(len(weight), -1).T @ u
    if f"{owner}.weight" not in tensors:
        return (v / np.linalg.norm(v)).astype(np.float32)
    normalised = np.asarray(tensors[f"{owner}.weight"].numpy(), dtype=np.float64)
    sigma = (weight * normalised).sum() / (normalised * normalised).sum()
    return (v * (sigma / (v @ v))).astype(np.float32)
