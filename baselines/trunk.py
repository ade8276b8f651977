"""The trunk that GauGAN, CLADE, SEAN and SCGAN have in common: residual blocks at doubling sizes, each told
of the mask by its normalisation (Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive
Normalization")."""
from baselines.layers import leaky
from baselines.spectral_norm import SpectralConv
from models.layers import Conv, Linear, up
from runtime.backend import jt, nn


class Block(nn.Module):
    """Residual block; a family says what its normalisation is and, if it departs, its convolutions."""
    prefix = "norm"       # of the normalisations' names

    def __init__(self, name, inputs, outputs, config):
        super().__init__()
        middle = min(inputs, outputs)
        self._shortcut = inputs != outputs
        self.conv_0 = self.conv(inputs, middle, config)
        self.conv_1 = self.conv(middle, outputs, config)
        if self._shortcut:
            self.conv_s = self.shortcut_conv(inputs, outputs, config)
        for i, channels in {"0": inputs, "1": middle, **({"s": inputs} if self._shortcut else {})}.items():
            setattr(self, f"{self.prefix}_{i}", self.norm(f"{name}.{self.prefix}_{i}", channels, config))

    def conv(self, inputs, outputs, config):
        """A convolution of the residual branch."""
        return SpectralConv(inputs, outputs)

    def shortcut_conv(self, inputs, outputs, config):
        """The convolution of the shortcut."""
        return SpectralConv(inputs, outputs, 1, bias=False)

    def norm(self, name, channels, config):
        """A conditional normalisation: a module called with (x, given)."""
        raise NotImplementedError

    def convolve(self, conv, x, given):
        """x (B, Cin, h, w) -> (B, Cout, h, w)."""
        return conv(x)

    def execute(self, x, given):
        """x (B, Cin, h, w), given: Given -> (B, Cout, h, w)."""
        norm = lambda i, x: getattr(self, f"{self.prefix}_{i}")(x, given)
        shortcut = self.conv_s(norm("s", x)) if self._shortcut else x
        dx = self.convolve(self.conv_0, leaky(norm("0", x)), given)
        dx = self.convolve(self.conv_1, leaky(norm("1", dx)), given)
        return shortcut + dx


class Given:
    """What a generator's blocks are given beside x: the mask and, by family, style codes, noise and
    routes."""

    def __init__(self, semantics, style=None, noise=None):
        self.semantics, self.style, self.noise = semantics, style, noise
        self.routes = {}                      # SCGAN: (h, w) -> weights of convolutions and of affine rows


class Trunk(nn.Module):
    """A generator but for what its family conditions by."""
    block = Block

    def __init__(self, config):
        super().__init__()
        self.config = config
        f, first = config.channels, self.first_channels(config)
        height, width = config.start
        self.fc = (Linear(config.z_dim, 16 * first * height * width) if config.vae
                   else Conv(config.mask_channels, 16 * first))
        widths = {"head_0": (16 * first, 16 * f), "G_middle_0": (16 * f, 16 * f), "G_middle_1": (16 * f, 16 * f),
                  "up_0": (16 * f, 8 * f), "up_1": (8 * f, 4 * f), "up_2": (4 * f, 2 * f), "up_3": (2 * f, f)}
        if config.upsampling == "most":
            widths["up_4"] = f, f // 2
        for name, (inputs, outputs) in widths.items():
            setattr(self, name, self.block(name, inputs, outputs, config))
        self.conv_img = Conv(widths[name][1], 3)
        self._ups = [name for name in widths if name.startswith("up_")]

    @staticmethod
    def first_channels(config):
        """f of the layer before head_0."""
        return config.channels

    def execute(self, semantics, style=None, noise=None):
        """semantics: Semantics; style: z (B, 256) of a `vae` network or SEAN's codes (B, K, 512); noise:
        SEAN's, as noise(name, shape) -> array. -> images (B, 3, H, W) in [-1, 1]."""
        return self.images(semantics, style, noise)[0]

    def images(self, semantics, style=None, noise=None):
        """The same images, and SCGAN's side image (else None)."""
        return jt.tanh(self.before_activation(Given(semantics, style, noise))), None

    def before_activation(self, given):
        """The output of the last convolution, (B, 3, H, W)."""
        x = self.head_0(self.start(given), given)                           # (B, 16f, sh, sw)
        x = self.G_middle_0(up(x), given)
        if self.config.upsampling != "normal":
            x = up(x)
        x = self.G_middle_1(x, given)
        for name in self._ups:
            x = getattr(self, name)(up(x), given)
        return self.conv_img(leaky(x))                                      # (B, 3, H, W)

    def start(self, given):
        """(B, 16f, sh, sw): of the draw, or of the mask at that size."""
        size = self.start_size(given.semantics.size)
        if self.config.vae:
            return self.fc(given.style).reshape(given.semantics.batch, -1, *size)
        return self.fc(given.semantics.one_hot(size))

    def start_size(self, size):
        """(sh, sw) for images (H, W). ValueError where there is none."""
        factor = 2 ** self.config.doublings
        start = [side // factor for side in size]
        if [side * factor for side in start] != list(size):
            raise ValueError(f"{self.config.family}: masks of {size[0]} x {size[1]}, expected multiples of {factor}")
        if self.config.vae and start != list(self.config.start):
            expected = [side * factor for side in self.config.start]
            raise ValueError(f"{self.config.family}: masks of {size[0]} x {size[1]}; with an encoder it paints "
                             f"{expected[0]} x {expected[1]} only")
        return start
