"""What a landscape is made of: its ground as functions of the plane, and the things scattered over it."""
from dataclasses import dataclass, field
from typing import Callable, Optional

import numpy as np

from data.scenery import objects
from data.scenery.terrain import ID
from data.scenery.textures import Noise, smoothstep


@dataclass
class Land:
    """A landscape: where the camera is, its ground as height(X, Z) and material(X, Z, h, slope) -> ids, its things."""

    horizon: float                    # eye level on the picture, fraction of its height
    eye: float                        # height of the camera, metres
    height: Callable
    material: Callable
    peak: float = 1.0                 # height of its summits, metres
    distant: bool = False             # whether there are real mountains
    water: Optional[int] = None       # class of its water
    split: float = 0.0                # things farther than this are mirrored in the water
    furrows: Optional[Callable] = None
    things: list = field(default_factory=list)        # (z, draw(picture))


def scatter(rng, land, count, near, far, kind, size, label, on, where=None, spread=0.75, colour="leaf"):
    """Stamps `count` sprites at random places between depths near and far whose ground is in the classes `on`."""
    z = np.exp(rng.uniform(np.log(near), np.log(far), count))
    x = rng.uniform(-spread, spread, count) * z
    draws = rng.random((count, 3))
    h = land.height(x, z)
    ground = land.material(x, z, h, np.zeros_like(x))
    keep = np.isin(ground, [ID[name] for name in on])
    if where is not None:
        keep &= where(x, z)
    for i in np.flatnonzero(keep):
        plant(land, x[i], h[i], z[i], kind, size[0] + (size[1] - size[0]) * draws[i, 0], label, draws[i, 1:], colour)


def plant(land, x, h, z, kind, size, label, draws, colour="leaf"):
    """One sprite; draws (2,) in 0..1 choose the drawing and the colour."""
    def draw(pic):
        p = pic.palette
        if colour == "flower":
            leaf, trunk = p.flower[int(draws[1] * 3.999)], p.leaf[0]
        elif colour in ("leaf", "needle"):
            pair = getattr(p, colour)
            leaf, trunk = pair[0] + (pair[1] - pair[0]) * draws[1] ** 1.5, None
        else:
            row = ID[colour]
            leaf, trunk = p.base[row] + (p.alt[row] - p.base[row]) * draws[1], None
        if size * pic.focal / z > pic.height / 40 and kind != "tuft":
            pic.shadow(x, h, z, size * 0.9)
        pic.stamp(kind, int(draws[0] * 5.999), x, h, z, size, ID[label], leaf, trunk)
    land.things.append((z, draw))


def ridges(rng, start, full, amplitude, wavelength):
    """Mountains that rise between depths start and full: height(X, Z) in metres."""
    crest, bulk = Noise(rng, "ridge", wavelength), Noise(rng, "value", wavelength * 1.3)
    return lambda x, z: amplitude * smoothstep(start, full, z) * (0.25 + 0.75 * crest(x, z)) * (0.45 + 0.9 * bulk(x, z))


def classes(shape, default):
    """An array of one class id."""
    return np.full(shape, ID[default], np.uint8)


def cabin(rng, land, z, on):
    """A house at depth z on one of the classes `on`, if a place is found."""
    for x in rng.uniform(-.5, .5, 6) * z:
        h = land.height(np.float32([x]), np.float32([z]))
        if land.material(np.float32([x]), np.float32([z]), h, np.zeros(1))[0] in [ID[name] for name in on]:
            angle, roof, size = rng.uniform(-.6, .6), int(rng.integers(100)), rng.uniform(7, 11)
            land.things.append((z, lambda pic, a=(x, h[0], z, size, angle, roof): objects.house(pic, *a)))
            return


def people(rng, land, count, near, far, on):
    """Up to `count` people between depths near and far, standing on the classes `on`."""
    for _ in range(rng.integers(0, count + 1)):
        z, u, which = rng.uniform(near, far), rng.uniform(-.5, .5), int(rng.integers(2))
        h = land.height(np.float32([u * z]), np.float32([z]))
        if land.material(np.float32([u * z]), np.float32([z]), h, np.zeros(1))[0] in [ID[name] for name in on]:
            land.things.append((z, lambda pic, a=(u * z, h[0], z, which): objects.person(pic, *a)))


def barrier(rng, land, line, kind, near=7, far=60):
    """A fence, railing or wall along X = line(Z)."""
    z = np.geomspace(near, far, 26)
    x = line(z)
    h = land.height(x, z)
    height = 1.1 if kind != "wall" else rng.uniform(.8, 1.2)
    for i in range(len(z) - 1):
        posts = [(x[i], h[i], z[i]), (x[i + 1], h[i + 1], z[i + 1])]
        land.things.append((z[i], lambda pic, posts=posts: objects.fence(pic, posts[::-1], height, ID[kind])))
