"""The kinds of landscape: each draws its random numbers once and returns a Land to be painted at any size."""
from dataclasses import dataclass, field
from typing import Callable, Optional

import numpy as np

from data import objects
from data.terrain import ID
from data.textures import Noise, smoothstep


@dataclass
class Land:
    """A landscape: eye level (fraction of the height), eye (metres), height(X, Z), material(X, Z, h, slope) -> ids, things."""
    horizon: float
    eye: float
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


def mountain_lake(rng):
    """A lake below snowy mountains, conifers along its shores."""
    near, far, half = rng.uniform(7, 11), rng.uniform(90, 190), rng.uniform(35, 90)
    wobble, bumps, rough = Noise(rng, "fbm", 70), Noise(rng, "fbm", 45), Noise(rng, "fbm", 9)
    peak = rng.uniform(110, 210)
    mountains = ridges(rng, far + 20, far + 330, peak, rng.uniform(240, 420))
    foothills = ridges(rng, far - 10, far + 90, rng.uniform(14, 30), 90)

    def height(x, z):
        w = wobble(x, z) - 0.5
        front = np.minimum((near + 9 * w + 0.12 * np.abs(x) - z) * 0.13, 1.2)
        back = np.minimum((z - far - 90 * w) * 0.09, 2.5)
        sides = np.minimum((np.abs(x) - half - 0.15 * z - 60 * w) * 0.12, 5)
        bank = np.maximum(np.maximum(front, back), np.maximum(sides, -4))
        return bank + (bank > 0) * (1.6 * (bumps(x, z) - 0.3) * smoothstep(2, 40, z) + 0.3 * (rough(x, z) - 0.5)) + foothills(x, z) * (bank > 0) + mountains(x, z)

    def material(x, z, h, slope):
        ids = classes(x.shape, "grass")
        ids[(bumps(x, z) > 0.55) & (z < far)] = ID["earth"]
        ids[(rough(x, z) > 0.62) & (h < 0.6) & (z < near * 3)] = ID["rock"]
        ids[foothills(x, z) > 6] = ID["hill"]
        ids[mountains(x, z) > 13] = ID["mountain"]
        ids[h <= 0] = ID["lake"]
        return ids

    land = Land(rng.uniform(.40, .50), rng.uniform(2.5, 5), height, material, peak, True, ID["lake"], far * 0.5)
    grove = Noise(rng, "fbm", 60)
    scatter(rng, land, 340, far * 0.6, far * 3.2, "conifer", (7, 13), "tree", ("grass", "earth", "hill"), lambda x, z: grove(x, z) > 0.36, .9, "needle")
    scatter(rng, land, 80, near * 1.6, far * 0.8, "conifer", (6, 12), "tree", ("grass", "earth"), None, .95, "needle")
    scatter(rng, land, 50, near * 0.35, near * 1.3, "stone", (.3, .9), "rock", ("grass", "earth", "rock"), None, .7, "rock")
    scatter(rng, land, 60, near * 0.4, near, "tuft", (.3, .7), "plant", ("grass", "earth"), None, .7)
    side = rng.choice([-1, 1])
    for i in range(rng.integers(2, 6)):
        z = rng.uniform(near * 0.75, near * 1.1)
        x = side * z * rng.uniform(.42, .68)
        plant(land, x, height(np.float32([x]), np.float32([z]))[0], z, "conifer", rng.uniform(5, 9), "tree", rng.random(2), "needle")
    if rng.random() < .6:
        cabin(rng, land, far * rng.uniform(1.05, 1.25), ("grass", "hill", "earth"))
    if rng.random() < .55:
        z, x = rng.uniform(near * 2.2, near * 4), rng.uniform(-.3, .3)
        land.things.append((z, lambda pic, a=(x * z, 0, z, 3.2): objects.rowboat(pic, *a)))
    if rng.random() < .4:
        x = rng.uniform(-.25, .25) * near * 2
        land.things.append((near, lambda pic, a=(x, near * 0.8, near * 2.2, 1.6): objects.pier(pic, *a)))
    return land


