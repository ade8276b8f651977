"""Other people's names for the tensors of our networks.

Ours are the published ones: guided-diffusion's with SDM's for the U-Net, taming-transformers' for VQ and KL autoencoders, and
for tiny autoencoders the numbers of the TAESD repository after `encoder.` and `decoder.`. Everything here is decided by names
and shapes; models/weights/key_maps_diffusers.py has diffusers' names.
"""
import re
from dataclasses import dataclass, field
from functools import partial
from typing import Callable, Optional

import numpy as np

from models.weights.key_maps_diffusers import decoder_levels, from_diffusers, old_attention
from runtime.errors import UserError

EXPECTED = ("expected a U-Net with SPADE (SDM), a VQ or KL autoencoder (taming-transformers, latent-diffusion, diffusers) or a "
            "tiny one (TAESD)")


@dataclass(frozen=True)
class MappedTensor:
    """Where one of our tensors comes from."""
    name: str                                   # in the foreign file
    transform: Optional[Callable] = None        # array -> array of our shape; None: it has it


@dataclass
class Match:
    """Whose checkpoint it is, and which of its tensors are ours."""
    scheme: str                                 # for people, such as "diffusers AutoencoderKL"
    kind: str                                   # unet | vq | kl | tiny
    sources: dict                               # {our name: MappedTensor}
    shapes: dict                                # {our name: its shape}, those in `made` too
    skipped: dict = field(default_factory=dict)  # {reason: [names in the file]}
    made: dict = field(default_factory=dict)    # {our name: function that makes the array}, where the file has none
    half: Optional[str] = None                  # encoder | decoder, of a tiny autoencoder that lies in two files


def recognise(shapes):
    """The Match of {name: shape}. Raises UserError that says what it looks like when it is none of ours, or not whole."""
    if not shapes:
        raise UserError(f"holds no tensors, {EXPECTED}")
    names, skipped = bare_names(shapes)
    if not names:
        raise UserError(f"holds nothing but {' and '.join(skipped)}, {EXPECTED}")
    look = looks_like(names)
    if look:
        raise UserError(f"looks like {look}, {EXPECTED}")
    scheme, half, rename = identify(names)
    sources, found, problems, strange = {}, {}, [], []
    for name, stored in names.items():
        ours = rename(name)
        if ours is None:
            strange.append(stored)
        elif ours in sources:
            problems.append(f"{sources[ours].name} and {stored} are both our {ours}, expected one of them")
        else:
            found[ours], transform = fitted(ours, tuple(shapes[stored]), problems)
            sources[ours] = MappedTensor(stored, transform)
    if strange:
        problems.append(f"looks like {scheme}, but has tensors that ours has not ({len(strange)}), such as "
                        f"{', '.join(strange[:3])}")
    if problems:
        raise UserError(problems)
    kind = {UNET: "unet", TAESD: "tiny", DIFFUSERS_TINY: "tiny"}.get(scheme)
    kind = kind or ("vq" if "quantize.embedding.weight" in found else "kl")
    match = Match(scheme, kind, sources, found, skipped, half=half)
    match.scheme = full_scheme(match, names)
    CHECKS[kind](match)
    return match


# ------------------------------------------------------------------------------------------------ before the names

PREFIXES = re.compile(r"(module\.|_orig_mod\.)+")               # of data parallelism and of compiled modules
FIRST_STAGE = re.compile(r"(first_stage_model|vae)\.")          # the autoencoder inside a latent-diffusion checkpoint
OTHERS = "other networks of a latent-diffusion checkpoint"
SKIPPED = {
    "discriminator and perceptual loss": re.compile(r"loss\."),
    "moving averages, named without dots": re.compile(r"model_ema\."),
    "running statistics of the codebook": re.compile(r"quantize\.embedding\.(cluster_size|embed_avg)$"),
    "state of an optimiser": re.compile(r"(optimizer|optimizer_states|opt)\.|state\.\d+\.|param_groups\."),
}


