"""Landscapes around water: a mountain lake, a sea shore, a river valley, a waterfall."""
import numpy as np

from data.scenery import objects
from data.scenery.land import Land, cabin, classes, people, plant, ridges, scatter
from data.scenery.terrain import ID
from data.scenery.textures import Noise, smoothstep


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
        return (
            bank
            + (bank > 0) * (1.6 * (bumps(x, z) - 0.3) * smoothstep(2, 40, z) + 0.3 * (rough(x, z) - 0.5))
            + foothills(x, z) * (bank > 0)
            + mountains(x, z)
        )

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
    scatter(
        rng,
        land,
        340,
        far * 0.6,
        far * 3.2,
        "conifer",
        (7, 13),
        "tree",
        ("grass", "earth", "hill"),
        lambda x, z: grove(x, z) > 0.36,
        0.9,
        "needle",
    )
    scatter(rng, land, 80, near * 1.6, far * 0.8, "conifer", (6, 12), "tree", ("grass", "earth"), None, .95, "needle")
    scatter(
        rng,
        land,
        50,
        near * 0.35,
        near * 1.3,
        "stone",
        (0.3, 0.9),
        "rock",
        ("grass", "earth", "rock"),
        None,
        0.7,
        "rock",
    )
    scatter(rng, land, 60, near * 0.4, near, "tuft", (.3, .7), "plant", ("grass", "earth"), None, .7)
    side = rng.choice([-1, 1])
    for _ in range(rng.integers(2, 6)):
        z = rng.uniform(near * 0.75, near * 1.1)
        x = side * z * rng.uniform(.42, .68)
        plant(
            land,
            x,
            height(np.float32([x]), np.float32([z]))[0],
            z,
            "conifer",
            rng.uniform(5, 9),
            "tree",
            rng.random(2),
            "needle",
        )
    if rng.random() < .6:
        cabin(rng, land, far * rng.uniform(1.05, 1.25), ("grass", "hill", "earth"))
    if rng.random() < .55:
        z, x = rng.uniform(near * 2.2, near * 4), rng.uniform(-.3, .3)
        land.things.append((z, lambda pic, a=(x * z, 0, z, 3.2): objects.rowboat(pic, *a)))
    if rng.random() < .4:
        x = rng.uniform(-.25, .25) * near * 2
        land.things.append((near, lambda pic, a=(x, near * 0.8, near * 2.2, 1.6): objects.pier(pic, *a)))
    return land


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
        beach = np.where(
            beach > 0,
            np.minimum(beach, 0.9) + 0.5 * (dunes(x, z) - 0.4) * smoothstep(0.3, 1, beach),
            np.maximum(beach, -3),
        )
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
    scatter(
        rng,
        land,
        26,
        4,
        at * 2.2,
        "stone",
        (0.25, 1.3),
        "rock",
        ("sand", "sea"),
        lambda x, z: rough(x, z) > 0.55,
        0.7,
        "rock",
    )
    scatter(rng, land, 90, 3, at, "tuft", (.3, .8), "plant", ("grass",), None, .7)
    palm = rng.random() < .6
    for _ in range(rng.integers(0, 5)):
        z = rng.uniform(6, 11)
        x = side * -1 * z * rng.uniform(.35, .62)
        h = height(np.float32([x]), np.float32([z]))[0]
        if h > .15:
            plant(
                land,
                x,
                h,
                z,
                "palm" if palm else "conifer",
                rng.uniform(4, 6.5),
                "tree",
                rng.random(2),
                "leaf" if palm else "needle",
            )
    for _ in range(rng.integers(0, 4)):
        z, u, size, lean_, which = (
            rng.uniform(40, 160),
            rng.uniform(-0.5, 0.5),
            rng.uniform(5, 9),
            rng.uniform(-0.08, 0.08),
            int(rng.integers(9)),
        )
        if height(np.float32([u * z]), np.float32([z]))[0] < -.3:
            land.things.append(
                (min(z, land.split * 0.99), lambda pic, a=(u * z, z, size, lean_, which): objects.sailboat(pic, *a))
            )
    if rng.random() < .4:
        x, z = rng.uniform(-.4, .4) * 600, 600
        if height(np.float32([x]), np.float32([z]))[0] < -.3:
            land.things.append((land.split * .995, lambda pic, a=(x, z, 90): objects.ship(pic, *a)))
    if rng.random() < .35:
        u = rng.uniform(-.3, .3)
        land.things.append((at * .9, lambda pic, a=(u * at, at * .7, at * 3, 2.2, 1.0): objects.pier(pic, *a)))
    people(rng, land, 3, 6, at * .9, ("sand",))
    return land


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
        bank = (
            np.clip(d * 0.22, -1.2, 1.1)
            + np.maximum(0, d - 6) * 0.02
            + 0.8 * (meadow(x, z) - 0.5) * smoothstep(3, 20, d)
        )
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
    scatter(
        rng,
        land,
        50,
        4,
        30,
        "stone",
        (0.3, 1.0),
        "rock",
        ("earth", "sand", "river"),
        lambda x, z: np.abs(off(x, z)) < 2,
        0.7,
        "rock",
    )
    scatter(rng, land, 120, 4, 14, "tuft", (.25, .6), "plant", ("grass", "land"), None, .7, "flower")
    if rng.random() < .7:
        z = rng.uniform(26, 46)
        centre = swing * np.sin(z / length + phase) * smoothstep(0, 60, z) + drift * z
        arches = int(rng.integers(2, 4))
        land.things.append(
            (
                min(z, 25.9),
                lambda pic, a=(centre - width * 2.1, centre + width * 2.1, 2.6, z, arches): objects.bridge(pic, *a),
            )
        )
    if rng.random() < .6:
        cabin(rng, land, rng.uniform(45, 90), ("grass", "land"))
    people(rng, land, 1, 9, 20, ("grass", "sand"))
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
        pool = np.maximum(
            (near + 5 * (shelf(x, z) - 0.5) - z) * 0.16,
            (np.abs(x - centre * 0.6) - 11 - 10 * (wobble(z, x) - 0.5)) * 0.14,
        )
        pool = np.clip(pool, -1.5, 2.2) + .5 * (rough(x, z) - .5) * (pool > 0)
        notch = 1 - .10 * np.exp(-((x - centre) / half) ** 2)
        return (
            pool
            + up * tall * notch * (0.85 + 0.3 * shelf(x, 0 * z))
            + smoothstep(at + 8, at + 60, z) * 8 * wobble(x, z)
            + mountains(x, z)
        )

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
    scatter(
        rng,
        land,
        90,
        4,
        at,
        "stone",
        (0.5, 2.2),
        "rock",
        ("rock", "water", "earth", "grass"),
        lambda x, z: rough(x, z) > 0.45,
        0.75,
        "rock",
    )
    scatter(rng, land, 60, 3.5, 10, "tuft", (.3, .7), "plant", ("grass", "earth"), None, .7)

    def mist(pic):
        column, row = pic.project(centre, 0, at - 2)
        far = ((pic.columns - column) / (pic.focal * half * 2.2 / at)) ** 2 + (
            (pic.rows - row) / (pic.focal * 3.2 / at)
        ) ** 2
        near_ = pic.depth > at - 8
        veil = (.6 * np.exp(-far) * near_)[..., None]
        pic.image += veil * ((pic.palette.ambient + .75 * pic.palette.light) - pic.image)
    land.things.append((land.split * .999, mist))
    return land
