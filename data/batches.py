"""Which rows make a batch, and reading them ahead. Both depend on the step alone, so that a resumed run sees the same."""
import contextlib
import functools
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def batch_rows(seed, step, batch_size, rows):
    """The rows of batch `step`: the next `batch_size` of endless shuffled passes over `rows` rows, a new order each pass."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    return np.array([order_of_pass(seed, int(p // rows), rows)[p % rows] for p in positions])


@functools.lru_cache(maxsize=4)
def order_of_pass(seed, number, rows):
    """The order of one pass over `rows` rows, drawn once a pass: a million rows take 8 MB and, once a pass, some 30 ms."""
    order = np.random.default_rng([seed, number]).permutation(rows)
    order.flags.writeable = False
    return order


def prefetch(make, steps, workers):
    """Yields make(step) for every step, in order, computed up to 2 * workers ahead in threads."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        steps, waiting = iter(steps), deque()
        for step in steps:
            waiting.append(pool.submit(make, step))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def background_calls(function, workers):
    """Yields a function that calls `function` in threads and returns at once, unless 4 * workers calls wait already. Their
    errors are raised at a later call, or at the end of the block, which waits for all."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting = deque()

        def later(*args):
            waiting.append(pool.submit(function, *args))
            while waiting and (waiting[0].done() or len(waiting) > 4 * workers):
                waiting.popleft().result()

        yield later
        while waiting:
            waiting.popleft().result()


def train_val_split(items, count):
    """Splits a list into (training, validation): `count` items spread evenly over it, at most a tenth, at least one when
    there are two. A single item serves as both, and so do all with a count of 0."""
    if len(items) < 2 or count == 0:
        return items, items
    count = max(1, min(count, len(items) // 10))
    held = {int((i + 0.5) * len(items) / count) for i in range(count)}
    return [x for i, x in enumerate(items) if i not in held], [x for i, x in enumerate(items) if i in held]
