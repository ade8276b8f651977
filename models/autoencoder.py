"""The autoencoders: between images and the latents that diffusion works in.

vq    VQGAN (Esser et al. 2021; Rombach et al. 2022, "vq-f4"), the paper's. At the published size 55,322,782 parameters in
      205 tensors, named as in taming-transformers. 512x384 becomes 3 x 96 x 128. `encode` does not quantise; `decode` does.
kl    latent diffusion's KL autoencoder (Rombach et al. 2022): the latent is the mean that the encoder predicts.
tiny  models/autoencoder_tiny.py.
"""
import numpy as np

from models.autoencoder_parts import Decoder, Encoder
from models.autoencoder_tiny import TinyAutoencoder
from models.kernels.nearest_code import nearest_code
from models.kernels.turn import to_first, to_last
from models.layers import Conv, initialise, parameters_of
from runtime.backend import jt, nn

GREY = np.full((3, 3), 1 / 3)                       # the projection of RGB on brightness
COLOUR_WEIGHT = GREY + 4 * (np.eye(3) - GREY)       # colour differences, four times as strong


class Codebook(nn.Module):
    """Vector quantisation: every latent vector to its nearest code."""

    def __init__(self, codes, width):
        super().__init__()
        self.embedding = Table(codes, width)

    def execute(self, z):
        """z (B, D, h, w) -> quantised like z, index (B, h, w)."""
        b, d, h, w = z.shape
        index = nearest_code(to_last(z).reshape(-1, d), self.embedding.weight)
        quantised = to_first(self.embedding.weight[index].reshape(b, h, w, d))
        return quantised, index.reshape(b, h, w)


class Table(nn.Module):
    """A (codes, width) table of vectors."""

    def __init__(self, codes, width):
        super().__init__()
        self.weight = jt.zeros((codes, width))

    def execute(self, index):
        """index (...,) -> (..., width)."""
        return self.weight[index]


class VQAutoencoder(nn.Module):
    """Encoder E and decoder D of the paper, with a codebook before D."""

    def __init__(self, config):
        super().__init__()
        c = config
        sizes = c.channels, c.channel_mult, c.res_blocks, c.attention_levels, c.z_channels, c.groups
        self.encoder, self.decoder = Encoder(*sizes), Decoder(*sizes)
        self.quantize = Codebook(c.codes, c.embed_dim)
        self.quant_conv = Conv(c.z_channels, c.embed_dim, 1)
        self.post_quant_conv = Conv(c.embed_dim, c.z_channels, 1)

    def encode(self, x):
        """x (B, 3, H, W) in [-1, 1] -> z (B, D, H/f, W/f), not quantised."""
        return self.quant_conv(self.encoder(x))

    def decode(self, z, quantise=True):
        """z (B, D, h, w) -> x (B, 3, H, W), about [-1, 1]; through the codebook unless told otherwise."""
        return self.decoder(self.post_quant_conv(self.quantize(z)[0] if quantise else z))

    def execute(self, x, quantise=True):
        """x (B, 3, H, W) -> reconstruction, z, quantised z. The decoder's gradient passes the quantiser straight through."""
        z = self.encode(x)
        quantised = self.quantize(z)[0]
        straight = z + (quantised - z).detach() if quantise else z
        return self.decoder(self.post_quant_conv(straight)), z, quantised


class KLAutoencoder(nn.Module):
    """Encoder and decoder with a normal distribution between them, of which the mean is taken."""

    def __init__(self, config):
        super().__init__()
        c = config
        self.encoder = Encoder(c.channels, c.channel_mult, c.res_blocks, c.attention_levels, 2 * c.z_channels, c.groups)
        self.decoder = Decoder(c.channels, c.channel_mult, c.res_blocks, c.attention_levels, c.z_channels, c.groups)
        self.quant_conv = Conv(2 * c.z_channels, 2 * c.embed_dim, 1)
        self.post_quant_conv = Conv(c.embed_dim, c.z_channels, 1)

    def encode(self, x):
        """x (B, 3, H, W) in [-1, 1] -> z (B, D, H/f, W/f), the mean; the log variance after it is not used."""
        return self.posterior(x)[0]

    def posterior(self, x):
        """x (B, 3, H, W) in [-1, 1] -> mean and log variance of the latent's distribution, each (B, D, H/f, W/f)."""
        moments = self.quant_conv(self.encoder(x))                                      # (B, 2D, H/f, W/f)
        d = moments.shape[1] // 2
        return moments[:, :d], jt.clamp(moments[:, d:], -30, 20)

    def decode(self, z, quantise=True):
        """z (B, D, h, w) -> x (B, 3, H, W), about [-1, 1]. There is no codebook: `quantise` changes nothing."""
        return self.decoder(self.post_quant_conv(z))

    def execute(self, x):
        """x (B, 3, H, W) -> its reconstruction."""
        return self.decode(self.encode(x))


KINDS = {"vq": VQAutoencoder, "kl": KLAutoencoder, "tiny": TinyAutoencoder}


def build_autoencoder(config, seed=None):
    """The autoencoder of an AutoencoderConfig. With a seed its weights are drawn, and every residual branch ends in zeros,
    which learns faster at first; the first convolution sees colours as strongly as brightness, which in photos varies far
    more and else is all that is learnt for long. Without a seed they are to be loaded."""
    model = KINDS[config.kind](config)
    if seed is not None:
        owners = {name.rpartition(".")[0] for name in parameters_of(model)}
        initialise(model, seed, zero=[name for name in owners if name.endswith((".conv2", ".proj_out"))])
        first = model.encoder.conv_in.weight
        first.update(jt.array(np.einsum("oikl,ij->ojkl", first.numpy(), COLOUR_WEIGHT).astype(np.float32)))
    return model


def normalise_latents(model, mean, deviation):
    """Rewrites the weights so that latents become (z - mean) / deviation and reconstructions stay as they are.

    The noise schedule assumes latents of deviation 1; the published one is near it, one of one's own may be anywhere. The
    change is folded into quant_conv, the codebook (vq) and post_quant_conv, so that no scale has to be carried along.
    mean (D,), deviation a float. A KL autoencoder's log variance goes along.
    """
    values = {name: var.numpy().astype(np.float64) for name, var in parameters_of(model).items() if "quant" in name}
    weight = values["post_quant_conv.weight"]
    d = weight.shape[1]
    mean = np.broadcast_to(np.asarray(mean, dtype=np.float64), (d,))
    inner, offset = values["quant_conv.weight"], values["quant_conv.bias"]
    changed = {
        "quant_conv.weight": np.concatenate([inner[:d] / deviation, inner[d:]]),
        "quant_conv.bias": np.concatenate([(offset[:d] - mean) / deviation, offset[d:] - 2 * np.log(deviation)]),
        "post_quant_conv.weight": weight * deviation,
        "post_quant_conv.bias": values["post_quant_conv.bias"] + weight[:, :, 0, 0] @ mean,
    }
    if "quantize.embedding.weight" in values:
        changed["quantize.embedding.weight"] = (values["quantize.embedding.weight"] - mean) / deviation
    for name, var in parameters_of(model).items():
        if name in changed:
            var.update(jt.array(changed[name].astype(np.float32)))


def scale_latents(model, factor):
    """Rewrites the weights so that latents are multiplied by `factor` and reconstructions stay as they are."""
    normalise_latents(model, 0.0, 1 / factor)
