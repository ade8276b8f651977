"""The options of an experiment: one dataclass per section, one line per field. A yaml may set any, and no others."""
from dataclasses import dataclass, field
from pathlib import Path

from baselines.config import GanConfig
from configs.classes import CLASSES
from configs.own_classes import ClassesConfig
from configs.ranges import MANY, SEEDS, TIMESTEPS, ConfigError, one_of, ranged
from configs.stages import AutoencoderStage, DistilStage, StageConfig

CONFIGS = Path(__file__).resolve().parent
PRECISIONS = ("float32", "bfloat16", "float16")      # what a network can compute in; options also take auto
SCHEDULES = ("linear", "cosine", "scaled_linear", "constant_slope")
SAMPLERS = ("ddim", "ddpm", "dpm++2m", "dpm++2m_sde", "unipc", "distilled")
SPACINGS = ("uniform", "logsnr")
COLOUR_TRANSFERS = ("cielab8", "reinhard", "monge_kantorovich", "class_cielab", "class_monge_kantorovich", "none")


@dataclass
class DataConfig:
    height: int = ranged(384, 8, 16384)         # of the images, pixels; 512x384 is the challenge's size
    width: int = ranged(512, 8, 16384)
    exclude: list[str] = field(default_factory=list)  # stems of training pairs to leave out, or .txt files of them
    # pairs held out of training (at most a tenth of all); 0: none, and seen ones are measured
    validation: int = ranged(100, 0, MANY)
    cache: str = "datasets"           # folder of the latent cache
    flip: bool = True                 # mirrored copies of every pair in the cache
    classes: ClassesConfig = field(default_factory=ClassesConfig)  # of the masks; or a yaml that says them

    @property
    def class_set(self):
        """The configs.classes.ClassSet of the masks."""
        return self.classes.class_set


@dataclass
class AutoencoderConfig:
    path: str = "checkpoints/autoencoder.safetensors"  # where its weights are; train.py makes them when missing
    kind: str = "vq"                  # vq: VQGAN, latents un-quantised on encode, quantised on decode | kl | tiny
    channels: int = ranged(128, 1, 8192)        # width of the first level
    channel_mult: list[int] = ranged(lambda: [1, 2, 4], 1, 64, length=(1, 8))  # one level each; f = 2 ** (levels - 1)
    res_blocks: int = ranged(2, 0, 64)          # per encoder level; a decoder level has one more
    z_channels: int = ranged(3, 1, 1024)
    embed_dim: int = ranged(3, 1, 1024)         # channels of the latent
    codes: int = ranged(8192, 1, 1 << 20)       # rows of the codebook
    # of group normalisation; below 4 channels a group absolute colour is lost
    groups: int = ranged(32, 1, 8192)
    # levels with attention, besides the middle: f8 and f16 models
    attention_levels: list[int] = ranged(list, 0, 7, length=(0, 8))
    global_path: bool = False         # tiny: the coarsest blocks see the whole image
    # tiny: it works at half the size, and a head so wide paints the whole; 0 = none
    upsampler: int = ranged(0, 0, 4096)
    # latents are multiplied by it, so that their deviation is near 1; 0.18215 for SD's kl
    latent_scale: float = ranged(1.0, 1.0e-6, 1.0e6)

    @property
    def factor(self):
        """How many image pixels a latent pixel covers, each way."""
        return 2 ** (len(self.channel_mult) - 1) * (2 if self.upsampler else 1)

    def check(self):
        one_of("autoencoder.kind", self.kind, ["vq", "kl", "tiny"])
        if self.upsampler and self.kind != "tiny":
            raise ConfigError(f"autoencoder.upsampler is {self.upsampler} with kind {self.kind}, expected 0: it is for tiny")
        if self.kind == "tiny":
            if any(m != 1 for m in self.channel_mult) or self.latent_scale != 1:
                raise ConfigError(f"autoencoder: kind is tiny with channel_mult {self.channel_mult} and latent_scale "
                                  f"{self.latent_scale}, expected 1 everywhere: all its levels are equally wide, and its "
                                  "latents are scaled already")
        elif any(self.channels * m % self.groups for m in self.channel_mult):
            raise ConfigError(f"autoencoder.channels is {self.channels} with channel_mult {self.channel_mult}, "
                              f"expected products that autoencoder.groups ({self.groups}) divides")