def bare_names(shapes):
    """{name without prefixes: name in the file} of what may be ours, and {reason: [names in the file]} of the rest."""
    bare, skipped, problems = {}, {}, []
    inside = any(FIRST_STAGE.match(without(PREFIXES, stored)) for stored in shapes)
    for stored in shapes:
        name = without(PREFIXES, stored)
        if inside and not FIRST_STAGE.match(name):
            skipped.setdefault(OTHERS, []).append(stored)
            continue
        name = without(FIRST_STAGE, name)
        reason = next((reason for reason, pattern in SKIPPED.items() if pattern.match(name)), None)
        if reason:
            skipped.setdefault(reason, []).append(stored)
        elif name in bare:
            problems.append(f"{bare[name]} and {stored} differ in their prefix only, expected one of them")
        else:
            bare[name] = stored
    if problems:
        raise UserError(problems)
    return bare, skipped


def without(prefix, name):
    """A name without a prefix that it may have."""
    found = prefix.match(name)
    return name[found.end():] if found else name


# What people have beside the right file, in the order in which one tells it: a pattern that a name has, one that none has.
LOOKS = [
    ("the U-Net of latent diffusion or Stable Diffusion alone (transformer_blocks)",
     r"input_blocks\..*\.transformer_blocks\.", None),
    ("the U-Net of latent diffusion alone (model.diffusion_model)", r"model\.diffusion_model\.", None),
    ("a guided-diffusion U-Net (ADM) without SPADE (no mlp_gamma)", r"input_blocks\.", r".*\.mlp_gamma\."),
    ("a U-Net of diffusers (UNet2DModel and its kin)", r"(down_blocks|up_blocks|time_embedding)\.", None),
    ("taming-transformers' Gumbel VQ (quantize.embed), whose codes are not nearest neighbours", r"quantize\.embed\.", None),
    ("diffusers' VQModel with spatial norm (conv_y, conv_b)", r"(encoder|decoder)\..*\.conv_y\.", None),
    ("a discriminator alone", r"(discriminator\.)?main\.\d+\.", None),
    ("the heads of LPIPS", r"lin\d\.model\.", None),
    ("an image classifier (torchvision)",
     r"(features\.|layer1\.\d+\.|fc\.|classifier\.|heads\.|Conv2d_1a_3x3\.|stages?\.\d)", None),
]


def looks_like(names):
    """What a file is that is none of ours, in words; None where the names do not tell."""
    for look, has, lacks in LOOKS:
        if any(re.match(has, name) for name in names) and not (lacks and any(re.match(lacks, name) for name in names)):
            return look
    return None


# ------------------------------------------------------------------------------------------------ the names

UNET, TAMING, DIFFUSERS = "SDM's U-Net", "an autoencoder of taming-transformers", "an autoencoder of diffusers"
TAESD, DIFFUSERS_TINY = "TAESD", "diffusers' AutoencoderTiny"

RESNET, ATTENTION, ENDS = "(norm1|conv1|norm2|conv2|nin_shortcut)", "(norm|q|k|v|proj_out)", r"\.(weight|bias)"
LEVEL = rf"(block\.\d+\.{RESNET}|attn\.\d+\.{ATTENTION})"
OUR_NAMES = {
    UNET: re.compile(
        r"(time_embed\.[02]|input_blocks\.0\.0|out\.[02]|"
        r"(input_blocks\.\d+\.\d|middle_block\.\d|output_blocks\.\d+\.\d)\.(in_layers\.\d|emb_layers\.1|out_layers\.\d|"
        rf"skip_connection|norm|qkv|proj_out|(in_norm|out_norm)\.mlp_(shared\.0|gamma|beta))){ENDS}"),
    TAMING: re.compile(
        rf"((encoder|decoder)\.(conv_in|norm_out|conv_out|mid\.block_[12]\.{RESNET}|mid\.attn_1\.{ATTENTION})|"
        rf"encoder\.down\.\d+\.({LEVEL}|downsample\.conv)|decoder\.up\.\d+\.({LEVEL}|upsample\.conv)|"
        rf"quant_conv|post_quant_conv){ENDS}|quantize\.embedding\.weight"),
    TAESD: re.compile(
        rf"(encoder|decoder)\.\d+({ENDS}|\.conv\.[024]{ENDS}|\.pool\.1{ENDS}|\.pool\.[03]\.weight)"),
}
TINY_BLOCK = re.compile(r"((encoder|decoder)\.)?(layers\.)?\d+\.conv\.0\.weight")