def cabin(rng, land, z, on):
    """A house at depth z on one of the classes `on`, if a place is found."""
    for x in rng.uniform(-.5, .5, 6) * z:
        h = land.height(np.float32([x]), np.float32([z]))
        if land.material(np.float32([x]), np.float32([z]), h, np.zeros(1))[0] in [ID[name] for name in on]:
            angle, roof, size = rng.uniform(-.6, .6), int(rng.integers(100)), rng.uniform(7, 11)
            land.things.append((z, lambda pic, a=(x, h[0], z, size, angle, roof): objects.house(pic, *a)))
            return


def seashore(rng):
    """A beach along the sea, a headland with rocks, palms or pines, sails and a ship."""
    at, lean = rng.uniform(9, 16), rng.uniform(-.55, .55)
    wobble, dunes, rough = Noise(rng, "fbm", 60), Noise(rng, "fbm", 30), Noise(rng, "fbm", 10)
    side, where = rng.choice([-1, 1]), rng.uniform(120, 260)
    wide, tall = rng.uniform(60, 110), rng.uniform(16, 45)
    crag = Noise(rng, "ridge", 60)
    cape = bool(rng.random() < .8)

    def headland(x, z):
        d = np.hypot((x - side * where * .62) / wide, (z - where) / (wide * .8))
        return cape * tall * smoothstep(1.15, .25, d + .5 * (wobble(x, z) - .5)) * (.55 + .6 * crag(x, z))

    def height(x, z):
        beach = (at + lean * x + 10 * (wobble(x, z) - .5) - z) * .055
        beach = np.where(beach > 0, np.minimum(beach, .9) + .5 * (dunes(x, z) - .4) * smoothstep(.3, 1, beach), np.maximum(beach, -3))
        return np.maximum(beach, headland(x, z) - 1.2)

    def material(x, z, h, slope):
        ids = classes(x.shape, "sand")
        ids[(h > .85) & (dunes(x, z) > .5)] = ID["grass"]
        cliff = headland(x, z)
        ids[cliff > 1] = ID["rock"]
        ids[(cliff > 6) & (rough(x, z) < .62)] = ID["hill"]
        ids[h <= 0] = ID["sea"]
        return ids

    land = Land(rng.uniform(.36, .52), rng.uniform(2.2, 5.5), height, material, tall, False, ID["sea"], at * 2.4)
    if cape:
        scatter(rng, land, 130, where * .6, where * 1.5, "broadleaf", (4, 8), "tree", ("hill",), None, .95)
    if rng.random() < .5 and cape:
        x, z = side * where * .55, where
        h, size = height(np.float32([x]), np.float32([z]))[0], rng.uniform(18, 30)
        land.things.append((z, lambda pic, a=(x, h, z, size): objects.lighthouse(pic, *a)))
    scatter(rng, land, 26, 4, at * 2.2, "stone", (.25, 1.3), "rock", ("sand", "sea"), lambda x, z: rough(x, z) > .55, .7, "rock")
    scatter(rng, land, 90, 3, at, "tuft", (.3, .8), "plant", ("grass",), None, .7)
    palm = rng.random() < .6
    for _ in range(rng.integers(0, 5)):
        z = rng.uniform(6, 11)
        x = side * -1 * z * rng.uniform(.35, .62)
        h = height(np.float32([x]), np.float32([z]))[0]
        if h > .15:
            plant(land, x, h, z, "palm" if palm else "conifer", rng.uniform(4, 6.5), "tree", rng.random(2), "leaf" if palm else "needle")
    for _ in range(rng.integers(0, 4)):
        z, u, size, lean_, which = rng.uniform(40, 160), rng.uniform(-.5, .5), rng.uniform(5, 9), rng.uniform(-.08, .08), int(rng.integers(9))
        if height(np.float32([u * z]), np.float32([z]))[0] < -.3:
            land.things.append((min(z, land.split * .99), lambda pic, a=(u * z, z, size, lean_, which): objects.sailboat(pic, *a)))
    if rng.random() < .4:
        x, z = rng.uniform(-.4, .4) * 600, 600
        if height(np.float32([x]), np.float32([z]))[0] < -.3:
            land.things.append((land.split * .995, lambda pic, a=(x, z, 90): objects.ship(pic, *a)))
    if rng.random() < .35:
        u = rng.uniform(-.3, .3)
        land.things.append((at * .9, lambda pic, a=(u * at, at * .7, at * 3, 2.2, 1.0): objects.pier(pic, *a)))
    people(rng, land, 3, 6, at * .9, ("sand",))
    return land


