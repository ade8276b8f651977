"""Noise to look up at any point of a plane, and small drawings of plants and stones to stamp into a picture."""
import functools

import cv2
import numpy as np

SIZE = 1024                           # pixels of a noise table, which repeats seamlessly
CELLS = {"value": 128, "fbm": 8, "ridge": 8}                  # coarsest cells along a table
SPRITE = 160                          # pixels of a sprite's height before it is scaled


def smoothstep(low, high, value):
    """0 below `low`, 1 above `high`, smooth between; any shape."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@functools.cache
def table(kind):
    """A seamless (1024, 1024) float32 table in 0..1: value (one octave), fbm (coarse to fine) or ridge (crests)."""
    rng = np.random.default_rng(list(kind.encode()))
    total, weight, cells = np.zeros((SIZE, SIZE), np.float32), 1.0, CELLS[kind]
    carry = np.ones_like(total)
    while True:
        octave = _octave(rng, cells)
        if kind == "ridge":
            octave = (1 - np.abs(2 * octave - 1)) ** 2 * carry
            carry = np.clip(octave * 1.6, 0, 1)               # crests are rough, valleys smooth
        total += weight * octave
        weight, cells = weight * (0.46 if kind == "ridge" else 0.5), cells * 2
        if kind == "value" or cells > 256:
            break
    low, high = np.percentile(total, [0.5, 99.5])
    return np.clip((total - low) / (high - low), 0, 1)


def _octave(rng, cells):
    grid = np.pad(rng.random((cells, cells), dtype=np.float32), 2, mode="wrap")
    step = SIZE // cells
    large = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    return large[2 * step:2 * step + SIZE, 2 * step:2 * step + SIZE]


def noise(kind, x, y, wavelength, offset=(0.0, 0.0)):
    """Noise in 0..1 at points x, y (same shape, 1-D or 2-D); `wavelength` is the size of its largest features."""
    scale = SIZE / CELLS[kind] / wavelength
    u = np.asarray(x * scale + offset[0] * SIZE, np.float32)
    v = np.asarray(y * scale + offset[1] * SIZE, np.float32)
    u, v = np.broadcast_arrays(u - SIZE * np.floor(u / SIZE), v - SIZE * np.floor(v / SIZE))
    shape = u.shape
    if u.ndim == 1:
        u, v = u[None], v[None]
    found = cv2.remap(table(kind), np.ascontiguousarray(u), np.ascontiguousarray(v), cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_WRAP)
    return found.reshape(shape)


class Noise:
    """Noise with an offset of its own, drawn once: the same function of the plane at every call."""

    def __init__(self, rng, kind, wavelength):
        self.kind, self.wavelength, self.offset = kind, wavelength, rng.random(2)

    def __call__(self, x, y, stretch=1.0):
        return noise(self.kind, x, y * stretch, self.wavelength, self.offset)


@functools.cache
def sprites(kind):
    """Six drawings of one kind, each a list of float32 (h, w, 3) of falling size: alpha, shade, leaf."""
    draw = {"conifer": _conifer, "broadleaf": _broadleaf, "bush": _bush, "stone": _stone, "tuft": _tuft,
            "palm": _palm}[kind]
    drawings = []
    for i in range(6):
        rng = np.random.default_rng([i, *kind.encode()])
        chain = [draw(rng)]
        while min(chain[-1].shape[:2]) > 8:
            chain.append(cv2.resize(chain[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        drawings.append(chain)
    return drawings


def _plane(aspect):
    width = int(SPRITE * aspect)
    y, x = np.mgrid[0:SPRITE, 0:width].astype(np.float32)
    return (x + 0.5 - width / 2) / SPRITE, 1 - (y + 0.5) / SPRITE    # x centred, y upwards, in units of the height


def _join(alpha, shade, leaf):
    return np.stack([np.clip(alpha, 0, 1), np.clip(shade, 0, 1.2), np.clip(leaf, 0, 1)], -1).astype(np.float32)


def _conifer(rng):
    x, y = _plane(0.56)
    tiers = rng.integers(6, 10)
    width = rng.uniform(0.17, 0.24)
    t = np.clip((1 - y) * 1.12, 0, 1)
    saw = (t * tiers) % 1.0
    edge = width * t ** 0.9 * (0.62 + 0.42 * saw) + 0.05 * (noise("value", x, y, 0.02, rng.random(2)) - 0.5)
    crown = ((np.abs(x + 0.015 * np.sin(9 * y)) < edge) & (y > 0.1)).astype(np.float32)
    trunk = ((np.abs(x) < 0.018) & (y <= 0.14)).astype(np.float32)
    needles = (
        noise("value", x, y - 0.5 * np.abs(x), 0.03, rng.random(2))
        + noise("value", x * 2.5, y - np.abs(x), 0.012, rng.random(2))
        - 1
    )
    shade = 0.55 - 0.6 * x / (width + 0.05) + 0.30 * (0.5 - saw) + 0.5 * needles
    return _join(np.maximum(crown, trunk), shade, crown)


def _blobs(rng, x, y, centre, radius, count, size):
    alpha, shade = np.zeros_like(x), np.zeros_like(x)
    spots = []
    for _ in range(count):
        angle, r = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        spots.append((centre[0] + radius[0] * r * np.cos(angle), centre[1] + radius[1] * r * np.sin(angle),
                      size * rng.uniform(0.7, 1.25)))
    rough = noise("value", x, y, 0.025, rng.random(2)) - 0.5
    for cx, cy, r in sorted(spots, key=lambda spot: spot[1]):         # upper blobs in front catch the light
        d = np.hypot(x - cx, (y - cy) * 1.1) / r + 0.45 * rough
        inside = d < 1
        shade[inside] = (0.5 - 0.42 * (x - cx) / r + 0.45 * (y - cy) / r + 0.55 * rough)[inside] + 0.35 * (
            cy - centre[1]
        ) / radius[1]
        alpha[inside] = 1
    return alpha, shade


def _broadleaf(rng):
    x, y = _plane(0.95)
    alpha, shade = _blobs(rng, x, y, (0, 0.62), (rng.uniform(0.2, 0.28), 0.24), 26, 0.13)
    trunk = ((np.abs(x - 0.02 * np.sin(5 * y)) < 0.035 - 0.02 * y) & (y < 0.55)).astype(np.float32)
    shade = np.where(alpha > 0, shade, 0.5 - 8 * x)
    return _join(np.maximum(alpha, trunk), shade, alpha)


def _bush(rng):
    x, y = _plane(1.5)
    alpha, shade = _blobs(rng, x, y, (0, 0.38), (0.5, 0.22), 22, 0.24)
    return _join(alpha * (y > 0.02), shade, alpha)


def _stone(rng):
    x, y = _plane(1.5)
    angle = np.arctan2(y - 0.25, x)
    phase = rng.uniform(0, 6.3, 4)
    radius = (
        0.52
        + 0.07 * np.sin(2 * angle + phase[0])
        + 0.05 * np.sin(3 * angle + phase[1])
        + 0.03 * np.sin(7 * angle + phase[2])
    )
    d = np.hypot(x * 0.86, (y - 0.2) * 0.95) / radius
    facet = noise("value", x + 0.4 * y, y, 0.32, rng.random(2))
    shade = (
        0.42 - 0.75 * x + 0.5 * (y - 0.3) + 0.6 * (facet - 0.5) + 0.4 * (noise("fbm", x, y, 0.5, rng.random(2)) - 0.5)
    )
    return _join((d < 1).astype(np.float32), shade, np.full_like(x, 1))


def _tuft(rng):
    x, y = _plane(1.2)
    alpha, shade = np.zeros_like(x), np.zeros_like(x)
    for _ in range(34):
        foot, lean, height, thick = (
            rng.uniform(-0.4, 0.4),
            rng.normal(0, 0.3),
            rng.uniform(0.4, 1),
            rng.uniform(0.012, 0.028),
        )
        blade = (np.abs(x - foot - lean * y ** 2) < thick * (1.1 - y / height)) & (y < height)
        alpha[blade], shade[blade] = 1, 0.35 + 0.6 * y[blade] + rng.uniform(-0.15, 0.15)
    return _join(alpha, shade, alpha)


def _palm(rng):
    x, y = _plane(0.9)
    bend = rng.uniform(-0.25, 0.25)
    trunk = ((np.abs(x - bend * (y - 0.4) ** 2) < 0.022 - 0.008 * y) & (y < 0.78)).astype(np.float32)
    top, crown, shade = bend * 0.144, np.zeros_like(x), np.zeros_like(x)
    for angle in np.linspace(-0.5, np.pi + 0.5, 9) + rng.normal(0, 0.12, 9):
        t = np.clip(((x - top) * np.cos(angle)) / 0.38 if abs(np.cos(angle)) > 0.3 else (y - 0.78) / 0.25, 0, 1)
        curve = 0.78 + 0.3 * np.sin(angle) * t - 0.3 * t ** 2
        across = np.abs(y - curve) if abs(np.cos(angle)) > 0.3 else np.abs(x - top)
        frond = (across < 0.045 * (1 - t) * (0.6 + 0.4 * np.sin(60 * t)) + 0.004) & (t > 0.01) & (t < 0.99)
        crown[frond], shade[frond] = 1, 0.7 - 0.5 * t[frond]
    return _join(np.maximum(crown, trunk), np.where(crown > 0, shade, 0.55 - 9 * x), crown)
