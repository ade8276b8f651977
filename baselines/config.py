"""What a GAN of Table 1 is made of: one dataclass per network, the same for all four families."""
from dataclasses import dataclass, field

FAMILIES = "gaugan", "clade", "sean", "scgan"
DOUBLINGS = {"normal": 5, "more": 6, "most": 7}   # between the start and the image


@dataclass
class GeneratorConfig:
    """A generator. The names of the authors' options are in docs/baselines.md."""
    family: str = "gaugan"
    classes: int = 29             # channels of the one-hot mask, "unknown" among them where there is one
    edges: bool = False           # one more channel: the borders between instances
    channels: int = 64            # f, width of the last block
    upsampling: str = "normal"    # normal | more | most: 5, 6 or 7 doublings
    vae: bool = False             # starts from a draw of the style encoder in place of the mask
    z_dim: int = 256              # of that draw
    start: list = field(default_factory=lambda: [12, 16])   # height and width where a `vae` network starts
    distance: bool = False        # CLADE: offsets to the centre of a pixel's region (CLADE-ICPE)
    style_classes: int = 29       # SEAN: classes that have layers for their codes
    routing_channels: int = 32    # SCGAN: r, width of the routing network at full size
    first_channels: int = 32      # SCGAN: f of the first layer
    conv_experts: int = 3         # SCGAN: convolutions that are mixed at every pixel
    norm_experts: int = 4         # SCGAN: affine rows that are mixed at every pixel
    temperature: float = 0.05     # SCGAN: factor of the logits
    weighting: str = "softmax"    # SCGAN: softmax | sigmoid | hardtanh | identity, of the logits
    spectral_routing: bool = True     # SCGAN: spectral norm in the routing network
    position: int = 0             # SCGAN: levels of the mask's pyramid that are weighted by a Gaussian of their position
    gaussian_size: int = 7        # SCGAN: width of that Gaussian in pixels
    gaussian_sigma: float = 1.5   # SCGAN: its standard deviation
    gaussian_steps: int = 1       # SCGAN: times that it is applied
    gaussian_relative: bool = False   # SCGAN: divided by the step before

    @property
    def doublings(self):
        """Times that the size is doubled between start and image."""
        return DOUBLINGS[self.upsampling]

    @property
    def mask_channels(self):
        """L, channels of what the convolutions on the mask see."""
        return self.classes + self.edges


@dataclass
class DiscriminatorConfig:
    """A discriminator."""
    kind: str = "multiscale"      # multiscale | fpse
    channels: int = 64            # d, width of the first layer
    mask_channels: int = 29       # L
    scales: int = 2               # multiscale: networks, each on half the size of the one before
    layers: int = 4               # multiscale: convolutions before the last
    last_stride: int = 1          # multiscale: stride of the last but one; 2 in SEAN


@dataclass
class EncoderConfig:
    """The style encoder of a `vae` network."""
    channels: int = 64            # e, width of the first layer
    z_dim: int = 256
