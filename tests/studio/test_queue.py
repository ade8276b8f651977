"""The queue by itself: work that nobody waits for."""
import threading
import time

from studio.queue import Queue


def test_work_for_nobody_is_given_up_when_somebody_asks():
    queue, steps = Queue().start(), []

    def endless(job):
        for _ in range(10 ** 4):
            job.stop_if_cancelled()
            steps.append(1)
            time.sleep(0.001)
        return {}

    queue.begin(endless)
    end = time.monotonic() + 10
    while not steps and time.monotonic() < end:
        time.sleep(0.001)
    asked = queue.submit(lambda job: {"painted": True})
    assert asked.ended.wait(10) and asked.latest["done"][1] == {"painted": True}
    assert "cancelled" in queue.idle.latest and len(steps) < 10 ** 4
    queue.close()


def test_work_for_nobody_is_done_where_nobody_asks():
    queue, done = Queue().start(), threading.Event()
    queue.begin(lambda job: done.set() or {})
    assert done.wait(10) and queue.idle.ended.wait(10) and "done" in queue.idle.latest
    queue.close()
