"""What a GAN of Table 1 is made of, and what it is trained for: one dataclass per network, the same for all
four families."""
from dataclasses import dataclass, field

from configs.ranges import ranged
from runtime.errors import UserError

FAMILIES = "gaugan", "clade", "sean", "scgan"
WEIGHTINGS = "softmax", "sigmoid", "hardtanh", "identity"
DOUBLINGS = {"normal": 5, "more": 6, "most": 7}   # between the start and the image


@dataclass
class GeneratorConfig:
    """A generator. The names of the authors' options are in docs/baselines.md."""
    family: str = "gaugan"
    classes: int = ranged(29, 1, 4096)   # channels of the one-hot mask, "unknown" among them where there is one
    edges: bool = False           # one more channel: the borders between instances
    channels: int = ranged(64, 1, 8192)   # f, width of the last block
    upsampling: str = "normal"    # normal | more | most: 5, 6 or 7 doublings
    norm: str = "batch"           # GauGAN, CLADE: batch | instance normalisation before the modulation
    vae: bool = False             # starts from a draw of the style encoder in place of the mask
    z_dim: int = ranged(256, 1, 8192)   # of that draw
    start: list[int] = ranged(lambda: [12, 16], 1, 512, length=(2, 2))   # where its images begin: (H, W) of the first layer
    distance: bool = False        # CLADE: offsets to the centre of a pixel's region (CLADE-ICPE)
    style_classes: int = ranged(29, 1, 4096)   # SEAN: classes that have layers for their codes
    routing_channels: int = ranged(32, 1, 8192)   # SCGAN: r, width of the routing network at full size
    first_channels: int = ranged(32, 1, 8192)   # SCGAN: f of the first layer
    conv_experts: int = ranged(3, 1, 64)   # SCGAN: convolutions that are mixed at every pixel
    norm_experts: int = ranged(4, 1, 64)   # SCGAN: affine rows that are mixed at every pixel
    temperature: float = ranged(0.05, 1.0e-6, 1.0e6)   # SCGAN: factor of the logits
    weighting: str = "softmax"    # SCGAN: softmax | sigmoid | hardtanh | identity, of the logits
    spectral_routing: bool = True     # SCGAN: spectral norm in the routing network
    position: int = ranged(0, 0, 16)   # SCGAN: levels of the mask's pyramid that are weighted by position
    gaussian_size: int = ranged(7, 1, 255)   # SCGAN: width of that Gaussian in pixels
    gaussian_sigma: float = ranged(1.5, 1.0e-3, 1.0e3)   # SCGAN: its standard deviation
    gaussian_steps: int = ranged(1, 1, 1000)   # SCGAN: times that it is applied
    gaussian_relative: bool = False   # SCGAN: divided by the step before

    @property
    def doublings(self):
        """Times that the size is doubled between start and image."""
        return DOUBLINGS[self.upsampling]

    @property
    def mask_channels(self):
        """L, channels of what the convolutions on the mask see."""
        return self.classes + self.edges

    def check(self):
        among("gan.generator.family", self.family, FAMILIES)
        among("gan.generator.upsampling", self.upsampling, DOUBLINGS)
        among("gan.generator.weighting", self.weighting, WEIGHTINGS)
        among("gan.generator.norm", self.norm, ("batch", "instance") if self.family in ("gaugan", "clade") else ("batch",))
        if self.family == "sean" and self.vae:
            raise UserError("gan.generator: family is sean with vae, expected one of the two: "
                            "SEAN has an encoder of its own")
        if self.family in ("sean", "scgan") and self.upsampling == "most":
            raise UserError(f"gan.generator: family is {self.family} with upsampling most, expected normal or more: "
                            "no such network was ever published")
        if self.family == "sean" and self.style_classes < self.classes:
            raise UserError(f"gan.generator.style_classes is {self.style_classes}, expected at least classes "
                            f"({self.classes})")


@dataclass
class DiscriminatorConfig:
    """A discriminator."""
    kind: str = "multiscale"      # multiscale | fpse
    channels: int = ranged(64, 1, 8192)   # d, width of the first layer
    mask_channels: int = ranged(29, 1, 4097)   # L
    scales: int = ranged(2, 1, 16)   # multiscale: networks, each on half the size of the one before
    layers: int = ranged(4, 2, 16)   # multiscale: convolutions before the last
    last_stride: int = ranged(1, 1, 2)   # multiscale: stride of the last but one; 2 in SEAN

    def check(self):
        among("gan.discriminator.kind", self.kind, ("multiscale", "fpse"))


@dataclass
class EncoderConfig:
    """The style encoder of a `vae` network."""
    channels: int = ranged(64, 1, 8192)   # e, width of the first layer
    z_dim: int = ranged(256, 1, 8192)


@dataclass
class GanConfig:
    """A GAN and its losses."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    spectral_init: str = "xavier"     # under spectral norm: xavier, as meant | default, as trained on GPUs
    flipped_distance: bool = False    # CLADE, as published: mirrored images get the distance map upside down
    lambda_features: float = ranged(10.0, 0, 1.0e6)   # weight of feature matching
    lambda_vgg: float = ranged(10.0, 0, 1.0e6)   # weight of VGG19's features
    vgg: str = ""                     # weights of VGG19, torchvision's; empty = without
    lambda_kl: float = ranged(0.05, 0, 1.0e6)   # weight of the encoder's divergence
    lambda_side: float = ranged(2.0, 0, 1.0e6)   # SCGAN: weight of the side image
    style: str = "mean"               # of a reference, at test: the encoder's mean | draw, as the authors do
    beta2: float = ranged(0.9, 0, 0.99999999)   # of Adam; beta1 is 0
    decay_from: float = ranged(1.0, 0, 1)   # share of the steps after which the rate falls to 0 in a line

    def check(self):
        among("gan.spectral_init", self.spectral_init, ("xavier", "default"))
        among("gan.style", self.style, ("mean", "draw"))


def among(name, value, choices):
    """UserError where a value is none of the choices."""
    if value not in choices:
        raise UserError(f"{name} is {value!r}, expected {' | '.join(choices)}")
