"""The latent cache built by several processes: each encodes a share of the images, process 0 puts the shares together.

A share is a cache of its own beside the whole one, <cache>.part-1-of-4, so that a stopped build goes on in it; process 0
encodes the first share, then takes the rows of the others as they are. The whole has the bits that one process would give
it: shares begin where one process's batches do. With another number of processes than before, shares begin anew.
"""
from pathlib import Path

import numpy as np

from data.latents import build_or_open, describe, images_per_batch, open_latents, opened, remove


def build_together(pairs, config_data, factor, encode, weights_hash, directory, ranks, label_factor=None):
    """The Latents of pairs, as data.latents.build_or_open gives them; ranks: the processes (training/ranks.py), all of which
    call this."""
    pairs, directory = sorted(pairs, key=lambda pair: pair.stem), Path(directory)
    wanted, missing = None, 0
    if ranks.rank == 0:
        wanted = describe(pairs, config_data, factor, weights_hash, label_factor=label_factor or factor)
        missing = int(opened(directory, wanted)[0] is None)
    if ranks.largest(missing)[0] and ranks.size > 1:
        with ranks.first():                                  # process 0 compiles what the others then find
            encode(np.zeros((2, config_data.height, config_data.width, 3), np.uint8))
    else:
        ranks = None
    bounds = shares(len(pairs), ranks.size, images_per_batch(config_data)) if ranks else []
    part = lambda rank: directory.with_name(f"{directory.name}.part-{rank}-of-{ranks.size}")
    if wanted is None and ranks:
        begin, end = bounds[ranks.rank]
        if end > begin:
            build_or_open(pairs[begin:end], config_data, factor, encode, weights_hash, part(ranks.rank), progress=False,
                          label_factor=label_factor)
        ranks.wait()                                         # the shares are there
        ranks.wait()                                         # the whole is
    if wanted is None:
        return open_latents(directory)
    others = Others(ranks, bounds, part, 2 if config_data.flip else 1) if ranks else None
    latents = build_or_open(pairs, config_data, factor, encode, weights_hash, directory, label_factor=label_factor,
                            wanted=wanted, made=others)
    if others:
        others.close(directory)
    return latents


class Others:
    """The shares of the other processes, for process 0."""

    def __init__(self, ranks, bounds, part, copies):
        self.ranks, self.bounds, self.part, self.copies = ranks, bounds, part, copies
        self.there, self.rank, self.latents = False, None, None

    def __call__(self, start, end):
        """z and labels of images start .. end, of one share; None for those of the first, which process 0 encodes itself."""
        if start < self.bounds[0][1]:
            return None
        self.wait()
        rank = next(i for i, (begin, stop) in enumerate(self.bounds) if begin <= start < stop)
        if rank != self.rank:
            self.rank, self.latents = rank, open_latents(self.part(rank))
        rows = slice(*((image - self.bounds[rank][0]) * self.copies for image in (start, end)))
        return self.latents.z[rows], self.latents.labels[rows]

    def wait(self):
        """Until the shares are there."""
        if not self.there:
            self.ranks.wait()
        self.there = True

    def close(self, directory):
        """The whole is there: nobody needs the shares."""
        self.wait()
        self.latents = None
        for folder in directory.parent.glob(f"{directory.name}.part-*-of-*"):
            remove(folder)
        self.ranks.wait()


def shares(images, processes, each):
    """[(begin, end)] of every process: whole batches of `each` images, as many as the others have or one more."""
    batches = -(-images // each)
    edges = [min(images, batches * rank // processes * each) for rank in range(processes + 1)]
    return list(zip(edges, edges[1:]))