def people(rng, land, count, near, far, on):
    """Up to `count` people between depths near and far, standing on the classes `on`."""
    for _ in range(rng.integers(0, count + 1)):
        z, u, which = rng.uniform(near, far), rng.uniform(-.5, .5), int(rng.integers(2))
        h = land.height(np.float32([u * z]), np.float32([z]))
        if land.material(np.float32([u * z]), np.float32([z]), h, np.zeros(1))[0] in [ID[name] for name in on]:
            land.things.append((z, lambda pic, a=(u * z, h[0], z, which): objects.person(pic, *a)))


def river_valley(rng):
    """A river winds towards hills and mountains; a bridge, trees, a house."""
    width, swing, phase, length = rng.uniform(4, 8), rng.uniform(8, 22), rng.uniform(0, 6.3), rng.uniform(28, 55)
    drift = rng.uniform(-.12, .12)
    wobble, meadow, rough = Noise(rng, "fbm", 40), Noise(rng, "fbm", 55), Noise(rng, "fbm", 8)
    slopes = ridges(rng, 60, 260, rng.uniform(30, 60), 150)
    peak = rng.uniform(90, 180)
    mountains = ridges(rng, 280, 650, peak, rng.uniform(240, 400))

    def off(x, z):
        centre = swing * np.sin(z / length + phase) * smoothstep(0, 60, z) + drift * z
        return np.abs(x - centre) - width * (.8 + .4 * wobble(x, z)) - 2.5 * np.exp(-z / 12)

    def height(x, z):
        d = off(x, z)
        bank = np.clip(d * .22, -1.2, 1.1) + np.maximum(0, d - 6) * .02 + .8 * (meadow(x, z) - .5) * smoothstep(3, 20, d)
        valley = slopes(x, z) * smoothstep(6, 90, d) * (1 + smoothstep(20, 160, np.abs(x)))
        return bank + valley + mountains(x, z) * (z > 240)

    def material(x, z, h, slope):
        ids = classes(x.shape, "grass")
        d = off(x, z)
        ids[(d < 3) & (rough(x, z) > .5)] = ID["sand"]
        ids[(d < 4) & (rough(x, z) < .3)] = ID["earth"]
        ids[(meadow(x, z) > .66) & (d > 8) & (z < 140)] = ID["land"]
        ids[(slopes(x, z) > 9) & (d > 20)] = ID["hill"]
        ids[mountains(x, z) > 14] = ID["mountain"]
        ids[h <= 0] = ID["river"]
        return ids

    land = Land(rng.uniform(.36, .46), rng.uniform(4.5, 9), height, material, peak, True, ID["river"], 26)
    grove = Noise(rng, "fbm", 50)
    leafy = rng.random() < .6
    scatter(rng, land, 360, 40, 420, "broadleaf" if leafy else "conifer", (6, 11), "tree", ("grass", "hill", "land"),
            lambda x, z: (grove(x, z) > .52) & (off(x, z) > 3), .8, "leaf" if leafy else "needle")
    scatter(rng, land, 26, 9, 45, "broadleaf" if leafy else "conifer", (4, 8), "tree", ("grass", "land"),
            lambda x, z: (off(x, z) > 5) & (np.abs(x) > .25 * z), .75, "leaf" if leafy else "needle")
    scatter(rng, land, 90, 5, 40, "bush", (.5, 1.4), "plant", ("grass", "earth"), lambda x, z: off(x, z) < 5, .7)
    scatter(rng, land, 50, 4, 30, "stone", (.3, 1.0), "rock", ("earth", "sand", "river"), lambda x, z: np.abs(off(x, z)) < 2, .7, "rock")
    scatter(rng, land, 120, 4, 14, "tuft", (.25, .6), "plant", ("grass", "land"), None, .7, "flower")
    if rng.random() < .7:
        z = rng.uniform(26, 46)
        centre = swing * np.sin(z / length + phase) * smoothstep(0, 60, z) + drift * z
        arches = int(rng.integers(2, 4))
        land.things.append((min(z, 25.9), lambda pic, a=(centre - width * 2.1, centre + width * 2.1, 2.6, z, arches): objects.bridge(pic, *a)))
    if rng.random() < .6:
        cabin(rng, land, rng.uniform(45, 90), ("grass", "land"))
    people(rng, land, 1, 9, 20, ("grass", "sand"))
    return land


