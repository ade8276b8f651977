"""The architecture that a file's tensor names and shapes show, so that its user need not know it."""
import re

from configs.schema import AutoencoderConfig, UNetConfig
from runtime.errors import UserError

HEAD_CHANNELS = 64  # of the published U-Net; no tensor's shape tells


def infer_unet(shapes, where, head_channels=HEAD_CHANNELS):
    """UNetConfig of an SDM U-Net with these {name: shape}. Raises UserError where they contradict each other.

    The number of heads is in no shape: `head_channels` is taken, and has to divide the attention's widths.
    """
    facts = Facts(shapes, where)
    first = facts.shape("input_blocks.0.0.weight")
    numbers, inputs = facts.numbers("output_blocks"), facts.numbers("input_blocks")
    ups = [i for i in numbers if any(f"output_blocks.{i}.{j}.in_layers.1.weight" in shapes for j in (1, 2))]
    levels = len(ups) + 1
    res_blocks = len(numbers) // levels - 1
    if res_blocks < 1 or not len(numbers) == len(inputs) == levels * (res_blocks + 1):
        raise UserError(f"{where}: {len(inputs)} input_blocks and {len(numbers)} output_blocks at {levels} sizes do not make a "
                        f"U-Net, expected as many of both, a multiple of {levels}")
    starts = [1 + level * (res_blocks + 1) for level in range(levels)]
    mults = [facts.multiple(f"input_blocks.{i}.0.in_layers.2.weight", first[0]) for i in starts]
    factors = [2 ** level for level, i in enumerate(starts) if f"input_blocks.{i}.1.qkv.weight" in shapes]
    outputs = facts.shape("out.2.weight")[0]
    mask = facts.shape("middle_block.0.in_norm.mlp_shared.0.weight")
    if outputs not in (first[1], 2 * first[1]):
        raise UserError(f"{where}: out.2.weight has {outputs} output channels for {first[1]} of the latent, expected as many, "
                        "or twice as many")
    for name in [name for name in shapes if name.endswith(".qkv.weight")]:
        if shapes[name][1] % head_channels:
            raise UserError(f"{where}: {name} has {shapes[name][1]} channels, expected a multiple of the {head_channels} of an "
                            "attention head; --head_channels of `python -m models.convert` names another number")
    return UNetConfig(channels=first[0], channel_mult=mults, res_blocks=res_blocks, attention_factors=factors,
                      head_channels=head_channels, classes=mask[1], spade_channels=mask[0], latent_channels=first[1],
                      learn_sigma=outputs == 2 * first[1])


def infer_autoencoder(kind, shapes, where):
    """AutoencoderConfig of a vq, kl or tiny autoencoder with these {name: shape}. Raises UserError at contradictions."""
    facts = Facts(shapes, where)
    if kind == "tiny":
        return infer_tiny(facts)
    channels = facts.shape("encoder.conv_in.weight")[0]
    levels = facts.numbers("encoder.down")
    config = AutoencoderConfig(
        kind=kind, channels=channels,
        channel_mult=[facts.multiple(f"encoder.down.{i}.block.0.conv1.weight", channels) for i in levels],
        res_blocks=len(facts.numbers("encoder.down.0.block")), z_channels=facts.shape("decoder.conv_in.weight")[1],
        embed_dim=facts.shape("post_quant_conv.weight")[1],
        attention_levels=[i for i in levels if f"encoder.down.{i}.attn.0.q.weight" in shapes])
    if kind == "vq":
        config.codes = facts.shape("quantize.embedding.weight", ndim=2)[0]
    return config


def infer_tiny(facts):
    """AutoencoderConfig of a tiny autoencoder."""
    numbers = facts.numbers("encoder")
    strided = [i for i in numbers if f"encoder.{i}.weight" in facts.shapes and f"encoder.{i}.bias" not in facts.shapes]
    last = facts.shape(f"encoder.{numbers[-1]}.weight")
    if not strided or (numbers[-1] - strided[0]) % len(strided):
        raise UserError(f"{facts.where}: encoder layers {', '.join(map(str, strided))} have no bias and {numbers[-1]} is the "
                        "last, which is no tiny autoencoder's encoder")
    return AutoencoderConfig(
        kind="tiny", channels=last[1], channel_mult=[1] * (len(strided) + 1),
        res_blocks=(numbers[-1] - strided[0]) // len(strided) - 1, z_channels=last[0], embed_dim=last[0],
        global_path=f"encoder.{numbers[-1] - 1}.pool.0.weight" in facts.shapes)


class Facts:
    """{name: shape} to be asked; what is not there is a UserError."""

    def __init__(self, shapes, where):
        self.shapes, self.where = shapes, where

    def shape(self, name, ndim=4):
        """The shape of a tensor."""
        found = self.shapes.get(name, ())
        if len(found) != ndim or not all(found):
            raise UserError(f"{self.where}: {name} {f'has shape {tuple(found)}' if name in self.shapes else 'is missing'}, "
                            f"expected {ndim} sizes above 0 that tell the architecture")
        return found

    def numbers(self, prefix):
        """The numbers that follow a prefix, in order."""
        pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        found = sorted({int(match[1]) for match in map(pattern.match, self.shapes) if match})
        if not found:
            raise UserError(f"{self.where}: no tensor is named {prefix}.0, its number was to tell the architecture")
        return found

    def multiple(self, name, width):
        """A tensor's output channels as a multiple of `width`."""
        outputs = self.shape(name)[0]
        if outputs % width:
            raise UserError(f"{self.where}: {name} has {outputs} output channels, expected a multiple of {width}")
        return outputs // width
