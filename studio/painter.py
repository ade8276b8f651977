"""Painting one mask while somebody watches: Algorithm 2 exactly as test.py runs it, looked at from outside.

The network and the decoder are wrapped; a wrapper passes on what it is given and remembers it. So a picture has the same pixels
whether it is watched or not, and the same as test.py's for the same mask name, reference, seed and settings.
"""
import dataclasses
import functools
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from configs.reading import config_dict
from data.landscape import read_labels
from data.synthetic import scene
from ldm.algorithm2 import synthesise
from ldm.guidance import eps_channels
from ldm.pixels import from_uint8, to_uint8
from ldm.schedule import alpha_bar_at
from runtime.backend import DEVICE
from runtime.errors import UserError
from sampling.networks import find_checkpoint, load_networks, settings
from studio.presets import applied, presets
from studio.preview import fit
from studio.shelf import SEED, STYLES
from studio.uploads import Upload, png

ROOT = Path(__file__).resolve().parent.parent
FITTED = 4                            # landscapes that the preview's colours are fitted to
DEMOS = (("demo", ROOT / "demo/weights"), ("mini", ROOT / "demo/weights/mini"))      # a config, and the folder of its networks


def open_painter(checkpoint=None, autoencoder=None, segmenter=None, precision=None):
    """The Painter of the weights that test.py would take; of the demo's where there is nothing. Raises UserError."""
    demo = None
    try:
        checkpoint = find_checkpoint(checkpoint)
    except UserError:
        demo = next(((config, folder) for config, folder in DEMOS if (folder / "unet.safetensors").is_file()), None)
        if checkpoint or not demo:
            raise
        checkpoint = shown(demo[1] / "unet.safetensors")
        autoencoder = autoencoder or shown(demo[1] / "autoencoder.safetensors")
    given = [f"autoencoder.path={autoencoder}"] if autoencoder else []
    given += [f"sampling.precision={precision}"] if precision else []
    given.append("sampling.between=")                                  # what is watched is decoded by the real one
    config, weights = settings(checkpoint, demo and demo[0], given)
    return Painter(checkpoint, config, load_networks(config, checkpoint, weights), segmenter, demo)


