"""One bounded queue and one thread that paints: networks are used by nobody else, and a full queue says so at once."""
import secrets
import sys
import threading
import traceback
from collections import OrderedDict, deque

from runtime.errors import RunError, UserError

REMEMBERED = 64                       # jobs whose outcome can still be asked for
ENDS = ("done", "failed", "cancelled")


class Cancelled(Exception):
    """Raised in the painting thread at the next step after somebody cancelled."""


class Full(Exception):
    """The queue takes no more for now."""


class Job:
    """Work for the painting thread, and what is to be seen of it: the latest event of every kind, numbered in order.

    A reader that is slow misses previews, never the end; nothing piles up for it.
    """

    def __init__(self, work):
        self.id, self.work = secrets.token_hex(8), work               # work(job) -> JSON-ready dict for "done"
        self.lock, self.serial, self.latest, self.listeners = threading.Lock(), 0, {}, set()
        self.cancelled, self.ended = threading.Event(), threading.Event()

    def publish(self, kind, **data):
        """Makes an event known; called by any thread."""
        with self.lock:
            self.serial += 1
            self.latest[kind] = (self.serial, data)
            if kind in ENDS:
                self.latest.pop("step", None)                          # a preview of what is over
                self.ended.set()
            listeners = list(self.listeners)
        for wake in listeners:
            wake()

    def since(self, serial):
        """[(serial, kind, data)] of the events after `serial` that still count, in order."""
        with self.lock:
            return sorted((number, kind, data) for kind, (number, data) in self.latest.items() if number > serial)

    def stop_if_cancelled(self):
        """Raises Cancelled once somebody has cancelled; called between steps."""
        if self.cancelled.is_set():
            raise Cancelled


class Queue:
    """Takes jobs, does them one after the other in its own thread, and survives what goes wrong in them."""

    def __init__(self, length=8):
        self.length, self.changed = length, threading.Condition()
        self.waiting, self.jobs, self.current, self.open = deque(), OrderedDict(), None, True
        self.idle = None                                               # the Job of begin()
        self.thread = threading.Thread(target=self._run, name="painting", daemon=True)

    def start(self):
        """Starts the thread and returns the queue."""
        self.thread.start()
        return self

    def submit(self, work):
        """Queues work(job) and returns its Job. Raises Full."""
        job = Job(work)
        with self.changed:
            if len(self.waiting) >= self.length or not self.open:
                raise Full
            self.waiting.append(job)
            self.jobs[job.id] = job
            for id_ in [id_ for id_, old in self.jobs.items() if old.ended.is_set()][:max(0, len(self.jobs) - REMEMBERED)]:
                del self.jobs[id_]
            if self.idle:
                self.idle.cancelled.set()
            self._say_places()
            self.changed.notify()
        return job

    def begin(self, work):
        """Queues work that nobody waits for: it is given up, at its next step, as soon as somebody submits any."""
        self.idle = self.submit(work)

    def find(self, id_):
        """The Job of that id; None when there is none."""
        return self.jobs.get(id_)

    def cancel(self, job):
        """Ends a job: at once while it waits, else at its next step."""
        job.cancelled.set()
        with self.changed:
            if job not in self.waiting:
                return
            self.waiting.remove(job)
            self._say_places()
        job.publish("cancelled")

    def close(self):
        """Cancels everything and waits a little for the thread."""
        with self.changed:
            self.open, waiting, self.waiting = False, list(self.waiting), deque()
            self.changed.notify()
        for job in [*waiting, *([self.current] if self.current else [])]:
            job.cancelled.set()
        for job in waiting:
            job.publish("cancelled")
        if self.thread.is_alive():
            self.thread.join(10)

    def _say_places(self):
        for place, job in enumerate(self.waiting):
            job.publish("queued", place=place + (self.current is not None))

    def _run(self):
        while True:
            with self.changed:
                self.current = None
                self.changed.wait_for(lambda: self.waiting or not self.open)
                if not self.open:
                    return
                job = self.current = self.waiting.popleft()
                self._say_places()
            self._do(job)

    def _do(self, job):
        try:
            job.stop_if_cancelled()
            job.publish("started")
            job.publish("done", **job.work(job))
        except Cancelled:
            job.publish("cancelled")
        except (UserError, RunError) as error:
            job.publish("failed", error=str(error).splitlines()[0])
        except Exception as error:                                     # of ours, or out of memory: the server lives on
            traceback.print_exc(file=sys.stderr)
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            job.publish("failed", error=f"painting failed: {line[:200]}")
