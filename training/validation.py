"""Pictures that the averaged weights paint of held-out masks while training, and their scores: the paper picks by FID.

FID is computed where Inception's weights are given. Else there is a stand-in that is named as one, fid_latents: the same
distance (Heusel et al. 2017) between features of the autoencoder's latents, a channel's mean in each of 2 x 2 fields and its
deviation. It ranks the checkpoints of one run by the pictures they paint; it is no FID, and of two runs it says nothing.
"""
import numpy as np

from configs.schema import RoundConfig, SamplingConfig
from data.landscape import read_image, read_labels
from evaluation.metrics.fid import Statistics, fid
from evaluation.metrics.mask_accuracy import MaskAccuracy
from evaluation.metrics.style import style_similarity
from evaluation.scorers import open_inception, open_segmenter
from ldm.algorithm2 import synthesise
from ldm.pixels import from_uint8
from models.cached_unet import CachedUNet
from runtime.backend import jt

# As in training/unet.py's picture: from so much of the schedule, in so many steps.
START, STEPS, BATCH = 0.6, 16, 4


class Painted:
    """A fixed validation set: masks, each painted in the style of the next image, with the same noise every time."""

    def __init__(self, autoencoder, pairs, labels, schedule, config):
        """labels: (N, h, w) ids, those of the pairs."""
        self.autoencoder, self.schedule, self.config = autoencoder, schedule, config
        options, size, self.classes = config.train.unet, (config.data.height, config.data.width), config.data.class_set
        self.inception = open_inception(options.inception, "pytorch").measure if options.inception else None
        self.segment = open_segmenter(options.segmenter, classes=self.classes).measure if options.segmenter else None
        self.masks = [read_labels(pair.labels, *size, self.classes) for pair in pairs] if self.segment else []
        self.names, self.labels = [pair.stem for pair in pairs], labels.astype(np.int32)
        self.images = np.stack([read_image(pair.image, *size) for pair in pairs])
        self.real = Statistics()
        self.real.update(self.features(self.images))
        round_ = RoundConfig(t_start=int(START * len(schedule)), steps=STEPS, guidance=config.sampling.rounds[0].guidance)
        self.sampling = SamplingConfig(rounds=[round_], colour_transfer="none", seed=config.train.seed)

    def scores(self, model):
        """{"fid_latents", or "fid"; "S"; with a segmenter "M"}, S from 0 to 1, M in percent, of what the model paints."""
        references, painted = np.roll(self.images, 1, axis=0), []
        with jt.no_grad():
            for i in range(0, len(self.names), BATCH):
                part = slice(i, i + BATCH)
                painted.append(synthesise(self.autoencoder.encode, self.autoencoder.decode, CachedUNet(model), references[part],
                                          self.labels[part], self.names[part], self.sampling, self.schedule,
                                          self.config.unet.latent_channels, latent_size=self.config.latent_size)[0])
        painted, found = np.concatenate(painted), Statistics()
        found.update(self.features(painted))
        metrics = {"fid" if self.inception else "fid_latents": float(fid(self.real, found)),
                   "S": float(np.mean([style_similarity(ours, theirs) for ours, theirs in zip(painted, references)]))}
        if self.segment:
            accuracy = MaskAccuracy(self.classes.names)
            for name, mask, image in zip(self.names, self.masks, painted):
                accuracy.update(name, mask, self.segment(image))
            metrics["M"] = accuracy.score()
        return metrics

    def features(self, images):
        """images uint8 (N, H, W, 3) -> (N, 5 C), or Inception's (N, 2048)."""
        if self.inception:
            return np.concatenate([self.inception([image]) for image in images])
        return latent_features(self.autoencoder.encode, images)


def latent_features(encode, images):
    """What the stand-in for FID compares: images uint8 (N, H, W, 3) -> (N, 5 C), of an autoencoder's latents of C channels."""
    with jt.no_grad():
        z = np.concatenate([encode(from_uint8(image[None])).numpy() for image in images])                      # (N, C, h, w)
    n, c, h, w = z.shape
    fields = z[:, :, :h // 2 * 2, :w // 2 * 2].reshape(n, c, 2, h // 2, 2, w // 2).mean((3, 5))
    return np.concatenate([fields.reshape(n, -1), z.std((2, 3))], axis=1)