def village(rng):
    """Fields in stripes over rolling hills, a road, houses around a church, hedges and fences."""
    turn, cell = rng.uniform(-.5, .5), rng.uniform(22, 40)
    roll, wobble = Noise(rng, "fbm", 190), Noise(rng, "fbm", 30)
    amplitude, bend, phase, shift = rng.uniform(9, 22), rng.uniform(4, 14), rng.uniform(0, 6.3), rng.uniform(-7, 7)
    hills = ridges(rng, 220, 600, rng.uniform(40, 90), 300)
    offset = rng.random(2) * 40
    paved = rng.random() < .5
    cos, sin = np.cos(turn), np.sin(turn)

    def road(x, z):
        return np.abs(x - shift - bend * np.sin(z / 38 + phase) * smoothstep(0, 50, z)) - (2.0 if paved else 1.3)

    def cells(x, z):
        u = ((x * cos + z * sin) + 5 * (wobble(x, z) - .5)) / cell + offset[0]
        v = ((z * cos - x * sin) + 5 * (wobble(z, x) - .5)) / (cell * .8) + offset[1]
        return u, v, (np.floor(u) * 7.31 + np.floor(v) * 13.77) % 1

    def height(x, z):
        return 1 + amplitude * roll(x, z) * smoothstep(6, 120, z) + hills(x, z)

    def material(x, z, h, slope):
        u, v, key = cells(x, z)
        ids = np.where(key < .62, ID["field"], np.where(key < .85, ID["grass"], ID["earth"])).astype(np.uint8)
        ids[(road(x, z) < 1.2) | (z < 6)] = ID["grass"]
        ids[road(x, z) < 0] = ID["road" if paved else "path"]
        ids[hills(x, z) > 7] = ID["hill"]
        return ids

    def furrows(pic, colour, labels, x, z):
        u, v, key = cells(x, z)
        p = pic.palette
        rows = np.where(key > .3, u * cell, v * cell * .8)
        pitch = np.where(key > .45, 1.1, 2.2)
        stripes = .5 + .5 * np.sin(2 * np.pi * rows / pitch) * np.exp(-z / (26 * pitch))
        crop = p.crops[np.clip((key / .62 * 4).astype(int), 0, 3)]
        crop = crop * (.66 + .5 * stripes[..., None])
        field_ = (labels == ID["field"])[..., None]
        colour = np.where(field_, .2 * colour + .8 * crop, colour)
        middle = (labels == ID["road"]) & (np.abs(road(x, z) + 2.0) < .13) & (np.floor(z / 3) % 2 == 0)
        colour[middle] = .82
        return colour

    land = Land(rng.uniform(.32, .46), rng.uniform(5, 11), height, material, 60, False, None, 0, furrows)
    def hedge(x, z):
        u, v, _ = cells(x, z)
        return (np.minimum(np.abs(u - np.round(u)), np.abs(v - np.round(v))) * cell < 1.6) & (road(x, z) > 2)
    scatter(rng, land, 1100, 12, 260, "bush", (1.2, 2.6), "plant", ("field", "grass", "earth"), hedge, .75)
    scatter(rng, land, 700, 18, 320, "broadleaf", (4, 9), "tree", ("field", "grass", "earth"), hedge, .75)
    grove = Noise(rng, "fbm", 90)
    scatter(rng, land, 240, 120, 500, "broadleaf", (6, 10), "tree", ("grass", "hill"), lambda x, z: grove(x, z) > .55, .75)
    z0, u0 = rng.uniform(55, 110), rng.uniform(-.25, .25)
    for i in range(rng.integers(4, 10)):
        z, x = z0 + rng.uniform(-18, 26), u0 * z0 + rng.uniform(-30, 30)
        if road(np.float32([x]), np.float32([z]))[0] < 5:
            continue
        h, angle, roof, size = height(np.float32([x]), np.float32([z]))[0], rng.uniform(-.7, .7), int(rng.integers(100)), rng.uniform(7, 11)
        land.things.append((z, lambda pic, a=(x, h, z, size, angle, roof): objects.house(pic, *a)))
    if rng.random() < .7:
        x, z = u0 * z0 + rng.uniform(-8, 8), z0 + 14
        h = height(np.float32([x]), np.float32([z]))[0]
        land.things.append((z, lambda pic, a=(x, h, z, 12, .3, 2, ID["building"], True): objects.house(pic, *a)))
    scatter(rng, land, 160, 5, 12, "tuft", (.2, .5), "plant", ("grass",), None, .7, "flower")
    side = rng.choice([-1, 1])
    barrier(rng, land, lambda z: shift + bend * np.sin(z / 38 + phase) * smoothstep(0, 50, z) + side * 3.6,
            "fence" if rng.random() < .6 else "wall")
    return land