@dataclass
class TinyConfig:
    """A small autoencoder that imitates the given one, for the way between two rounds (training/tiny.py)."""
    channels: int = ranged(64, 4, 1024)
    res_blocks: int = ranged(3, 1, 64)          # at each size but the image's

    def check(self):
        if self.channels % 4:
            raise ConfigError(f"tiny.channels is {self.channels}, expected a multiple of 4")

    def like(self, autoencoder):
        """The AutoencoderConfig of one with the latents of another's."""
        levels = autoencoder.factor.bit_length()
        return AutoencoderConfig(path="", kind="tiny", channels=self.channels, channel_mult=[1] * levels,
                                 res_blocks=self.res_blocks, z_channels=autoencoder.embed_dim, embed_dim=autoencoder.embed_dim)


@dataclass
class UNetConfig:
    channels: int = ranged(256, 1, 8192)        # width of the first level
    channel_mult: list[int] = ranged(lambda: [1, 1, 2, 3, 4], 1, 64, length=(1, 8))
    res_blocks: int = ranged(2, 1, 64)          # per encoder level; a decoder level has one more
    # down-sampling factors with attention
    attention_factors: list[int] = ranged(lambda: [4, 8, 16], 1, 128, length=(0, 8))
    head_channels: int = ranged(64, 1, 8192)    # channels of an attention head
    classes: int = ranged(len(CLASSES), 1, 4096)
    spade_channels: int = ranged(128, 1, 8192)  # hidden channels of SPADE's mask convolutions
    latent_channels: int = ranged(3, 1, 1024)
    groups: int = ranged(32, 1, 8192)           # of group normalisation
    learn_sigma: bool = True          # predict the variance too: twice the output channels
    mask_resampling: str = "nearest"  # of the mask at each size: nearest pixel, as published | area: each class's share

    def check(self):
        one_of("unet.mask_resampling", self.mask_resampling, ["nearest", "area"])
        if any(self.channels * m % self.groups for m in self.channel_mult):
            raise ConfigError(f"unet.channels is {self.channels} with channel_mult {self.channel_mult}, "
                              f"expected products that unet.groups ({self.groups}) divides")
        for level, mult in enumerate(self.channel_mult):
            if 2 ** level in self.attention_factors and self.channels * mult % self.head_channels:
                raise ConfigError(f"unet.head_channels is {self.head_channels}, expected a divisor of the "
                                  f"{self.channels * mult} channels at down-sampling factor {2 ** level}")


@dataclass
class SegmenterConfig:
    """A SegFormer that evaluate.py can measure M with; B0 of its sizes B0 to B5 unless told otherwise."""
    # of the four stages, with 1, 2, 5, 8 attention heads
    widths: list[int] = ranged(lambda: [32, 64, 160, 256], 1, 4096, length=(4, 4))
    depths: list[int] = ranged(lambda: [2, 2, 2, 2], 1, 64, length=(4, 4))  # blocks of each
    # side of the square of pixels that is one key
    reductions: list[int] = ranged(lambda: [8, 4, 2, 1], 1, 64, length=(4, 4))
    decoder: int = ranged(256, 1, 8192)         # width of the head
    classes: int = ranged(len(CLASSES), 1, 4096)
    # training images are resized by 1/scale to scale at random; 1 = left as they are
    scale: float = ranged(2.0, 1, 8)

    def check(self):
        if any(width % heads for width, heads in zip(self.widths, (1, 2, 5, 8))):
            raise ConfigError(f"segmenter.widths is {self.widths}, expected multiples of 1, 2, 5 and 8 (the attention heads)")


@dataclass
class DiffusionConfig:
    schedule: str = "linear"          # linear | cosine | scaled_linear | constant_slope (beta_t = 2e-5 t)
    timesteps: int = ranged(1000, 1, TIMESTEPS)  # T, length of the noise schedule

    def check(self):
        one_of("diffusion.schedule", self.schedule, SCHEDULES)