def identify(names):
    """Scheme, half and the function name -> our name or None, told by a few of the names."""
    def has(pattern):
        return any(re.match(pattern, name) for name in names)

    if has(r".*\.mlp_gamma\."):
        return UNET, None, partial(grammar, UNET)
    if has(r"encoder\.down\.\d|decoder\.up\.\d"):
        return TAMING, None, partial(grammar, TAMING)
    if has(r"encoder\.down_blocks\.\d|decoder\.up_blocks\.\d"):
        levels = decoder_levels(names)
        return DIFFUSERS, None, lambda name: grammar(TAMING, from_diffusers(name, levels))
    if any(TINY_BLOCK.fullmatch(name) for name in names):
        scheme = DIFFUSERS_TINY if has(r"((encoder|decoder)\.)?layers\.\d") else TAESD
        present = [half for half in ("encoder", "decoder") if has(rf"{half}\.(layers\.)?\d")]
        lone = not present                      # the numbers alone: an encoder has a block at 1, a decoder has none there
        if lone:
            present = ["encoder" if "1.conv.0.weight" in {without(re.compile(r"layers\."), name) for name in names}
                       else "decoder"]
        half = present[0] if len(present) == 1 else None
        return scheme, half, partial(tiny_name, half if lone else None)
    few = ", ".join(list(names)[:3])
    raise UserError(f"looks like nothing known here (its first names are {few}), {EXPECTED}")


def grammar(scheme, name):
    """A name itself where it is one of a scheme's, else None."""
    return name if name is not None and OUR_NAMES[scheme].fullmatch(name) else None


def tiny_name(half, name):
    """Our name for a tensor of a tiny autoencoder, or None. half: that of a file whose names do not say it.

    TAESD's decoder begins with the layer 0 that limits latents to -3..3 and has no weights. diffusers' does the same before
    its layers, so decoder layer n of diffusers is n + 1 of TAESD, and n of TAESD is n - 1 of diffusers. The encoders agree.
    """
    found = re.fullmatch(r"((encoder|decoder)\.)?(layers\.)?(\d+)\.(.+)", name)
    if not found or bool(found[2]) == bool(half):
        return None
    part = half or found[2]
    number = int(found[4]) + (1 if found[3] and part == "decoder" else 0)
    return grammar(TAESD, f"{part}.{number}.{found[5]}")


def full_scheme(match, names):
    """A Match's scheme in full, once its kind is known."""
    inside = OTHERS in match.skipped or any(FIRST_STAGE.match(without(PREFIXES, stored)) for stored in names.values())
    if match.scheme == DIFFUSERS:
        old = ", attention named as before 0.14" if any(map(old_attention, names)) else ""
        return f"diffusers {'VQModel' if match.kind == 'vq' else 'AutoencoderKL'}{old}"
    if match.scheme == TAMING and inside:
        return f"latent-diffusion {'VQModelInterface' if match.kind == 'vq' else 'AutoencoderKL'} (first_stage_model)"
    if match.scheme == TAMING:
        return "taming-transformers VQModel" if match.kind == "vq" else "latent-diffusion AutoencoderKL"
    whole = {UNET: "SDM U-Net (guided-diffusion with SPADE)", TAESD: "TAESD", DIFFUSERS_TINY: "diffusers AutoencoderTiny"}
    return whole[match.scheme] + (f", {match.half}" if match.half else "")


# ------------------------------------------------------------------------------------------------ the shapes

MATRIX = re.compile(r".*\.(q|k|v|qkv|proj_out)\.weight")   # of attention: linear layers to some, 1x1 convolutions to others


def as_conv1x1(array):
    """(Cout, Cin) or (Cout, Cin, 1) -> (Cout, Cin, 1, 1)."""
    return array.reshape(*array.shape[:2], 1, 1)


def as_conv1d(array):
    """(Cout, Cin) or (Cout, Cin, 1, 1) -> (Cout, Cin, 1)."""
    return array.reshape(*array.shape[:2], 1)


def identity_conv1x1(channels):
    """The weight (C, C, 1, 1) of a 1x1 convolution that changes nothing."""
    return np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)


def zero_bias(channels):
    """The bias (C,) that goes with it."""
    return np.zeros(channels, dtype=np.float32)


def fitted(ours, shape, problems):
    """The shape of our tensor and the transform that gives it; adds to `problems` where there is none."""
    if not MATRIX.fullmatch(ours):
        return shape, None
    to, ndim = (as_conv1x1, 4) if ours.startswith(("encoder.", "decoder.")) else (as_conv1d, 3)
    if not 2 <= len(shape) <= 4 or any(n != 1 for n in shape[2:]):
        problems.append(f"{ours} has shape {shape}, expected (outputs, inputs) and after them nothing but 1")
        return shape, None
    return (*shape[:2], *(1,) * (ndim - 2)), None if len(shape) == ndim else to