def barrier(rng, land, line, kind, near=7, far=60):
    """A fence, railing or wall along X = line(Z)."""
    z = np.geomspace(near, far, 26)
    x = line(z)
    h = land.height(x, z)
    height = 1.1 if kind != "wall" else rng.uniform(.8, 1.2)
    for i in range(len(z) - 1):
        posts = [(x[i], h[i], z[i]), (x[i + 1], h[i + 1], z[i + 1])]
        land.things.append((z[i], lambda pic, posts=posts: objects.fence(pic, posts[::-1], height, ID[kind])))


def desert(rng):
    """Sand dunes under table mountains; dry bushes, stones, a trail."""
    dunes, ripples, gravel = Noise(rng, "ridge", rng.uniform(60, 130)), Noise(rng, "fbm", 40), Noise(rng, "fbm", 25)
    amplitude, bulk, tall = rng.uniform(5, 13), Noise(rng, "value", rng.uniform(110, 220)), rng.uniform(35, 80)
    oasis = rng.random() < .35
    centre = rng.uniform(-.2, .2) * 40, rng.uniform(30, 50)

    def mesa(x, z):
        b = bulk(x, z) + .12 * (gravel(x, z) - .5)
        return smoothstep(260, 380, z) * tall * (.6 * smoothstep(.56, .62, b) + .4 * smoothstep(.66, .71, b))

    def height(x, z):
        h = .6 + amplitude * (dunes(x, z) * .8 + .3 * ripples(x, z)) * smoothstep(5, 70, z) + mesa(x, z)
        if oasis:
            d = np.hypot(x - centre[0], (z - centre[1]) * .8) + 8 * (gravel(x, z) - .5)
            h = h * smoothstep(8, 34, d) - 1.2 * smoothstep(15, 8, d) + .35
        return h

    def material(x, z, h, slope):
        ids = classes(x.shape, "sand")
        ids[(gravel(x, z) > .68) & (z > 12)] = ID["earth"]
        ids[(gravel(x, z) < .22) & (z < 60)] = ID["land"]
        ids[mesa(x, z) > 2] = ID["rock"]
        ids[(mesa(x, z) > 2) & (z > 420)] = ID["mountain"]
        ids[h <= 0] = ID["water"]
        return ids

    land = Land(rng.uniform(.38, .52), rng.uniform(3, 8), height, material, 1e3, False, ID["water"] if oasis else None, 24)
    scatter(rng, land, 150, 5, 110, "bush", (.4, 1.1), "plant", ("earth", "land"), None, .7)
    scatter(rng, land, 60, 5, 90, "stone", (.3, 1.6), "rock", ("earth", "land"), None, .7, "rock")
    scatter(rng, land, 20, 5, 14, "tuft", (.3, .7), "plant", ("sand",), None, .7)
    if oasis:
        scatter(rng, land, 90, 18, 70, "palm", (5, 9), "tree", ("sand", "earth", "land"),
                lambda x, z: np.abs(np.hypot(x - centre[0], (z - centre[1]) * .8) - 19) < 6, .8)
    people(rng, land, 3, 10, 30, ("sand", "earth"))
    return land


