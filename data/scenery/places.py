"""Landscapes to walk in: a village among fields, a desert, a path through a wood."""
import numpy as np

from data.scenery import objects
from data.scenery.land import Land, barrier, classes, people, ridges, scatter
from data.scenery.terrain import ID
from data.scenery.textures import Noise, smoothstep


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
    scatter(
        rng, land, 240, 120, 500, "broadleaf", (6, 10), "tree", ("grass", "hill"), lambda x, z: grove(x, z) > 0.55, 0.75
    )
    z0, u0 = rng.uniform(55, 110), rng.uniform(-.25, .25)
    for _ in range(rng.integers(4, 10)):
        z, x = z0 + rng.uniform(-18, 26), u0 * z0 + rng.uniform(-30, 30)
        if road(np.float32([x]), np.float32([z]))[0] < 5:
            continue
        h, angle, roof, size = (
            height(np.float32([x]), np.float32([z]))[0],
            rng.uniform(-0.7, 0.7),
            int(rng.integers(100)),
            rng.uniform(7, 11),
        )
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

    land = Land(
        rng.uniform(0.38, 0.52), rng.uniform(3, 8), height, material, 1e3, False, ID["water"] if oasis else None, 24
    )
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
        return (
            0.1
            + (
                0.35 * smoothstep(0, 1.5, d)
                + 0.5 * (floor(x, z) - 0.3)
                + 3.5 * (rise(x, z) - 0.3) * smoothstep(10, 60, z)
            )
            * smoothstep(-0.5, 4, d)
            + far_hills(x, z)
        )

    def material(x, z, h, slope):
        ids = classes(x.shape, "grass")
        ids[floor(x, z) > .6] = ID["earth"]
        ids[off(x, z) + .5 * (moss(x, z) - .5) < 0] = ID["path"]
        ids[far_hills(x, z) > 5] = ID["hill"]
        return ids

    land = Land(rng.uniform(.42, .54), rng.uniform(1.6, 2.6), height, material, 50, False)
    kind, colour = ("broadleaf", "leaf") if leafy else ("conifer", "needle")
    clear = rng.uniform(1.6, 4.5)
    scatter(
        rng,
        land,
        260,
        9,
        120,
        kind,
        (6, 12),
        "tree",
        ("grass", "earth", "hill"),
        lambda x, z: off(x, z) > clear,
        0.75,
        colour,
    )
    scatter(
        rng,
        land,
        16,
        6,
        14,
        kind,
        (6, 11),
        "tree",
        ("grass", "earth"),
        lambda x, z: (off(x, z) > clear * 0.7) & (np.abs(x) > 0.38 * z),
        0.8,
        colour,
    )
    scatter(rng, land, 160, 3.5, 40, "bush", (.35, 1.1), "plant", ("grass", "earth"), lambda x, z: off(x, z) > .5, .7)
    scatter(rng, land, 260, 2.6, 16, "tuft", (.25, .6), "plant", ("grass",), lambda x, z: off(x, z) > .15, .7)
    scatter(
        rng,
        land,
        160,
        2.6,
        14,
        "tuft",
        (0.15, 0.4),
        "plant",
        ("grass", "earth"),
        lambda x, z: off(x, z) > 0.2,
        0.7,
        "flower",
    )
    scatter(
        rng,
        land,
        30,
        3,
        30,
        "stone",
        (0.2, 0.6),
        "rock",
        ("grass", "earth", "path"),
        lambda x, z: np.abs(off(x, z)) < 0.6,
        0.7,
        "rock",
    )
    if rng.random() < .5:
        side = rng.choice([-1, 1])
        barrier(rng, land, lambda z: bend * np.sin(z / 17 + phase) * smoothstep(0, 30, z) + side * (half + .7),
                "railing" if rng.random() < .4 else "fence", 4, 30)
    people(rng, land, 2, 9, 22, ("path",))
    return land
