"""Painting batches of masks: files read and written in threads while the networks work."""
import time
from dataclasses import dataclass, field

import numpy as np

from data.batches import background_calls, prefetch
from data.landscape import read_image, read_labels
from ldm.algorithm2 import calls, evaluations, synthesise
from ldm.colour_transfer import BY_CLASS
from ldm.large import Large, starts
from runtime.log import progress_bar
from sampling.best_of import Selection, best_of, write_scores

THREADS = 2  # that read, and that write


def needs_masks(sampling):
    """Whether colours go by class, between rounds of which there are several."""
    return sampling.colour_transfer in BY_CLASS and len(sampling.rounds) > 1


def reference_labels(cases, config):
    """The references' own masks, ids (B, h, w) like those of m, where a Config's colours go by class; else None."""
    if not needs_masks(config.sampling):
        return None
    size = config.data.height // config.label_factor, config.data.width // config.label_factor
    return np.stack([read_labels(case.reference_mask, *size, config.data.class_set) for case in cases])


@dataclass
class Painter:
    """Algorithm 2 over cases, into a Submission; with several candidates the best of each mask's is kept."""
    networks: object                         # sampling.networks.Networks
    config: object
    results: object                          # Submission
    selection: Selection = Selection()
    gained: list = field(default_factory=list)   # by the best candidate of each mask over its first

    def run(self, cases):
        """Paints all cases, and prints how long it took."""
        sampling, begun = self.config.sampling, time.monotonic()
        steps = self.steps() * self.selection.candidates
        size = 1 if sampling.large.width else sampling.batch_size                # larger ones need the memory of several
        batches = [cases[i:i + size] for i in range(0, len(cases), size)]
        with progress_bar(total=len(cases) * steps, label="sampling", unit="step") as progress, \
                background_calls(self.results.write, THREADS) as write:
            for batch, (references, labels) in zip(batches, prefetch(self.read, batches, THREADS)):
                for case, image in zip(batch, self.paint(batch, references, labels, progress.update)):
                    write(case.stem, image)
        seconds = time.monotonic() - begun
        if cases:
            print(f"{len(cases)} images in {seconds:.0f} s, {seconds / len(cases):.2f} s each")
        if self.gained:
            print(f"best of {self.selection.candidates} by {self.selection.by.upper()}: "
                  f"{np.mean(self.gained):+.2f} on average over the first")

    def steps(self):
        """Denoising steps of an image, all rounds together, and those of the second pass of a larger one."""
        sampling = self.config.sampling
        return sum(round_.steps for round_ in sampling.rounds) + (sampling.large.round.steps if sampling.large.width else 0)

    def effort(self):
        """For people: what an image takes."""
        config, count = self.config, evaluations(self.config.sampling, self.networks.schedule)
        if not config.sampling.large.width:
            return f"{self.steps()} steps and {count} network evaluations each"
        height, width = config.image_size
        second, windows = calls(config.sampling.large.round, self.networks.schedule), ""
        if config.window:
            (h, w), (rows, columns), overlap = config.window, self.large_latents(), config.sampling.large.overlap
            windows = f" in {len(starts(rows, h, overlap)) * len(starts(columns, w, overlap))} windows"
        return (f"{self.steps()} steps each: {count} network evaluations, then {second} at {width}x{height}{windows}")

    def large_latents(self):
        """(h, w) of the latents of the images."""
        height, width = self.config.image_size
        return height // self.config.autoencoder.factor, width // self.config.autoencoder.factor

    def large(self, batch):
        """The ldm.large.Large of a batch of cases; None at the trained size."""
        if not self.config.sampling.large.width:
            return None
        height, width = (n // self.config.label_factor for n in self.config.image_size)
        labels = np.stack([read_labels(case.mask, height, width, self.config.data.class_set) for case in batch])
        return Large(labels, self.large_latents(), self.config.window)

    def read(self, batch):
        """X_R, uint8 (B, H, W, 3), and m, ids (B, h, w) or larger, of a batch of cases."""
        height, width = self.config.data.height, self.config.data.width
        factor, classes = self.config.label_factor, self.config.data.class_set
        return (np.stack([read_image(case.reference, height, width) for case in batch]),
                np.stack([read_labels(case.mask, height // factor, width // factor, classes) for case in batch]))

    def paint(self, batch, references, labels, progress):
        """The images of a batch, uint8 (B, H, W, 3). progress(n) is called after each denoising step of n images."""
        net, stems, theirs = self.networks, [case.stem for case in batch], reference_labels(batch, self.config)
        large = self.large(batch)

        def synthesised(names):
            return synthesise(net.encode, net.decode, net.unet, references, labels, names, self.config.sampling,
                              net.schedule, self.config.unet.latent_channels,
                              progress=lambda: progress(len(batch)), latent_size=self.config.latent_size,
                              reference_labels=theirs, large=large, between=net.between)[0]

        if self.selection.candidates == 1:
            return synthesised(stems)
        images, scores = best_of(synthesised, stems, self.selection.candidates,
                                 lambda row, image: self.selection.score(batch[row], references[row], image))
        write_scores(self.results.folder, stems, scores)
        self.gained += list(scores.max(1) - scores[:, 0])
        return images
