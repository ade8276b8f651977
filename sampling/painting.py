"""Painting batches of masks: files read and written in threads while the networks work."""
from dataclasses import dataclass, field
from typing import Callable, Optional

import numpy as np

from data.batches import background_calls, prefetch
from data.landscape import read_image, read_labels
from ldm.algorithm2 import synthesise
from sampling.best_of import best_of, write_scores

THREADS = 2  # that read, and that write


@dataclass
class Painter:
    """Algorithm 2 over cases, into a Submission; with several candidates the best of each mask's is kept."""
    networks: tuple                          # of sampling.networks.load_networks: encode, decode, model, schedule
    config: object
    results: object                          # Submission
    candidates: int = 1
    score: Optional[Callable] = None         # (case, reference, image) -> float, with several candidates
    gained: list = field(default_factory=list)   # by the best candidate of each mask over its first

    def run(self, cases, batch_size, progress):
        """Paints all cases; progress(n) is called after each step of n images."""
        height, width, factor = self.config.data.height, self.config.data.width, self.config.autoencoder.factor

        def read(batch):
            return (np.stack([read_image(case.reference, height, width) for case in batch]),
                    np.stack([read_labels(case.mask, height // factor, width // factor) for case in batch]))

        batches = [cases[i:i + batch_size] for i in range(0, len(cases), batch_size)]
        with background_calls(self.results.write, THREADS) as write:
            for batch, (references, labels) in zip(batches, prefetch(read, batches, THREADS)):
                for case, image in zip(batch, self.paint(batch, references, labels, progress)):
                    write(case.stem, image)

    def paint(self, batch, references, labels, progress):
        """The images of a batch, uint8 (B, H, W, 3)."""
        encode, decode, model, schedule = self.networks
        stems = [case.stem for case in batch]

        def synthesised(names):
            return synthesise(encode, decode, model, references, labels, names, self.config.sampling, schedule,
                              self.config.unet.latent_channels, progress=lambda: progress(len(batch)))[0]

        if self.candidates == 1:
            return synthesised(stems)
        images, scores = best_of(synthesised, stems, self.candidates,
                                 lambda row, image: self.score(batch[row], references[row], image))
        write_scores(self.results.folder, stems, scores)
        self.gained += list(scores.max(1) - scores[:, 0])
        return images
