"""diffusers' names for the tensors of VQ and KL autoencoders (its VQModel and AutoencoderKL), in taming-transformers' words."""
import re

RESNET = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "conv_shortcut": "nin_shortcut"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OLD_ATTENTION = {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}       # before 0.14
ENDS = {"conv_in": "conv_in", "conv_norm_out": "norm_out", "conv_out": "conv_out"}
LEVEL = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def from_diffusers(name, levels):
    """Our name for one of diffusers', or None. levels: of the decoder, which diffusers counts from the coarsest."""
    path, _, tail = name.rpartition(".")
    if path in ("quant_conv", "post_quant_conv", "quantize.embedding"):
        return name
    half, _, rest = path.partition(".")
    ours = ENDS.get(rest) or in_level(rest, levels) or in_middle(rest)
    return f"{half}.{ours}.{tail}" if ours else None


def decoder_levels(names):
    """How many levels the decoder has that these names belong to."""
    found = (re.match(r"decoder\.up_blocks\.(\d+)\.", name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=0)


def in_level(path, levels):
    """`down_blocks.1.resnets.0.conv1` -> `down.1.block.0.conv1`, or None."""
    found = LEVEL.fullmatch(path)
    if not found:
        return None
    way, level, part, index, layer = found.groups()
    level = int(level) if way == "down" else levels - 1 - int(level)
    if part == "resnets":
        return join(f"{way}.{level}.block.{index}", RESNET.get(layer))
    if part == "attentions":
        return join(f"{way}.{level}.attn.{index}", {**ATTENTION, **OLD_ATTENTION}.get(layer))
    resampler = f"{way}.{level}.{part[:-2]}" if (part, index, layer) == (f"{way}samplers", "0", "conv") else None
    return join(resampler, "conv") if resampler else None


def in_middle(path):
    """`mid_block.resnets.1.conv1` -> `mid.block_2.conv1`, or None."""
    found = MIDDLE.fullmatch(path)
    if not found:
        return None
    part, index, layer = found[1], int(found[2]), found[3]
    if part == "resnets":
        return join(f"mid.block_{index + 1}", RESNET.get(layer))
    return join(f"mid.attn_{index + 1}", {**ATTENTION, **OLD_ATTENTION}.get(layer))


def join(path, layer):
    """path.layer, or None where there is no such layer."""
    return f"{path}.{layer}" if layer else None


def old_attention(name):
    """Whether a name is one that diffusers gave to attention before 0.14."""
    return any(f".{layer}." in name for layer in OLD_ATTENTION)
