"""The SDM U-Net (Wang et al. 2022) that predicts the noise in a latent under a segmentation mask.

At the published size 501,540,358 parameters in 660 tensors, named as in guided-diffusion and SDM. The encoder
(`input_blocks`) sees neither mask nor guidance; SPADE is in the middle block and in every decoder block.
"""
from models.blocks import AttentionBlock, ResBlock, SDMResBlock
from models.embedding import timestep_embedding
from models.layers import Conv, Down, GroupNorm, Join, Linear, NumberedModules, Up, initialise, parameters_of, same, silu
from models.spade import SegmentationMaps
from runtime.backend import jt, nn


class UNet(nn.Module):
    """model(z, t, labels) -> eps and, with learn_sigma, the variance's interpolation after it."""

    def __init__(self, config):
        super().__init__()
        self._config = config
        emb, groups = 4 * config.channels, config.groups
        sdm = lambda inputs, outputs, resample=same: SDMResBlock(
            inputs, outputs, emb, config.classes, config.spade_channels, resample, groups)
        attention = lambda channels: AttentionBlock(channels, config.head_channels, groups)
        last = len(config.channel_mult) - 1

        self.time_embed = NumberedModules({0: Linear(config.channels, emb), 2: Linear(emb, emb)})

        width = config.channels
        blocks, widths = [NumberedModules({0: Conv(config.latent_channels, width)})], [width]
        for level, mult in enumerate(config.channel_mult):
            attend = 2 ** level in config.attention_factors
            for _ in range(config.res_blocks):
                block = {0: ResBlock(width, mult * config.channels, emb, same, groups)}
                width = mult * config.channels
                if attend:
                    block[1] = attention(width)
                blocks.append(NumberedModules(block))
                widths.append(width)
            if level != last:
                blocks.append(NumberedModules({0: ResBlock(width, width, emb, Down(), groups)}))
                widths.append(width)
        self.input_blocks = NumberedModules(dict(enumerate(blocks)))

        self.middle_block = NumberedModules({0: sdm(width, width), 1: attention(width), 2: sdm(width, width)})

        self.join, blocks = Join(), []
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            attend = 2 ** level in config.attention_factors
            for i in range(config.res_blocks + 1):
                block = [sdm(width + widths.pop(), mult * config.channels)]
                width = mult * config.channels
                if attend:
                    block.append(attention(width))
                if level and i == config.res_blocks:
                    block.append(sdm(width, width, Up()))
                blocks.append(NumberedModules(dict(enumerate(block))))
        self.output_blocks = NumberedModules(dict(enumerate(blocks)))

        outputs = config.latent_channels * (2 if config.learn_sigma else 1)
        self.out = NumberedModules({0: GroupNorm(width, groups=groups), 2: Conv(width, outputs)})

    @property
    def classes(self):
        """K, the classes of the masks."""
        return self._config.classes

    @property
    def mask_resampling(self):
        """How masks come to the size of a block: nearest | area."""
        return self._config.mask_resampling

    @property
    def coarsest(self):
        """The down-sampling factor of the middle block."""
        return 2 ** (len(self._config.channel_mult) - 1)

    def execute(self, z, t, labels):
        """z (B, C, H, W); t a number for all rows, or (B,), on the training scale 0..999; labels (B, H, W) ids, or
        several times as large, -1 where there is no mask -> (B, C or 2C, H, W)."""
        emb, segmentation = self.embed(t), SegmentationMaps(labels, self.classes, self.mask_resampling)
        segmentation.at(z.shape[2])                                    # the finest first: others are made of it
        return self.decode(self.encode(z, emb), emb, segmentation)

    def encode(self, z, emb):
        """z (B, C, H, W) -> the outputs of all input_blocks. They depend on neither mask nor guidance."""
        h, skips = z, []
        for block in self.input_blocks:
            h = self.run(block, h, emb)
            skips.append(h)
        return skips

    def decode(self, skips, emb, segmentation):
        """skips: what encode gives -> (B, C or 2C, H, W)."""
        h = self.run(self.middle_block, skips[-1], emb, segmentation)
        for block, skip in zip(self.output_blocks, reversed(skips)):
            h = self.run(block, self.join(h, skip), emb, segmentation)
        return self.out[2](self.out[0](h))

    def embed(self, t):
        """The timestep's embedding after SiLU, (1 or B, D). One number gives one row, so that what a picture
        becomes does not depend on how many are computed with it."""
        if isinstance(t, jt.Var):
            t = t.numpy()
        emb = jt.array(timestep_embedding(t, self._config.channels))
        emb = self.time_embed[2](silu(self.time_embed[0](emb)))
        return silu(emb)

    @staticmethod
    def run(block, h, emb, segmentation=None):
        """One numbered block: its layers in order, each given what it takes."""
        for layer in block:
            if isinstance(layer, SDMResBlock):
                h = layer(h, emb, segmentation)
            elif isinstance(layer, ResBlock):
                h = layer(h, emb)
            else:
                h = layer(h)
        return h


def build_unet(config, seed=None):
    """The U-Net of a UNetConfig. With a seed its weights are drawn, and the last convolution of every residual
    branch, of every attention block and of the head is zero (the published code meant to do so and did not);
    without a seed they are to be loaded."""
    model = UNet(config)
    if seed is not None:
        owners = {name.rpartition(".")[0] for name in parameters_of(model)}
        initialise(model, seed, zero=[name for name in owners if name == "out.2" or name.endswith(
            (".out_layers.3", ".out_layers.2", ".proj_out"))])
    return model