def forest_path(rng):
    """A path into a wood, ferns and flowers beside it, light between the trunks."""
    bend, phase, half = rng.uniform(1, 4), rng.uniform(0, 6.3), rng.uniform(.9, 1.6)
    floor, moss = Noise(rng, "fbm", 14), Noise(rng, "fbm", 5)
    rise = Noise(rng, "fbm", 60)
    far_hills = ridges(rng, 120, 400, 50, 200)
    leafy = rng.random() < .5

    def off(x, z):
        return np.abs(x - bend * np.sin(z / 17 + phase) * smoothstep(0, 30, z)) - half

    def height(x, z):
        d = off(x, z)
        return .1 + (.35 * smoothstep(0, 1.5, d) + .5 * (floor(x, z) - .3) + 3.5 * (rise(x, z) - .3) * smoothstep(10, 60, z)) * smoothstep(-.5, 4, d) + far_hills(x, z)

    def material(x, z, h, slope):
        ids = classes(x.shape, "grass")
        ids[floor(x, z) > .6] = ID["earth"]
        ids[off(x, z) + .5 * (moss(x, z) - .5) < 0] = ID["path"]
        ids[far_hills(x, z) > 5] = ID["hill"]
        return ids

    land = Land(rng.uniform(.42, .54), rng.uniform(1.6, 2.6), height, material, 50, False)
    kind, colour = ("broadleaf", "leaf") if leafy else ("conifer", "needle")
    clear = rng.uniform(1.6, 4.5)
    scatter(rng, land, 260, 9, 120, kind, (6, 12), "tree", ("grass", "earth", "hill"), lambda x, z: off(x, z) > clear, .75, colour)
    scatter(rng, land, 16, 6, 14, kind, (6, 11), "tree", ("grass", "earth"), lambda x, z: (off(x, z) > clear * .7) & (np.abs(x) > .38 * z), .8, colour)
    scatter(rng, land, 160, 3.5, 40, "bush", (.35, 1.1), "plant", ("grass", "earth"), lambda x, z: off(x, z) > .5, .7)
    scatter(rng, land, 260, 2.6, 16, "tuft", (.25, .6), "plant", ("grass",), lambda x, z: off(x, z) > .15, .7)
    scatter(rng, land, 160, 2.6, 14, "tuft", (.15, .4), "plant", ("grass", "earth"), lambda x, z: off(x, z) > .2, .7, "flower")
    scatter(rng, land, 30, 3, 30, "stone", (.2, .6), "rock", ("grass", "earth", "path"), lambda x, z: np.abs(off(x, z)) < .6, .7, "rock")
    if rng.random() < .5:
        side = rng.choice([-1, 1])
        barrier(rng, land, lambda z: bend * np.sin(z / 17 + phase) * smoothstep(0, 30, z) + side * (half + .7),
                "railing" if rng.random() < .4 else "fence", 4, 30)
    people(rng, land, 2, 9, 22, ("path",))
    return land