@dataclass
class TrainConfig:
    network: str = "iidm"             # what train.py makes: iidm | gan, a row of Table 1
    run: str = "runs/iidm"            # folder of logs, pictures and checkpoints
    seed: int = ranged(0, 0, SEEDS)
    precision: str = "float32"        # of the U-Net: float32 | bfloat16 | float16 | auto = bfloat16 where the GPU has it
    track: str = "none"               # besides the run's own log: none | tensorboard | swanlab | wandb
    # of the U-Net: none | blocks, less memory for more time | auto = where it would not fit; of the autoencoder: blocks alone
    checkpointing: str = "none"
    autoencoder: AutoencoderStage = field(default_factory=lambda: AutoencoderStage(steps=100000, batch_size=2, lr=7.2e-5,
                                                                                   crop=256))
    unet: StageConfig = field(default_factory=lambda: StageConfig(steps=270000))
    distil: DistilStage = field(default_factory=lambda: DistilStage(
        steps=20000, batch_size=4, lr=5.0e-5, warmup=100, decay=True, ema=0.999, save_every=1000, sample_every=1000))
    tiny: StageConfig = field(default_factory=lambda: StageConfig(
        steps=20000, batch_size=4, lr=1.0e-3, warmup=100, decay=True, crop=256, ema=0.999, save_every=1000, sample_every=1000))
    segmenter: StageConfig = field(default_factory=lambda: StageConfig(
        steps=40000, batch_size=8, lr=2.0e-4, warmup=500, decay=True, weight_decay=0.01, ema=0.999, save_every=2000,
        sample_every=2000))
    gan: StageConfig = field(default_factory=lambda: StageConfig(steps=500000, batch_size=4, lr=2.0e-4, ema=0.999))

    def check(self):
        one_of("train.network", self.network, ("iidm", "gan"))
        one_of("train.precision", self.precision, (*PRECISIONS, "auto"))
        one_of("train.track", self.track, ("none", "tensorboard", "swanlab", "wandb"))
        one_of("train.checkpointing", self.checkpointing, ("none", "blocks", "auto"))