def check_unet(match):
    """Raises UserError where what every such U-Net has is missing."""
    require(match, 4, "input_blocks.0.0.weight", "middle_block.0.in_norm.mlp_shared.0.weight", "out.2.weight")


def check_vae(match):
    """Raises UserError where a VQ or KL autoencoder is not whole, or contradicts itself; adds what it does without."""
    require(match, 4, *(f"{half}.conv_{end}.weight" for half in ("encoder", "decoder") for end in ("in", "out")))
    if not {"encoder.mid.attn_1.q.weight", "decoder.mid.attn_1.q.weight"} <= set(match.shapes):
        raise UserError("its middle blocks have no attention, expected an autoencoder with it")
    z, out = match.shapes["decoder.conv_in.weight"][1], match.shapes["encoder.conv_out.weight"][0]
    if match.kind == "vq":
        require(match, 2, "quantize.embedding.weight")
        require(match, 4, "quant_conv.weight", "post_quant_conv.weight")
        e = match.shapes["quantize.embedding.weight"][1]
        expect(match, "encoder.conv_out.weight", 0, z, "the z of decoder.conv_in.weight")
        expect(match, "quant_conv.weight", slice(None), (e, z, 1, 1), "(width of the codes, z, 1, 1)")
    else:
        if out != 2 * z:
            raise UserError(f"encoder.conv_out.weight has {out} output channels, expected {2 * z}, mean and variance of the "
                            f"{z} of decoder.conv_in.weight; a VQ autoencoder would have quantize.embedding.weight")
        for name, width in ("quant_conv", 2 * z), ("post_quant_conv", z):
            if not {f"{name}.weight", f"{name}.bias"} & set(match.shapes):
                make(match, f"{name}.weight", identity_conv1x1, width)
                make(match, f"{name}.bias", zero_bias, width)
        require(match, 4, "quant_conv.weight", "post_quant_conv.weight")
        e = match.shapes["post_quant_conv.weight"][1]
        expect(match, "quant_conv.weight", slice(None), (2 * e, 2 * z, 1, 1), "(twice the latent's channels, 2 z, 1, 1)")
    expect(match, "post_quant_conv.weight", slice(None), (z, e, 1, 1), "(z, the latent's channels, 1, 1)")


def check_tiny(match):
    """Raises UserError where a tiny autoencoder, or the half of one, is numbered in another way."""
    if match.half != "decoder":
        require(match, 4, "encoder.0.weight")
        expect(match, "encoder.0.weight", 1, 3, "red, green and blue")
    if match.half != "encoder":
        if "decoder.0.weight" in match.shapes:
            raise UserError(f"{match.sources['decoder.0.weight'].name} has weights, expected none: layer 0 of a tiny decoder "
                            "limits its input, and its first convolution is layer 1")
        last = max(int(name.split(".")[1]) for name in match.shapes if name.startswith("decoder."))
        require(match, 4, "decoder.1.weight", f"decoder.{last}.weight")
        expect(match, f"decoder.{last}.weight", 0, 3, "red, green and blue")


CHECKS = {"unet": check_unet, "vq": check_vae, "kl": check_vae, "tiny": check_tiny}


def require(match, ndim, *names):
    """Raises UserError where a weight is missing, or has not so many sizes."""
    problems = [f"{name} is missing, expected in {match.scheme}" for name in names if name not in match.shapes]
    problems += [f"{name} has shape {match.shapes[name]}, expected {ndim} sizes" for name in names
                 if name in match.shapes and len(match.shapes[name]) != ndim]
    if problems:
        raise UserError(problems)


def expect(match, name, part, value, meaning):
    """Raises UserError where a shape, or one size of it, is not as the others want it."""
    found = match.shapes[name]
    if found[part] != value:
        raise UserError(f"{name} has shape {found}, expected {value}, {meaning}"
                        + (f", as size {part}" if isinstance(part, int) else ""))


def make(match, name, maker, channels):
    """Adds a tensor that the file does without, and that changes nothing."""
    match.made[name] = partial(maker, channels)
    match.shapes[name] = (channels, channels, 1, 1) if name.endswith("weight") else (channels,)