def waterfall(rng):
    """A waterfall over a cliff into a pool, boulders and trees around it."""
    at, tall, centre, half = rng.uniform(32, 48), rng.uniform(13, 24), rng.uniform(-7, 7), rng.uniform(1.6, 4)
    wobble, rough, shelf = Noise(rng, "fbm", 26), Noise(rng, "fbm", 9), Noise(rng, "fbm", 14)
    mountains = ridges(rng, 160, 420, rng.uniform(40, 120), 220)
    near = rng.uniform(6, 9)

    def cliff(x, z):
        edge = at + 16 * (wobble(x, 0 * z) - .5) * smoothstep(0, 14, np.abs(x - centre)) - .010 * (x - centre) ** 2
        step = z - edge + 2.5 * (rough(x, z) - .5)
        return .72 * smoothstep(-1, .8, step) + .28 * smoothstep(2.5, 5, step), step

    def height(x, z):
        up, step = cliff(x, z)
        pool = np.maximum((near + 5 * (shelf(x, z) - .5) - z) * .16, (np.abs(x - centre * .6) - 11 - 10 * (wobble(z, x) - .5)) * .14)
        pool = np.clip(pool, -1.5, 2.2) + .5 * (rough(x, z) - .5) * (pool > 0)
        notch = 1 - .10 * np.exp(-((x - centre) / half) ** 2)
        return pool + up * tall * notch * (.85 + .3 * shelf(x, 0 * z)) + smoothstep(at + 8, at + 60, z) * 8 * wobble(x, z) + mountains(x, z)

    def material(x, z, h, slope):
        up, step = cliff(x, z)
        ids = classes(x.shape, "grass")
        ids[(rough(x, z) > .45) & (z < at)] = ID["rock"]
        ids[(shelf(x, z) > .58) & (z < at)] = ID["earth"]
        ids[(up > .04) & (step < 5.5)] = ID["rock"]
        ids[(z > at + 30)] = ID["hill"]
        ids[mountains(x, z) > 9] = ID["mountain"]
        ids[h <= 0] = ID["water"]
        fall = np.abs(x - centre) < half * (.75 + .35 * up) * (.8 + .4 * rough(x, h))
        ids[fall & (up > .02) & (step < 4)] = ID["waterfall"]
        return ids

    land = Land(rng.uniform(.44, .56), rng.uniform(2.5, 4.5), height, material, 110, False, ID["water"], near * 1.7)
    away = lambda x, z: np.abs(x - centre) > half * 1.5
    scatter(rng, land, 240, at + 6, at + 120, "conifer", (5, 10), "tree", ("grass", "hill"), away, .8, "needle")
    scatter(rng, land, 120, 12, at, "broadleaf", (3, 7), "tree", ("grass", "earth"), away, .8)
    scatter(rng, land, 110, 7, at + 2, "bush", (.6, 1.6), "plant", ("grass", "rock", "earth"), away, .8)
    scatter(rng, land, 90, 4, at, "stone", (.5, 2.2), "rock", ("rock", "water", "earth", "grass"), lambda x, z: rough(x, z) > .45, .75, "rock")
    scatter(rng, land, 60, 3.5, 10, "tuft", (.3, .7), "plant", ("grass", "earth"), None, .7)

    def mist(pic):
        column, row = pic.project(centre, 0, at - 2)
        far = ((pic.columns - column) / (pic.focal * half * 2.2 / at)) ** 2 + ((pic.rows - row) / (pic.focal * 3.2 / at)) ** 2
        near_ = pic.depth > at - 8
        veil = (.6 * np.exp(-far) * near_)[..., None]
        pic.image += veil * ((pic.palette.ambient + .75 * pic.palette.light) - pic.image)
    land.things.append((land.split * .999, mist))
    return land


FAMILIES = (mountain_lake, seashore, river_valley, village, desert, forest_path, waterfall)