@dataclass
class RoundConfig:
    """One round of Algorithm 2: noise to t_start, denoise from there to t = 0."""
    # ddim | ddpm | dpm++2m | dpm++2m_sde | unipc | distilled: of train.py --stage distil, `guidance` is in the weights
    sampler: str = "ddim"
    t_start: int = ranged(598, 0, TIMESTEPS - 1)  # timestep that the image is noised to, 0 to diffusion.timesteps - 1
    steps: int = ranged(300, 1, TIMESTEPS)      # denoising steps from there down to t = 0
    spacing: str = "uniform"          # of their timesteps: uniform, in t | logsnr, in the signal-to-noise ratio's log
    # instead of a spacing: all, from t_start down
    timesteps: list[float] = ranged(list, 0, TIMESTEPS - 1, length=(0, TIMESTEPS))
    guidance: float = ranged(3.5, 1, 100)       # classifier-free guidance scale; 1 = none
    # [low, high]: the t that are guided; [] = all
    guidance_interval: list[float] = ranged(list, 0, TIMESTEPS, length=(0, 2))
    guidance_rescale: float = ranged(0.0, 0, 1)  # way back to the unguided noise's deviation, 0 to 1
    eta: float = ranged(0.0, 0, 1)              # DDIM's noise, 0 = deterministic
    from_noise: bool = False          # no reference, Table 2's DM: z_T ~ N(0, I) at a t_start near the end
    # as the published code: noise of this t, first call at t_start; 0 = t_start
    t_noise: int = ranged(0, 0, TIMESTEPS - 1)

    def check(self):
        one_of("sampling.rounds: sampler", self.sampler, SAMPLERS)
        one_of("sampling.rounds: spacing", self.spacing, SPACINGS)
        if self.t_start == 0 and self.steps > 1:
            raise ConfigError(f"sampling.rounds: steps is {self.steps} from t_start 0, expected 1: there is no lower "
                              "timestep")
        if self.timesteps:
            self.check_timesteps()
        if self.from_noise and self.t_noise:
            raise ConfigError(f"sampling.rounds: t_noise is {self.t_noise} with from_noise, expected 0: no image is noised")
        if self.eta and self.sampler != "ddim":
            raise ConfigError(f"sampling.rounds: eta is {self.eta} with sampler {self.sampler}, expected 0: it is ddim's")
        interval = self.guidance_interval
        if self.sampler == "distilled" and (interval or self.guidance_rescale):
            raise ConfigError("sampling.rounds: guidance_interval or guidance_rescale with sampler distilled, expected "
                              "neither: its guidance is in the weights")
        if interval and not (len(interval) == 2 and 0 <= interval[0] <= interval[1]):
            raise ConfigError(f"sampling.rounds: guidance_interval is {interval}, expected [low, high] with 0 <= low <= high")

    def check_timesteps(self):
        """Raises ConfigError unless `timesteps` falls from t_start in `steps` steps."""
        t = self.timesteps
        if (t[0], len(t)) != (self.t_start, self.steps):
            raise ConfigError(f"sampling.rounds: timesteps are {len(t)} from {t[0]:g}, expected steps ({self.steps}) "
                              f"from t_start ({self.t_start})")
        if any(below >= above for above, below in zip(t, t[1:])) or t[-1] < 0:
            raise ConfigError("sampling.rounds: timesteps do not fall, expected each below the one before, the last at "
                              "least 0")

    def check_schedule(self, timesteps):
        """Raises ConfigError unless the round lies on a schedule of diffusion.timesteps."""
        for name in ("t_start", "t_noise"):
            if not 0 <= getattr(self, name) < timesteps:
                raise ConfigError(f"sampling.rounds: {name} is {getattr(self, name)}, expected 0 to {timesteps - 1}, "
                                  "below diffusion.timesteps")
        # There a picture would still show: alpha_bar is 0.01 at two thirds of the linear schedule.
        if self.from_noise and 3 * self.t_start < 2 * timesteps - 3:
            raise ConfigError(f"sampling.rounds: t_start is {self.t_start} with from_noise, expected {timesteps - 1} or "
                              "little less: pure noise is the end of the schedule")


@dataclass
class LargeConfig:
    """Images larger than the trained size, by a second pass over what the rounds painted (ldm/large.py)."""
    width: int = ranged(0, 0, 16384)            # of the images, pixels; 0 = the trained size
    height: int = ranged(0, 0, 16384)
    round: RoundConfig = field(default_factory=lambda: RoundConfig(t_start=300, steps=30, guidance=2.0))
    # auto: above four times the trained area, or where the U-Net's factor asks for it | always | never
    windows: str = "auto"
    overlap: float = ranged(0.25, 0.05, 0.75)   # of a window, each way, that it shares with the next

    def check(self):
        one_of("sampling.large.windows", self.windows, ("auto", "always", "never"))
        if bool(self.width) != bool(self.height) or self.width % 32 or self.height % 32:
            raise ConfigError(f"sampling.large: the size is {self.width}x{self.height}, expected multiples of 32, or 0x0")
        if self.round.from_noise:
            raise ConfigError("sampling.large.round: from_noise, expected a start from the picture painted at the trained size")


