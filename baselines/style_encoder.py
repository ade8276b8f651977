"""The style encoder of GauGAN, CLADE and SCGAN: the mean and variance of a latent z, as in a VAE (Kingma and
Welling 2014)."""
from baselines.layers import instance_norm, leaky
from baselines.spectral_norm import SpectralConv
from models.kernels.bilinear import resize
from models.layers import Linear, NumberedModules
from runtime.backend import jt, nn

SIDE = 256              # of the square that images are resized to
LAYERS = 6


class StyleEncoder(nn.Module):
    """Image -> mu, logvar."""

    def __init__(self, config):
        super().__init__()
        widths = [3, *(min(2 ** i, 8) * config.channels for i in range(LAYERS))]
        for i in range(LAYERS):
            conv = SpectralConv(widths[i], widths[i + 1], stride=2, bias=False)
            setattr(self, f"layer{i + 1}", NumberedModules({0: conv}))
        flat = widths[-1] * (SIDE >> LAYERS) ** 2
        self.fc_mu, self.fc_var = Linear(flat, config.z_dim), Linear(flat, config.z_dim)

    def execute(self, image):
        """image (B, 3, H, W) in [-1, 1] -> mu, logvar (B, 256)."""
        x = image if list(image.shape[2:]) == [SIDE, SIDE] else resize(image, (SIDE, SIDE))
        for i in range(LAYERS):
            x = leaky(instance_norm(getattr(self, f"layer{i + 1}")[0](x)))
        x = x.reshape(x.shape[0], -1)
        return self.fc_mu(x), self.fc_var(x)


def draw(mu, logvar, eps):
    """z = mu + eps * sigma; eps (B, 256) normal."""
    return mu + eps * jt.exp(0.5 * logvar)
