"""A painter without networks: fades a coloured mask in, in the style's colours. For tests of the server and the page.

    python -m tests.studio.fake 8000            the page with it, to look at
"""
import dataclasses
import io
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from configs.classes import CHALLENGE
from data.images import read_labels
from runtime.errors import UserError
from runtime.pictures import PALETTE
from studio.uploads import Upload, jpeg


@dataclass
class FakePreset:
    title: str = "Fast"
    rounds: list = field(default_factory=lambda: [598, 638, 380])

    def describe(self):
        return {"title": self.title, "hint": "8 steps a round", "t_start": self.rounds[0], "rounds": len(self.rounds),
                "guidance": 3.5, "colour_transfer": "cielab8", "evaluations": 16 * len(self.rounds)}


class FakePainter:
    """What studio.server asks of a painter. pause: seconds a step; hold: an Event to wait for at every step, or None."""

    def __init__(self, height=96, width=128, pause=0.0, steps=8, segmenter=True):
        self.classes = CHALLENGE
        self.height, self.width, self.pause, self.steps, self.hold, self.painted = height, width, pause, steps, None, 0
        self.presets = {"fast": FakePreset(), "own": FakePreset("Checkpoint's own", [640])}
        self.live, self.segmenter = "fast", segmenter
        self.about = {"line": "a stand-in without networks", "short": "a stand-in", "checkpoint": "none"}

    def provenance(self):
        return {"checkpoint": "none", "autoencoder": "none", "weights": {}}

    def sampling(self, wish):
        return wish

    def settings(self, sampling):
        return dataclasses.asdict(sampling), {}

    def encoded(self, image):
        return jpeg(image, 95)

    def segment(self, image):
        return (image[..., 0] // 9).clip(0, 28).astype(np.uint8)

    def paint(self, style, mask_png, names, wish, watch):
        if wish.name == "fails":
            raise UserError("the mask: found a bad omen, expected none")
        if wish.name == "breaks":
            raise ZeroDivisionError("something inside\nand its second line")
        self.painted += 1
        labels = read_labels(Upload(mask_png, "the mask"), self.height, self.width)
        flat = PALETTE[labels].astype(np.float32)
        clean = 0.45 * flat + 0.55 * (flat - flat.mean((0, 1)) + style.mean((0, 1))) * 1.0
        rounds = wish.rounds or len(self.presets[wish.preset].rounds)
        for round_ in range(rounds):
            for step in range(self.steps):
                time.sleep(self.pause)
                if self.hold is not None:
                    self.hold.wait(10)
                share = (step + 1) / self.steps
                small = [np.asarray(Image.fromarray(self.noisy(clean, name, wish.seed, 1 - share)).resize(
                    (self.width // 4, self.height // 4), Image.BOX)) for name in names]
                watch.step(round_ * self.steps + step + 1, rounds * self.steps, round_, rounds, 598 * (1 - share), small)
            images = np.stack([self.noisy(clean, name, wish.seed, 0.04) for name in names])
            watch.round(round_, rounds, images)
        return images

    def noisy(self, clean, name, seed, share):
        rng = np.random.default_rng([seed, *name.encode()])
        noise = rng.standard_normal(clean.shape) * 70 + 128
        return np.clip((1 - share) * clean + share * noise, 0, 255).astype(np.uint8)


class Running:
    """A server on a free port in a thread of its own: `with Running(painter, folder) as at: at.port`."""

    def __init__(self, painter, folder, queue=8, token=None, styles=None, port=0):
        import uvicorn

        from studio.__main__ import listening
        from studio.queue import Queue
        from studio.results import Results
        from studio.server import Studio, application
        from studio.shelf import Shelf
        self.socket = listening("127.0.0.1", port)
        self.port = self.socket.getsockname()[1]
        self.studio = Studio(painter, Queue(queue).start(), Shelf(painter.height, painter.width, styles), Results(folder))
        app = application(self.studio, {"127.0.0.1", "localhost"}, self.port, token)
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", http="h11", ws="none", limit_concurrency=256,
                                                    timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self):
        self.thread.start()
        end = time.monotonic() + 10
        while not self.server.started and time.monotonic() < end:
            time.sleep(0.01)
        return self

    def __exit__(self, *error):
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


def grey_png(ids):
    """Class ids as the bytes of a grey PNG."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(ids, np.uint8)).save(file, format="PNG")
    return file.getvalue()


if __name__ == "__main__":
    with Running(FakePainter(pause=0.08), tempfile.mkdtemp(), port=int((sys.argv + ["8000"])[1])) as at:
        print(f"http://127.0.0.1:{at.port}/", flush=True)
        at.thread.join()