@dataclass
class SamplingConfig:
    rounds: list[RoundConfig] = ranged(lambda: [
        RoundConfig(t_start=598, steps=300, guidance=3.5),
        RoundConfig(t_start=638, steps=320, guidance=3.7),
        RoundConfig(t_start=380, steps=20, guidance=3.7)], length=(1, 100))
    colour_transfer: str = "cielab8"  # between rounds, Eq. (6): one of COLOUR_TRANSFERS; class_*: needs labels/ beside imgs/
    seed: int = ranged(0, 0, SEEDS)
    precision: str = "float32"        # of both networks: float32 | bfloat16 | float16 | auto = bfloat16 where the GPU has it
    batch_size: int = ranged(4, 1, 4096)
    # GB of gamma and beta kept for the masks at hand; 0 = all computed again at every step
    spade_cache_gb: float = ranged(4.0, 0, 1.0e6)
    # memory for images on their way through the autoencoder; at least one goes at a time
    autoencoder_gb: float = ranged(2.0, 0, 1.0e6)
    large: LargeConfig = field(default_factory=LargeConfig)
    between: str = ""                 # the file of a tiny autoencoder, what --stage tiny made, for the way between rounds
    truncate: bool = False            # as the published code: float to uint8 by truncation, not rounding
    # as the published code, with 75: images pass through JPEG files of this quality; 0 = no
    jpeg_between_rounds: int = ranged(0, 0, 100)

    def check(self):
        one_of("sampling.precision", self.precision, (*PRECISIONS, "auto"))
        one_of("sampling.colour_transfer", self.colour_transfer, COLOUR_TRANSFERS)


@dataclass
class OutputConfig:
    jpeg_quality: int = ranged(95, 1, 100)      # of the files written
    full_colour: bool = True          # their colour at full resolution (4:4:4); false: halved (4:2:0), as the published code


@dataclass
class Config:
    data: DataConfig = field(default_factory=DataConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    tiny: TinyConfig = field(default_factory=TinyConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    gan: GanConfig = field(default_factory=GanConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    @property
    def latent_size(self):
        """(h, w) of the latents."""
        return self.data.height // self.autoencoder.factor, self.data.width // self.autoencoder.factor

    @property
    def image_size(self):
        """(height, width) of the images that are painted."""
        large = self.sampling.large
        return (large.height, large.width) if large.width else (self.data.height, self.data.width)

    @property
    def window(self):
        """(h, w) of the latent windows that a larger image is painted in; None where the U-Net sees the whole."""
        (height, width), how = self.image_size, self.sampling.large.windows
        down = self.autoencoder.factor * 2 ** (len(self.unet.channel_mult) - 1)
        many = height * width > 4 * self.data.height * self.data.width or height % down or width % down
        return self.latent_size if how == "always" or how == "auto" and many else None

    @property
    def label_factor(self):
        """Image pixels per pixel, each way, of the masks that the U-Net is given: by area it wants them whole."""
        return 1 if self.unet.mask_resampling == "area" else self.autoencoder.factor

    def check(self):
        down = self.autoencoder.factor * 2 ** (len(self.unet.channel_mult) - 1)
        if self.data.height % down or self.data.width % down:
            raise ConfigError(f"data: {self.data.width}x{self.data.height} is the image size, expected multiples of "
                              f"{down}, the autoencoder's factor {self.autoencoder.factor} times the U-Net's")
        if self.unet.latent_channels != self.autoencoder.embed_dim:
            raise ConfigError(f"unet.latent_channels is {self.unet.latent_channels}, expected autoencoder.embed_dim "
                              f"({self.autoencoder.embed_dim})")
        if self.sampling.large.width:
            self.check_large(down)
        own = len(self.data.classes.classes)
        for name, section in (("unet", self.unet), ("segmenter", self.segmenter)) if own else ():
            if section.classes != own:
                raise ConfigError(f"{name}.classes is {section.classes}, expected {own}, the classes of data.classes")
        for round_ in self.sampling.rounds:
            round_.check_schedule(self.diffusion.timesteps)

    def check_large(self, down):
        """Raises ConfigError unless images of sampling.large can be painted. down: both networks' factors together."""
        large, (height, width) = self.sampling.large, self.image_size
        large.round.check_schedule(self.diffusion.timesteps)
        if height < self.data.height or width < self.data.width:
            raise ConfigError(f"sampling.large: the size is {width}x{height}, expected at least the trained "
                              f"{self.data.width}x{self.data.height}")
        if height % self.autoencoder.factor or width % self.autoencoder.factor:
            raise ConfigError(f"sampling.large: the size is {width}x{height}, expected multiples of the autoencoder's factor "
                              f"{self.autoencoder.factor}")
        if large.windows == "never" and (height % down or width % down):
            raise ConfigError(f"sampling.large: the size is {width}x{height} with windows never, expected multiples of {down}")
