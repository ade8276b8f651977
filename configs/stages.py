"""How one network is trained: the options of train.autoencoder, train.unet, train.distil, train.tiny, train.segmenter and
train.gan."""
from dataclasses import dataclass

from configs.ranges import MANY, ConfigError, one_of, ranged


@dataclass
class StageConfig:
    """How one network is trained."""
    init_from: str = ""               # checkpoint whose weights training begins with; empty = drawn from the seed
    steps: int = ranged(1000, 1, MANY)
    batch_size: int = ranged(5, 1, 65536)
    lr: float = ranged(1.0e-4, 0, 10)
    warmup: int = ranged(0, 0, MANY)            # steps over which the learning rate rises from 0
    decay: bool = False               # cosine decay of the learning rate to 0 over `steps`
    weight_decay: float = ranged(0.0, 0, 10)
    clip: float = ranged(0.0, 0, 1.0e9)         # largest norm of all gradients together; 0 = any. With one it is logged
    accumulate: int = ranged(1, 1, 65536)       # parts that a batch is computed in: less memory, the same step
    ema: float = ranged(0.9999, 0, 0.99999999)  # Eq. in training/ema.py: min(ema, (1 + n) / (10 + n))
    # further lengths kept beside it, of which validation chooses; U-Net only
    more_ema: list[float] = ranged(list, 0, 0.99999999, length=(0, 8))
    mask_dropout: float = ranged(0.2, 0, 1)     # p(mask dropped) for classifier-free guidance; U-Net only
    timesteps: str = "uniform"        # uniform, as published | logit_normal: the middle ones more often; U-Net only
    min_snr: float = ranged(0.0, 0, 1000)       # gamma of min-SNR loss weights; 0 = all timesteps weigh the same; U-Net only
    # side of the random square crops, pixels; 0 = whole images; not of the U-Net
    crop: int = ranged(0, 0, 16384)
    # step at which the codes are placed on latents and quantising begins; 0 = as they are
    codebook_start: int = ranged(1000, 0, MANY)
    save_every: int = ranged(5000, 1, MANY)     # steps between checkpoints; each is validated
    sample_every: int = ranged(5000, 1, MANY)   # steps between pictures: mask | reference | sample
    keep: int = ranged(5, 1, MANY)              # newest checkpoints kept besides the best ones
    keep_best: int = ranged(2, 1, MANY)         # checkpoints kept by their validation loss
    # held-out masks painted at each checkpoint for FID's stand-in and S; U-Net only
    validate_images: int = ranged(0, 0, MANY)
    inception: str = ""               # weights by which these have FID itself in the stand-in's place; U-Net only
    segmenter: str = ""               # weights by which these have M, as --segmenter of evaluate.py; U-Net only
    # what ranks checkpoints: val_loss | fid | S | M | auto = fid where measured, else val_loss
    best_by: str = "auto"
    workers: int = ranged(2, 1, 256)            # threads that read batches ahead

    def check(self):
        one_of("train: timesteps", self.timesteps, ["uniform", "logit_normal"])
        one_of("train: best_by", self.best_by, ("auto", "val_loss", "fid", "S", "M"))
        if self.validate_images == 1:
            raise ConfigError("train: validate_images is 1, expected 0, or at least 2: one has no covariance")
        if self.accumulate > 1 and self.batch_size % self.accumulate:
            raise ConfigError(f"train: batch_size is {self.batch_size}, expected a multiple of accumulate ({self.accumulate})")


@dataclass
class AutoencoderStage(StageConfig):
    """How an autoencoder is trained: by L1 and the loss of its codebook (vq) or distribution (kl), and by what is asked for."""
    kl: float = ranged(1.0e-6, 0, 1000)         # weight of the divergence from N(0, I); of kind kl
    # SqueezeNet 1.1's weights and LPIPS's heads on it (squeeze.pth): with both there is a perceptual loss
    lpips_trunk: str = ""
    lpips_heads: str = ""
    perceptual: float = ranged(1.0, 0, 1000)    # its weight beside L1
    # weight of a patch discriminator's loss, beside the one that adapts; 0 = no discriminator
    adversarial: float = ranged(0.0, 0, 1000)
    adversarial_start: int = ranged(10000, 0, MANY)   # step from which it plays
    discriminator: int = ranged(64, 8, 1024)    # width of its first layer, a multiple of 8
    # every so many steps, codes that were not used since are placed on latents of the batch; 0 = never; of kind vq
    revive_every: int = ranged(0, 0, MANY)

    def check(self):
        super().check()
        if bool(self.lpips_trunk) != bool(self.lpips_heads):
            raise ConfigError(f"train.autoencoder: lpips_trunk is {self.lpips_trunk!r} and lpips_heads {self.lpips_heads!r}, "
                              "expected both or neither")
        if self.discriminator % 8:
            raise ConfigError(f"train.autoencoder: discriminator is {self.discriminator}, expected a multiple of 8")
        if self.adversarial and self.accumulate > 1:
            raise ConfigError(f"train.autoencoder: accumulate is {self.accumulate} with adversarial, expected 1: the "
                              "discriminator takes a step with every batch")


@dataclass
class DistilStage(StageConfig):
    """How a student that needs few calls a round is made of a U-Net (training/distil.py)."""
    teacher: str = ""                 # checkpoint of the U-Net that the student imitates, and without init_from begins with
    # the teacher's solver along the way: ddim | dpm++2m | unipc
    solver: str = "dpm++2m"
    teacher_steps: int = ranged(2, 1, 64)       # of it for a call of the student

    def check(self):
        super().check()
        one_of("train.distil: solver", self.solver, ("ddim", "dpm++2m", "unipc"))
        if self.more_ema or self.validate_images:
            raise ConfigError("train.distil: more_ema or validate_images, expected neither: they are of the U-Net's training")