class Painter:
    """The loaded networks and everything the studio asks of them. Only the painting thread calls paint() and segment()."""

    def __init__(self, checkpoint, config, networks, segmenter=None, demo=None):
        self.checkpoint, self.config = checkpoint, config
        self.networks = networks
        self.height, self.width, self.classes = config.data.height, config.data.width, config.data.class_set
        self.presets = presets(config.sampling, self.networks.schedule)
        self.live = min(self.presets, key=lambda id_: self.presets[id_].evaluations)
        self.instrument = None
        if segmenter:
            from evaluation.scorers import open_segmenter
            self.instrument = open_segmenter(segmenter, classes=self.classes)
        self.segmenter = self.instrument is not None
        what = f"the demo's weights, since no others were found; --checkpoint names them ({checkpoint})" if demo else checkpoint
        self.about = {"line": f"{what}: {self.width}x{self.height}, on the {DEVICE}", "checkpoint": str(checkpoint),
                      "short": f"{'demo weights' if demo else Path(checkpoint).stem} · {self.width} × {self.height} · {DEVICE}"}

    @functools.cached_property
    def colours(self):
        """The LatentColours of this autoencoder, fitted when first asked for."""
        factor = self.config.autoencoder.factor
        height, width = min(self.height, 24 * factor), min(self.width, 32 * factor)
        # Drawn small and enlarged: it is their colours that count.
        small = max(height // 4, 48), max(width // 4, 64)
        images = [cv2.resize(scene(SEED, index, *small, palette)[0], (width, height), interpolation=cv2.INTER_LINEAR)
                  for index, palette in STYLES[:FITTED]]
        latents = [self.networks.encode(from_uint8(image[None])).numpy()[0] for image in images]
        return fit(np.stack(latents), np.stack(images))

    def warm_up(self, watch=None):
        """Paints a few steps for nobody: operators that are missing are compiled before somebody waits for them."""
        first = self.presets[self.live].sampling
        short = dataclasses.replace(first, rounds=[dataclasses.replace(first.rounds[0], steps=5, timesteps=[])])
        style, mask = np.full((self.height, self.width, 3), 127, np.uint8), np.zeros((self.height, self.width), np.uint8)
        self.paint(style, png(mask), ["warm-up"], short, watch or Nobody())

    # ------------------------------------------------------------------------------------------ what is asked

    def sampling(self, wish):
        """The SamplingConfig of a studio.asked.Asked. Raises UserError."""
        return applied(self.presets[wish.preset], wish, self.config.sampling.precision)

    def settings(self, sampling):
        """(sampling, output) as a config's sections, for a recipe."""
        return dataclasses.asdict(sampling), config_dict(self.config)["output"]

    def provenance(self):
        """Which weights, for a recipe."""
        return {"checkpoint": str(self.checkpoint), "autoencoder": str(self.config.autoencoder.path),
                "weights": self.networks.hashes}

    # ------------------------------------------------------------------------------------------ work

    def paint(self, style, mask_png, names, sampling, watch):
        """The pictures of one mask, uint8 (B, H, W, 3), a name each that keys its noise.

        style: uint8 (H, W, 3); mask_png: bytes; watch: studio.server.Watch, told after every step and round.
        """
        factor, count = self.config.label_factor, len(names)
        labels = read_labels(Upload(mask_png, "the mask"), self.height // factor, self.width // factor, self.classes)
        seen = Seen(self, sampling, watch)
        images, _ = synthesise(self.networks.encode, seen.decode, seen, np.stack([style] * count), np.stack([labels] * count),
                               names, sampling, self.networks.schedule, self.config.unet.latent_channels, seen.step,
                               latent_size=self.config.latent_size)
        return images

    def segment(self, image):
        """Class ids uint8 (H, W) of a photo (H, W, 3)."""
        return np.asarray(self.instrument.measure(image), np.uint8)

    def encoded(self, image):
        """A picture as the JPEG that test.py writes."""
        file, output = io.BytesIO(), self.config.output
        Image.fromarray(image).save(file, format="JPEG", quality=output.jpeg_quality,
                                    subsampling="4:4:4" if output.full_colour else "4:2:0")
        return file.getvalue()


class Nobody:
    """Watches nothing."""

    def step(self, *told):
        """Heard by nobody."""

    def round(self, *told):
        """Heard by nobody."""


class Seen:
    """The network and the decoder as Algorithm 2 calls them, and what passes through them as somebody watches it."""

    def __init__(self, painter, sampling, watch):
        self.painter, self.sampling, self.watch = painter, sampling, watch
        self.total, self.done, self.k = sum(round_.steps for round_ in sampling.rounds), 0, 0
        self.at = None                                                 # (z_t, t, outputs) of the step that is under way

    def __call__(self, z, t, labels):
        """The network's output with the mask."""
        out = self.painter.networks.unet(z, t, labels)
        self.at = z, t, (out,)
        return out

    def branches(self, z, t, labels):
        """The network's outputs with and without the mask."""
        out = self.painter.networks.unet.branches(z, t, labels)
        self.at = z, t, out
        return out

    def step(self):
        """After a denoising step: the predicted z_0 of its beginning, in colours."""
        z_t, t, out = self.at
        eps = [eps_channels(part, z_t).numpy() for part in out]
        eps = eps[0] if len(eps) == 1 else eps[1] + self.sampling.rounds[self.k].guidance * (eps[0] - eps[1])
        alpha_bar = float(alpha_bar_at(self.painter.networks.schedule, t))
        z_0 = (z_t.numpy() - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar ** 0.5
        self.at, self.done = None, self.done + 1
        self.watch.step(self.done, self.total, self.k, len(self.sampling.rounds), t, self.painter.colours(z_0))

    def decode(self, z_0):
        """The decoder's output at the end of a round."""
        x = self.painter.networks.decode(z_0)
        self.watch.round(self.k, len(self.sampling.rounds), to_uint8(x, self.sampling.truncate))
        self.k += 1
        return x


def shown(path):
    """A path from the working directory, where it lies below it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
