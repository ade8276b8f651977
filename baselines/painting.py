"""Painting masks in the style of their references with a GAN of Table 1, one by one: an image depends on no other."""
from pathlib import Path

import numpy as np

from baselines.clade import distance_map
from baselines.conventions import convention
from baselines.layers import set_training
from baselines.semantics import Semantics, instance_edges
from baselines.weights import load_gan
from data.batches import background_calls, prefetch
from data.landscape import read_image, read_labels
from ldm.noise import generator as keyed
from ldm.pixels import from_uint8, to_uint8
from models.weights.checkpoint import weights_hash
from runtime.backend import jt
from runtime.errors import UserError
from sampling.best_of import best_of, write_scores

THREADS = 2  # that read, and that write


class GanPainter:
    """A generator's way through cases, into a Submission."""

    def __init__(self, config, weights, checkpoint):
        self.config, self.generator = config, config.gan.generator
        self.gan = load_gan(config, weights, checkpoint)
        set_training(self.gan, False)
        self.labels_are, self.table = convention(self.generator.classes, str(checkpoint))
        self.hash = weights_hash(self.gan)
        self.gained = []

    def check(self, cases):
        """UserError that names every reference whose own mask SEAN needs and does not find."""
        if not self.gan.codes:
            return
        problems = [f"{case.reference}: found no mask of it at {mask_of(case.reference)}, expected it there: SEAN takes a "
                    "style code from every class of the reference" for case in cases if not mask_of(case.reference).is_file()]
        if problems:
            raise UserError(problems)

    def run(self, cases, results, progress, candidates=1, score=None):
        """Paints all cases; progress(1) is called after each image. With several candidates the best by score(case, reference,
        image) is kept."""
        size = self.config.data.height, self.config.data.width

        def read(case):
            own = read_labels(mask_of(case.reference), *size) if self.gan.codes else None
            return read_image(case.reference, *size), read_labels(case.mask, *size), own

        with background_calls(results.write, THREADS) as write:
            for case, (reference, labels, own) in zip(cases, prefetch(read, cases, THREADS)):
                def paint(names, case=case, reference=reference, labels=labels, own=own):
                    progress(1)
                    drawn = self.config.sampling.gan_style == "draw" or names[0] != case.stem
                    return self.paint(reference, labels, own, names[0], drawn, str(case.reference))[None]

                if candidates == 1:
                    image = paint([case.stem])[0]
                else:
                    images, scores = best_of(paint, [case.stem], candidates,
                                             lambda row, image, case=case, reference=reference: score(case, reference, image))
                    write_scores(results.folder, [case.stem], scores)
                    self.gained += list(scores.max(1) - scores[:, 0])
                    image = images[0]
                write(case.stem, image)

    def paint(self, reference, labels, own, name, drawn=False, where=""):
        """The image of labels (H, W) in the style of a reference (H, W, 3), whose own labels SEAN takes: uint8 (H, W, 3). name
        keys the noise; drawn: a draw of the style encoder, not its mean."""
        seed, z = self.config.sampling.seed, None
        if drawn:
            z = keyed(seed, name, 0, "z").standard_normal((1, self.generator.z_dim), dtype=np.float32)
        noise = lambda layer, shape: keyed(seed, name, 0, layer).standard_normal(shape, dtype=np.float32)
        semantics = self.semantics(labels)
        with jt.no_grad():
            style = None
            if self.gan.takes_reference:
                theirs = semantics if own is None else self.semantics(own)
                style = self.gan.reference_style(from_uint8(reference[None]), theirs, z, [where])
            return to_uint8(self.gan.generator(semantics, style, noise), self.config.sampling.truncate)[0]

    def semantics(self, labels):
        """What is known of the pixels of one mask of the challenge's classes. Without instances, borders are those of classes."""
        ids = np.where(labels < 0, -1, self.table[np.maximum(labels, 0)])[None]
        edges = instance_edges(ids) if self.generator.edges else None
        distance = None
        if self.generator.distance:
            skip = (0,) if self.labels_are == "ADE20K" else ()      # as published: 0 is "unknown" there
            distance = distance_map(ids[0], skip)[None]
        return Semantics(ids, self.generator.classes, edges, distance)


def mask_of(reference):
    """Where the own mask of a training image lies: labels/<stem>.png beside imgs/."""
    path = Path(reference)
    return path.parent.parent / "labels" / f"{path.stem}.png"
