"""The discriminators: patches at several scales (Wang et al. 2018, "pix2pixHD"), and the feature pyramid with
semantic embedding (Liu et al. 2019, CC-FPSE) that SCGAN takes."""
import numpy as np

from baselines.layers import instance_norm, leaky
from baselines.spectral_norm import SpectralConv
from models.kernels.bilinear import resize
from models.layers import Conv, NumberedModules, down
from runtime.backend import jt, nn

WIDEST = 512          # channels of a layer of Patches, at any width of the first


def build_discriminator(config):
    """The network of a DiscriminatorConfig."""
    return {"multiscale": Multiscale, "fpse": FeaturePyramid}[config.kind](config)


class Patches(nn.Module):
    """One scale: every layer's output, the last being a prediction for each patch."""

    def __init__(self, config):
        super().__init__()
        d, layers = config.channels, config.layers
        widths = [min(d * 2 ** i, WIDEST) for i in range(layers)]
        self.model0 = NumberedModules({0: Conv(config.mask_channels + 3, d, 4, 2, 2)})
        for i in range(1, layers):
            stride = config.last_stride if i == layers - 1 else 2
            conv = SpectralConv(widths[i - 1], widths[i], 4, stride, 2, bias=False)
            setattr(self, f"model{i}", NumberedModules({0: NumberedModules({0: conv})}))
        setattr(self, f"model{layers}", NumberedModules({0: Conv(widths[-1], 1, 4, 1, 2)}))
        self._layers = layers

    def execute(self, x):
        """x (B, L + 3, H, W) -> a list of (B, C, h, w)."""
        found = [leaky(self.model0[0](x))]
        for i in range(1, self._layers):
            found.append(leaky(instance_norm(getattr(self, f"model{i}")[0][0](found[-1]))))
        return [*found, getattr(self, f"model{self._layers}")[0](found[-1])]


class Multiscale(nn.Module):
    """Patches of the image and of its halves."""

    def __init__(self, config):
        super().__init__()
        self.shared = self._scales = config.scales       # by which feature matching is divided
        for i in range(config.scales):
            setattr(self, f"discriminator_{i}", Patches(config))

    def execute(self, semantics, image):
        """semantics and image (B, 3, H, W) -> features: a list per scale, predictions: one per scale."""
        x = jt.concat([semantics.one_hot(image.shape[2:]), image], dim=1)
        features, predictions = [], []
        for i in range(self._scales):
            *found, prediction = getattr(self, f"discriminator_{i}")(x)
            features.append(found)
            predictions.append(prediction)
            x = halved(x) if i + 1 < self._scales else x
        return features, predictions


def halved(x):
    """The mean over 3x3 windows at every second pixel, what lies beyond the border left out."""
    inside = np.outer(*(within(size) for size in x.shape[2:]))
    # Jittor's own count_include_pad=False divides by nine all the same.
    return nn.avg_pool2d(x, 3, 2, 1) * jt.array((9 / inside).astype(np.float32))


def within(size):
    """How many of three neighbours lie inside, at every second position of `size`."""
    centres = np.arange(0, size, 2)
    return 3 - (centres == 0) - (centres == size - 1)


class FeaturePyramid(nn.Module):
    """Features of the image alone, at three scales compared with an embedding of the mask."""
    shared = 4           # features, by which feature matching is divided

    def __init__(self, config):
        super().__init__()
        d = config.channels
        widths = [3, d, 2 * d, 4 * d, 8 * d, 8 * d]
        layer = lambda *shape: NumberedModules({0: NumberedModules({0: SpectralConv(*shape, bias=False)})})
        for i in range(1, 6):
            setattr(self, f"enc{i}", layer(widths[i - 1], widths[i], 3, 2))
        for i in range(2, 6):
            setattr(self, f"lat{i}", layer(widths[i], 4 * d, 1))
        for i in range(2, 5):
            setattr(self, f"final{i}", layer(4 * d, 2 * d))
        self.tf, self.seg = Conv(2 * d, 1, 1), Conv(2 * d, 2 * d, 1)
        self.embedding = Conv(config.mask_channels, 2 * d, 1)

    def layer(self, name, x):
        """A convolution, instance normalisation and leaky ReLU."""
        return leaky(instance_norm(getattr(self, name)[0][0](x)))

    def execute(self, semantics, image):
        """semantics and image (B, 3, H, W), H and W multiples of 32 -> features: one list of four,
        predictions: three."""
        if image.shape[2] % 32 or image.shape[3] % 32:
            raise ValueError(f"fpse: images of {image.shape[2]} x {image.shape[3]}, expected multiples of 32")
        found, x = [], image
        for i in range(1, 6):
            x = self.layer(f"enc{i}", x)
            found.append(x)
        top = self.layer("lat5", found[4])
        pyramid = {}
        for i in (4, 3, 2):
            lateral = self.layer(f"lat{i}", found[i - 1])
            top = resize(top, lateral.shape[2:]) + lateral                  # (B, 4d, H / 2^i, W / 2^i)
            pyramid[i] = self.layer(f"final{i}", top)                       # (B, 2d, ...)
        embedding = down(self.embedding(semantics.one_hot(image.shape[2:])))
        predictions = []
        for i in (2, 3, 4):                                                 # the finest first
            embedding = down(embedding)
            match = (self.seg(pyramid[i]) * embedding).sum(1, keepdims=True)
            predictions.append(self.tf(pyramid[i]) + match)
        return [found[1:]], predictions
