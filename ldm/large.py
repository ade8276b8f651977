"""Pictures larger than the trained size, as the paper's Fig. 7: a second pass that keeps the structure of the first.

Algorithm 2 at the trained size decides what is where. Its latent, enlarged, is noised to a lower level, Eq. (1), and denoised
again under the mask at the full size: what is added is detail. Where a picture does not fit the memory, or the network's own
down-sampling, the network sees windows of the trained size that overlap, and what it says of a latent pixel is their weighted
mean at every step (Bar-Tal et al. 2023, "MultiDiffusion", Eq. (5)).
"""
import math
from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np

from ldm.guidance import branches, guided_in
from ldm.noise import normal, q_sample
from ldm.pixels import to_uint8
from ldm.sample import denoise
from ldm.schedule import alpha_bar_at, points_of
from runtime.backend import jt


@dataclass(frozen=True)
class Large:
    """What the second pass needs besides the first: m at the large size, int (B, n h', n w'); (h', w') of the latents; and
    (h, w) of the windows, None where the network sees the whole."""
    labels: np.ndarray
    size: tuple
    window: Optional[tuple] = None


def larger(decode, model, z_0, large, names, sampling, schedule, progress=None):
    """The second pass from the last round's latent, a Var (B, C, h, w) -> images uint8 (B, H', W', 3).

    large: a Large; the other arguments are those of ldm.algorithm2.synthesise.
    """
    r, (height, width) = sampling.large.round, large.size
    start = np.stack([enlarged(z, height, width) for z in z_0.numpy()])                      # (B, C, h', w')
    noise = lambda key: normal(sampling.seed, names, len(sampling.rounds), start.shape[1:], key)
    seen = Windowed(model, large.window, sampling.large.overlap) if large.window else model
    with jt.no_grad():
        z_t = q_sample(jt.array(start), alpha_bar_at(schedule, r.t_start), jt.array(noise("start")))                # Eq. (1)
        labels = jt.array(np.asarray(large.labels, np.int32))
        z_0 = denoise(guided_in(seen, r), z_t, labels, points_of(r, schedule), r.sampler, r.eta, noise, progress)   # Eq. (5)
        return to_uint8(decode(z_0), sampling.truncate)


def enlarged(z, height, width):
    """A latent (C, h, w) at another size, by cubic interpolation."""
    return np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in z])


class Windowed:
    """model(z, t, labels) and model.branches(z, t, labels) for latents larger than the model's: windows one after another,
    each alone, blended where they overlap. window: (h, w) in latent pixels; overlap: the share of a window, each way, that it
    has at least in common with the next."""

    def __init__(self, model, window, overlap):
        self.model, self.window, self.overlap = model, window, overlap
        self.labels, self.parts = None, {}

    def __call__(self, z, t, labels):
        """z (B, C, H, W), labels (B, n H, n W) -> (B, C or 2C, H, W)."""
        return self.blended(z, labels, lambda part, ids: (self.model(part, t, ids),))[0]

    def branches(self, z, t, labels):
        """The outputs with and without the masks, each (B, C or 2C, H, W)."""
        return self.blended(z, labels, lambda part, ids: branches(self.model, part, t, ids))

    def blended(self, z, labels, run):
        """The weighted means of what run(window of z, window of labels) -> outputs says of every latent pixel."""
        (height, width), (h, w) = z.shape[2:], self.window
        scale = labels.shape[1] // height
        places = [(y, x) for y in starts(height, h, self.overlap) for x in starts(width, w, self.overlap)]
        if labels is not self.labels:                    # each window keeps its Var: the model may know it again
            self.labels, ids = labels, labels.numpy()
            self.parts = {(y, x): jt.array(np.ascontiguousarray(ids[:, y * scale:(y + h) * scale, x * scale:(x + w) * scale]))
                          for y, x in places}
        z, sums, total = z.numpy(), None, np.zeros((height, width), np.float32)
        for y, x in places:
            part = jt.array(np.ascontiguousarray(z[:, :, y:y + h, x:x + w]))
            outputs = [out.numpy() for out in run(part, self.parts[y, x])]
            weight = np.outer(ramp(y, h, height, self.overlap), ramp(x, w, width, self.overlap))
            total[y:y + h, x:x + w] += weight
            if sums is None:
                sums = [np.zeros((*out.shape[:2], height, width), np.float32) for out in outputs]
            for whole, out in zip(sums, outputs):
                whole[:, :, y:y + h, x:x + w] += weight * out
        return [jt.array(whole / total) for whole in sums]


def starts(length, window, overlap):
    """Where windows begin along a side so that they cover it, evenly, and overlap by at least a share of their length."""
    if length == window:
        return [0]
    count = 1 + math.ceil((length - window) / max(1, math.floor(window * (1 - overlap))))
    return [round(k * (length - window) / (count - 1)) for k in range(count)]


def ramp(start, window, length, overlap):
    """A window's weight along a side, float32 (window,): 1, falling to nearly 0 at borders that are not the picture's."""
    rise = np.minimum(1, (np.arange(window) + 0.5) / max(1, overlap * window))
    weight = np.ones(window)
    if start > 0:
        weight = weight * rise
    if start + window < length:
        weight = weight * rise[::-1]
    return weight.astype(np.float32)
