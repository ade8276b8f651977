"""Painting with a GAN of Table 1: what test.py takes from sampling/networks.py and sampling/painting.py, for
a generator.

Masks are painted one by one, so that an image depends on no other. GauGAN, CLADE and SCGAN with an encoder
take its mean of the reference (gan.style=draw: a draw around it), SEAN the codes of the reference's classes
under the reference's own mask; without an encoder the mask alone says what is painted.
"""
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from baselines.clade import distance_map
from baselines.conventions import convention
from baselines.gan import GAN
from baselines.layers import set_training
from baselines.semantics import Semantics, instance_edges
from baselines.weights import load_gan, open_gan
from configs.reading import load_config
from data.landscape import read_image, read_labels
from ldm.noise import generator as keyed
from ldm.pixels import from_uint8, to_uint8
from models.weights.checkpoint import weights_hash
from runtime.backend import jt
from runtime.errors import UserError
from sampling import painting
from sampling.best_of import best_of, write_scores


@dataclass(frozen=True)
class Networks:
    """The GAN, and how the challenge's 29 ids are called in its classes."""
    gan: GAN
    convention: str
    ids: np.ndarray                   # (29,)
    hashes: dict


def settings(checkpoint, config=None, overrides=(), weights="ema"):
    """The Config to paint with and the GAN's Weights; a yaml beside them may change `sampling` and
    `output`."""
    found, tensors = open_gan(checkpoint, weights, overrides)
    if config:
        free = [override for override in overrides if override.startswith(("sampling.", "output."))]
        theirs = load_config(config, free, whole=False)
        found.sampling, found.output = theirs.sampling, theirs.output
    return found, tensors


def load_networks(config, checkpoint, weights):
    """The Networks, ready to paint."""
    for note in weights.notes:
        print(note)
    if config.sampling.large.width:
        raise UserError(f"--size: {checkpoint} is a GAN's, expected a U-Net's: only diffusion has a second pass")
    gan = load_gan(config, weights, checkpoint)
    set_training(gan, False)
    name, ids = convention(config.gan.generator.classes, str(checkpoint), config.data.class_set)
    return Networks(gan, name, ids, {"gan": weights_hash(gan), "style": config.gan.style})


class Painter(painting.Painter):
    """A generator's way through cases, into a Submission; with several candidates the best of each mask's is
    kept."""

    def run(self, cases):
        """Paints all cases. UserError that names every reference whose own mask SEAN needs and does not
        find."""
        if self.networks.gan.codes:
            problems = [f"{mask_of(case.reference)}: found no mask of the reference {case.reference}, expected one: "
                        "SEAN takes a style code from every class of a reference"
                        for case in cases if not mask_of(case.reference).is_file()]
            if problems:
                raise UserError(problems)
        super().run(cases)

    def steps(self):
        """One call of the generator paints an image."""
        return 1

    def effort(self):
        """For people: what an image takes."""
        generator = self.config.gan.generator
        what = "its mask alone" if not self.networks.gan.takes_reference else "its mask and reference"
        return f"one pass of {generator.family} each, from {what}"

    def read(self, batch):
        """References, uint8 (B, H, W, 3), and, for each, the ids (H, W) of its mask and, for SEAN, of the
        reference's own."""
        size, classes = (self.config.data.height, self.config.data.width), self.config.data.class_set
        own = lambda case: read_labels(mask_of(case.reference), *size, classes) if self.networks.gan.codes else None
        return (np.stack([read_image(case.reference, *size) for case in batch]),
                [(read_labels(case.mask, *size, classes), own(case)) for case in batch])

    def paint(self, batch, references, labels, progress):
        """The images of a batch, uint8 (B, H, W, 3). progress(1) is called after each."""
        images = []
        for case, reference, (mask, own) in zip(batch, references, labels):
            def painted(names, case=case, reference=reference, mask=mask, own=own):
                progress(1)
                drawn = self.config.gan.style == "draw" or names[0] != case.stem   # other candidates differ by it
                return self.image(reference, mask, own, names[0], drawn, str(case.reference))[None]

            if self.selection.candidates == 1:
                images.append(painted([case.stem])[0])
                continue
            score = lambda row, image, case=case, reference=reference: self.selection.score(case, reference, image)
            best, scores = best_of(painted, [case.stem], self.selection.candidates, score)
            write_scores(self.results.folder, [case.stem], scores)
            self.gained += list(scores.max(1) - scores[:, 0])
            images.append(best[0])
        return np.stack(images)

    def image(self, reference, labels, own, name, drawn=False, where=""):
        """The image of labels (H, W) in the style of a reference (H, W, 3), whose own labels SEAN takes:
        uint8 (H, W, 3). name keys the noise; drawn: a draw of the style encoder, not its mean."""
        gan, seed, eps = self.networks.gan, self.config.sampling.seed, None
        if drawn:
            eps = keyed(seed, name, 0, "z").standard_normal((1, self.config.gan.generator.z_dim), dtype=np.float32)
        noise = lambda layer, shape: keyed(seed, name, 0, layer).standard_normal(shape, dtype=np.float32)
        semantics = self.semantics(labels)
        with jt.no_grad():
            style = None
            if gan.takes_reference:
                theirs = semantics if own is None else self.semantics(own)
                style = gan.reference_style(from_uint8(reference[None]), theirs, eps, [where])
            return to_uint8(gan.generator(semantics, style, noise), self.config.sampling.truncate)[0]

    def semantics(self, labels):
        """What is known of the pixels of one mask of the challenge's classes. Without instances, borders are
        those of classes."""
        generator = self.config.gan.generator
        ids = np.where(labels < 0, -1, self.networks.ids[np.maximum(labels, 0)])[None]
        edges = instance_edges(ids) if generator.edges else None
        distance = None
        if generator.distance:
            skip = (0,) if self.networks.convention == "ADE20K" else ()      # as published: 0 is "unknown" there
            distance = distance_map(ids[0], skip)[None]
        return Semantics(ids, generator.classes, edges, distance)


def mask_of(reference):
    """Where the own mask of a training image lies: labels/<stem>.png beside imgs/."""
    path = Path(reference)
    return path.parent.parent / "labels" / f"{path.stem}.png"
