import threading
import time

import numpy as np
import pytest

from data.batches import background_calls, batch_rows, order_of_pass, prefetch, train_val_split


@pytest.mark.parametrize("batch_size, rows", [(3, 7), (7, 7), (1, 5), (10, 4), (4, 1)])
def test_every_pass_takes_each_row_once_whatever_the_batch_size(batch_size, rows):
    passes = 6
    taken = np.concatenate([batch_rows(0, step, batch_size, rows) for step in range(passes * rows)])
    orders = taken[:passes * rows].reshape(passes, rows)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(rows), (passes, 1)))
    if rows > 3:
        assert len(np.unique(orders, axis=0)) > 1             # each pass in an order of its own


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    forwards = [batch_rows(3, step, 4, 10) for step in range(12)]
    backwards = [batch_rows(3, step, 4, 10) for step in reversed(range(12))][::-1]
    np.testing.assert_array_equal(forwards, backwards)
    assert not np.array_equal(forwards, [batch_rows(4, step, 4, 10) for step in range(12)])


@pytest.mark.parametrize("steps", [range(0), range(1), range(5, 18)])
@pytest.mark.parametrize("workers", [1, 3])
def test_prefetch_gives_every_step_once_in_order(steps, workers):
    def make(step):
        time.sleep(0.002 * (step % 3))                        # later steps may be ready first
        return step * step

    assert list(prefetch(make, steps, workers)) == [step * step for step in steps]


def test_prefetch_reads_ahead_but_not_far():
    begun, ready = [], threading.Event()

    def make(step):
        begun.append(step)
        if len(begun) == 4:
            ready.set()
        return step

    batches = prefetch(make, range(100), workers=2)
    assert next(batches) == 0 and ready.wait(5)
    time.sleep(0.02)
    assert sorted(begun) == [0, 1, 2, 3]
    batches.close()


def test_an_error_while_reading_is_raised_where_the_batch_is_used():
    def make(step):
        if step == 2:
            raise OSError("disk")
        return step

    batches, seen = prefetch(make, range(9), workers=2), []
    with pytest.raises(OSError, match="disk"):
        for batch in batches:
            seen.append(batch)
    assert seen == [0, 1]


@pytest.mark.parametrize("n, count, held", [
    (2, 100, 1), (9, 3, 1), (20, 1, 1), (30, 100, 3), (205, 100, 20), (1000, 7, 7)])
def test_held_out_items_are_a_tenth_at_most_spread_evenly_and_never_trained_on(n, count, held):
    training, validation = train_val_split(list(range(n)), count)
    assert len(validation) == held
    assert sorted(training + validation) == list(range(n)) and training == sorted(training)
    gaps = np.diff([-1, *validation, n])
    assert gaps.max() <= 1.5 * n / held + 1 and gaps.min() >= 0.5 * n / held - 1


@pytest.mark.parametrize("items, count", [([], 3), (["only"], 3), (list("abcdefgh"), 0)])
def test_fewer_than_two_items_or_a_count_of_none_serve_as_both(items, count):
    assert train_val_split(items, count) == (items, items)


def test_calls_behind_all_happen_and_few_wait():
    done, most = [], [0]
    with background_calls(lambda i: (time.sleep(0.002), done.append(i)), workers=2) as later:
        for i in range(30):
            later(i)
            most[0] = max(most[0], i + 1 - len(done))
    assert sorted(done) == list(range(30)) and most[0] <= 8 + 2 + 1


@pytest.mark.parametrize("calls", [1, 40])
def test_an_error_behind_is_raised_before_the_block_ends(calls):
    def fails(i):
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"), background_calls(fails, workers=2) as later:
        for i in range(calls):
            later(i)


def test_an_order_is_drawn_once_a_pass_not_once_a_batch():
    order_of_pass.cache_clear()
    for step in range(40):
        batch_rows(8, step, 5, 100)                               # two passes
    assert order_of_pass.cache_info().misses == 2
