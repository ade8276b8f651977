"""The latent cache of several processes, here threads that wait for each other, has the bytes of one process's."""
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from configs.schema import DataConfig
from data.landscape import find_train
from data.latents_together import build_together, shares
from tests.data.test_latents import COUNT, FACTOR, Encoder, H, W, train  # noqa: F401 (a fixture)


class Thread:
    """What training.ranks.Ranks is to the cache, among threads."""

    def __init__(self, rank, barrier, values):
        self.rank, self.size, self.barrier, self.values = rank, barrier.parties, barrier, values

    def wait(self):
        self.barrier.wait(20)

    @contextlib.contextmanager
    def first(self):
        if self.rank:
            self.wait()
        yield
        if not self.rank:
            self.wait()

    def largest(self, value):
        self.values[self.rank] = value
        self.wait()
        return (max(self.values),)


def built(folder, cache, processes, encoders=None):
    """The cache's files, and how many images each process encoded for it."""
    encoders = encoders or [Encoder() for _ in range(processes)]
    barrier, values = threading.Barrier(processes), [0] * processes
    call = lambda rank: build_together(find_train(folder, ()), DataConfig(height=H, width=W), FACTOR, encoders[rank], "w",
                                       folder / cache, Thread(rank, barrier, values))
    with ThreadPoolExecutor(processes) as pool:
        found = list(pool.map(call, range(processes)))
    assert len({latents.fingerprint for latents in found}) == 1
    left = sorted(path.name for path in folder.iterdir() if path.name.startswith(f"{cache}."))
    assert left == [], left
    return {path.name: path.read_bytes() for path in (folder / cache).iterdir()}, [encoder.seen for encoder in encoders]


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_make_the_cache_that_one_makes_each_its_share(train, processes):  # noqa: F811
    whole, seen = built(train, "whole", 1)
    together, shared = built(train, "together", processes)
    assert whole == together and seen == [2 * COUNT]
    assert sum(shared) == 2 * COUNT + 2 * processes and max(shared) < 2 * COUNT       # each warmed up on two
    assert built(train, "together", processes)[1] == [0] * processes                  # and again: it is there


@pytest.mark.parametrize("images, processes, each", [(10, 3, 2), (5, 2, 2), (3, 8, 2), (1000, 7, 1)])
def test_shares_are_whole_batches_and_together_all(images, processes, each):
    found = shares(images, processes, each)
    assert found[0][0] == 0 and found[-1][1] == images
    assert all(end == begin and begin % each == 0 for (_, end), (begin, _) in zip(found, found[1:]) if begin < images)
    sizes = [end - begin for begin, end in found]
    assert max(sizes) - min(sizes) <= 2 * each
