"""The patch discriminator that autoencoders are trained against (Isola et al. 2017, "pix2pix"; Esser et al. 2021, VQGAN)."""
from models.layers import Conv, GroupNorm, NumberedModules
from runtime.backend import jt, nn

GROUPS = 8


class PatchDiscriminator(nn.Module):
    """Images (B, 3, H, W) -> (B, 1, h, w): of every patch of 70 x 70 pixels how real it looks, the higher the more.

    Group normalisation where the papers have batch normalisation: batches of a few crops have no statistics worth keeping.
    """

    def __init__(self, channels=64, layers=3):
        super().__init__()
        widths = [channels * min(2 ** i, 8) for i in range(layers + 1)]
        self.first = Conv(3, channels, 4, stride=2, padding=1)
        self.convs = NumberedModules({i: Conv(widths[i - 1], widths[i], 4, stride=2 if i < layers else 1, padding=1, bias=False)
                                      for i in range(1, layers + 1)})
        self.norms = NumberedModules({i: GroupNorm(widths[i], groups=GROUPS) for i in range(1, layers + 1)})
        self.last = Conv(widths[-1], 1, 4, padding=1)

    def execute(self, x):
        """x (B, 3, H, W) in [-1, 1] -> (B, 1, H/8 - 2, W/8 - 2)."""
        h = leaky(self.first(x))
        for conv, norm in zip(self.convs, self.norms):
            h = leaky(norm(conv(h), act=False))
        return self.last(h)


def leaky(x):
    """x, a fifth of it below 0."""
    return jt.maximum(x, 0.2 * x)
