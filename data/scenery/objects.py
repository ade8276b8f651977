"""Things that people build: houses, boats, bridges, fences; drawn as lit polygons in world coordinates (X, h, Z)."""
import numpy as np

from data.scenery.terrain import ID

ROOFS = np.float32([[.55, .25, .17], [.40, .22, .18], [.30, .32, .38], [.48, .36, .24], [.25, .30, .27]])


def house(pic, x, h, z, size, angle, roof, label=ID["house"], tower=False):
    """A gabled house, `size` metres long, turned by `angle`; `roof` picks its colour. A tower has a spire instead."""
    p = pic.palette
    wall = p.base[label] + (p.alt[label] - p.base[label]) * ((roof * 0.37) % 1)
    cover = ROOFS[roof % len(ROOFS)] * 0.75 + 0.25 * p.base[label]
    if p.snow == 1:
        cover = cover * 0.15 + np.float32([.8, .83, .88])
    length, depth, eaves = (size * 0.35, size * 0.35, size * 1.1) if tower else (size, size * 0.65, size * 0.48)
    ridge = eaves + (size * 0.9 if tower else size * 0.38)
    cos, sin = np.cos(angle), np.sin(angle)

    def at(u, up, v):
        return x + u * length / 2 * cos - v * depth / 2 * sin, h + up, z + u * length / 2 * sin + v * depth / 2 * cos

    pic.shadow(x, h, z, size * 1.9)
    sides = [((-1, -1), (1, -1), True), ((1, -1), (1, 1), False), ((1, 1), (-1, 1), True), ((-1, 1), (-1, -1), False)]
    near = z - size * 0.6
    for (u0, v0), (u1, v1), is_long in sorted(
        sides, key=lambda s: -at((s[0][0] + s[1][0]) / 2, 0, (s[0][1] + s[1][1]) / 2)[2]
    ):
        normal = at((u0 + u1) / 2, 0, (v0 + v1) / 2)[0] - x
        shade = np.clip(0.55 + 0.45 * p.side * np.sign(normal) * min(1, abs(normal) / size * 2), 0.15, 1)
        points = [at(u0, -0.6, v0), at(u1, -0.6, v1), at(u1, eaves, v1), at(u0, eaves, v0)]
        if not is_long and not tower:
            points.insert(3, at(u0, ridge, 0))
        pic.world_polygon(points, wall, label, near, shade)
        count = 3 if is_long and not tower else 1
        for i in range(count):
            for level in ((0.35, 0.62, 0.85) if tower else (0.5,)):
                a, b = (i + 0.32) / count, (i + 0.68) / count
                door = is_long and not tower and i == 1
                low, high = (
                    (0, 0.62)
                    if door
                    else (level - 0.07 if tower else level - 0.18, level + 0.07 if tower else level + 0.22)
                )
                quad = [
                    at(u0 + (u1 - u0) * f, eaves * g, v0 + (v1 - v0) * f)
                    for f, g in ((a, low), (b, low), (b, high), (a, high))
                ]
                lit = p.windows > 0.2 and not door and (i + roof + int(is_long)) % 3 != 0
                colour = np.float32([1.0, .80, .42]) if lit else wall * (0.45 if door else 0.30)
                pic.world_polygon(quad, colour, label, near, shade, glow=lit)
    over = 1.12
    if tower:
        corners = [at(u * over, eaves, v * over) for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        top = (x, h + ridge, z)
        for i, shade in ((2, .4), (3, .6), (1, .6), (0, .7)):
            pic.world_polygon([corners[i], corners[(i + 1) % 4], top], cover, label, near, shade)
        return
    for v in sorted((-1, 1), key=lambda v: -at(0, 0, v)[2]):
        slope = [
            at(-over, eaves * 0.93, v * over),
            at(over, eaves * 0.93, v * over),
            at(over, ridge, 0),
            at(-over, ridge, 0),
        ]
        normal = at(0, 0, v)[0] - x
        pic.world_polygon(
            slope,
            cover,
            label,
            near,
            np.clip(0.72 + 0.4 * p.side * np.sign(normal) * min(1, abs(normal) / size * 3), 0.2, 1.1),
        )
    chimney = [
        at(0.5, ridge * 0.8, 0.2),
        at(0.68, ridge * 0.8, 0.2),
        at(0.68, ridge * 1.16, 0.2),
        at(0.5, ridge * 1.16, 0.2),
    ]
    pic.world_polygon(chimney, wall * 0.6, label, near, 0.7)


def fence(pic, posts, height, label=ID["fence"]):
    """Posts at (n, 3) world points with two rails (a fence or a railing), or one solid course of stones (a wall)."""
    p, posts = pic.palette, np.asarray(posts, np.float64)
    colour = p.base[label] * 0.5 + p.alt[label] * 0.5
    for (x0, h0, z0), (x1, h1, z1) in sorted(zip(posts[:-1], posts[1:]), key=lambda s: -s[0][2]):
        z = min(z0, z1)
        if z < 1:
            continue
        if label == ID["wall"]:
            for i, (low, high) in enumerate(((-0.3, 0.4), (0.4, 0.75), (0.75, 1.0))):
                stone = colour * (0.82 + 0.3 * ((x0 * 7.3 + i * 0.37) % 1))
                pic.world_polygon(
                    [
                        (x0, h0 + low * height, z0),
                        (x1, h1 + low * height, z1),
                        (x1, h1 + high * height, z1),
                        (x0, h0 + high * height, z0),
                    ],
                    stone,
                    label,
                    z,
                    0.6 + 0.15 * i,
                )
            continue
        for level in (0.45, 0.85):
            pic.world_polygon(
                [
                    (x0, h0 + (level - 0.05) * height, z0),
                    (x1, h1 + (level - 0.05) * height, z1),
                    (x1, h1 + (level + 0.05) * height, z1),
                    (x0, h0 + (level + 0.05) * height, z0),
                ],
                colour,
                label,
                z,
                0.8,
            )
        w = 0.06 * height
        pic.world_polygon(
            [(x0 - w, h0 - 0.1, z0), (x0 + w, h0 - 0.1, z0), (x0 + w, h0 + height, z0), (x0 - w, h0 + height, z0)],
            colour * 0.9,
            label,
            z0,
            0.65,
        )


def sailboat(pic, x, z, size, lean, which):
    """A boat of `size` metres with two sails and its reflection."""
    p = pic.palette
    sail = (np.float32([.96, .95, .9]), np.float32([.9, .45, .3]), np.float32([.95, .85, .55]))[which % 3]
    hull = p.base[ID["boat"]]
    for flip, strength in ((-0.8, 0), (1, 1)):
        def at(u, v):
            column, row = pic.project(x + (u + lean * v) * size, 0, z)
            return column, row - flip * v * size * pic.focal / z

        parts = [
            ([(-0.5, 0.16), (0.55, 0.18), (0.4, 0), (-0.4, 0)], hull, 0.7),
            ([(0.0, 0.2), (0.03, 0.2), (0.03, 1.5), (0.0, 1.5)], hull * 0.4, 0.5),
            ([(-0.42, 0.26), (-0.02, 0.26), (-0.02, 1.45)], sail, 0.75),
            ([(0.05, 0.24), (0.48, 0.24), (0.05, 1.3)], sail, 1.0),
        ]
        for points, colour, shade in parts:
            if strength:
                pic.polygon([at(*q) for q in points], colour, ID["boat"], z, shade)
            else:
                reflect(pic, [at(*q) for q in points], colour, z)


def reflect(pic, points, colour, z):
    """A faint polygon in the water; labels stay as they are."""
    before = pic.image.copy() if pic.height < 64 else None
    a, b = int(max(0, min(q[1] for q in points))), int(min(pic.height, max(q[1] for q in points) + 1))
    if a >= b:
        return
    strip = pic.image[a:b].copy() if before is None else before[a:b]
    pic.polygon(points, colour, 0, z, 0.5, solid=False)
    pic.image[a:b] = 0.55 * strip + 0.45 * pic.image[a:b]


def rowboat(pic, x, h, z, size):
    """A small open boat."""
    hull, rim = pic.palette.base[ID["boat"]], pic.palette.alt[ID["boat"]]
    pic.world_polygon([(x - .5 * size, h + .30 * size, z), (x + .5 * size, h + .30 * size, z), (x + .32 * size, h, z),
                       (x - .34 * size, h, z)], hull, ID["boat"], z, 0.7)
    pic.world_polygon(
        [
            (x - 0.52 * size, h + 0.33 * size, z),
            (x + 0.53 * size, h + 0.34 * size, z),
            (x + 0.48 * size, h + 0.25 * size, z),
            (x - 0.48 * size, h + 0.25 * size, z),
        ],
        rim,
        ID["boat"],
        z,
        0.9,
    )


def ship(pic, x, z, size):
    """A freighter `size` metres long near the horizon."""
    hull, deck = pic.palette.base[ID["ship"]], pic.palette.alt[ID["ship"]]
    boxes = [(-.5, .5, 0, .10, hull, .6), (-.42, -.22, .10, .26, deck, .9), (-.36, -.30, .26, .34, hull, .7),
             (-.15, .05, .10, .15, hull * .6 + [.3, .1, .05], .8), (.1, .34, .10, .16, hull * .5 + [.3, .2, .05], .8)]
    for a, b, low, high, colour, shade in boxes:
        pic.world_polygon(
            [
                (x + a * size, low * size, z),
                (x + b * size, low * size, z),
                (x + b * size * 1.02, high * size, z),
                (x + a * size, high * size, z),
            ],
            colour,
            ID["ship"],
            z,
            shade,
        )


def person(pic, x, h, z, which):
    """Somebody standing, 1.75 m tall."""
    coat = pic.palette.base[ID["person"]] if which % 2 else pic.palette.alt[ID["person"]]
    skin = np.float32([.78, .58, .46])
    parts = [((-.2, .2), (0, .85), coat * .55), ((-.26, .26), (.8, 1.45), coat), ((-.12, .12), (1.48, 1.75), skin)]
    pic.shadow(x, h, z, 1.0)
    for (a, b), (low, high), colour in parts:
        pic.world_polygon(
            [(x + a, h + low, z), (x + b, h + low, z), (x + b * 0.8, h + high, z), (x + a * 0.8, h + high, z)],
            colour,
            ID["person"],
            z,
            0.8,
        )


def bridge(pic, x0, x1, h, z, arches):
    """A stone bridge from (x0, h, z) to (x1, h, z), its arches mirrored in the water."""
    p, span = pic.palette, (x1 - x0) / arches
    stone = p.base[ID["bridge"]]
    u = np.linspace(0, 1, 13)
    rise = 1.2
    deck = np.stack([x0 + (x1 - x0) * u, h + rise * 4 * u * (1 - u) * 0.5, 0 * u + z], 1)
    for i in range(arches):
        centre, r = x0 + (i + 0.5) * span, 0.40 * span
        a = np.linspace(np.pi, 0, 9)
        under = np.stack([centre + r * np.cos(a), np.minimum(0.75 * h, r) * np.sin(a) - 0.1, 0 * a + z], 1)
        left, right = x0 + i * span, x0 + (i + 1) * span
        top = deck[(deck[:, 0] > left) & (deck[:, 0] < right)]
        ends = [np.interp(left, deck[:, 0], deck[:, 1]), np.interp(right, deck[:, 0], deck[:, 1])]
        outline = [(left, -0.1, z), *under, (right, -0.1, z), (right, ends[1], z), *top[::-1], (left, ends[0], z)]
        mirror = [(q[0], -q[1] * 0.9, z) for q in outline]
        reflect(pic, [pic.project(*q) for q in mirror], stone * 0.6, z)
        pic.world_polygon(outline, stone, ID["bridge"], z, 0.62)
    for thick, low, colour in ((0.45, 0.0, p.alt[ID["bridge"]]), (0.12, 0.75, p.alt[ID["bridge"]])):
        band = [*(deck + (0, low + thick, 0)), *(deck + (0, low, 0))[::-1]]
        pic.world_polygon(band, colour, ID["bridge" if low == 0 else "railing"], z, 0.9)
    for q in deck[::2]:
        pic.world_polygon(
            [q + (-0.08, 0.4, 0), q + (0.08, 0.4, 0), q + (0.08, 0.85, 0), q + (-0.08, 0.85, 0)],
            stone,
            ID["railing"],
            z,
            0.6,
        )


def pier(pic, x, z0, z1, width, h=0.7):
    """A wooden jetty along Z from z0 (near) to z1 (far), planks across it, posts into the water."""
    p = pic.palette
    for i, z in enumerate(np.arange(z1, z0, -1.6)):
        for side in (-1, 1):
            a = x + side * width / 2
            pic.world_polygon([(a - .12, -.6, z), (a + .12, -.6, z), (a + .12, h + .5, z), (a - .12, h + .5, z)],
                              p.base[ID["pier"]] * 0.7, ID["pier"], z, 0.5)
        colour = p.base[ID["pier"]] + (p.alt[ID["pier"]] - p.base[ID["pier"]]) * ((i * 0.618) % 1)
        for k in range(3):
            a, b = z - k * 0.53, z - (k + 1) * 0.53 + 0.05
            shade = 0.75 + 0.25 * ((i * 3 + k) * 0.618 % 1)
            pic.world_polygon(
                [(x - width / 2, h, a), (x + width / 2, h, a), (x + width / 2, h, b), (x - width / 2, h, b)],
                colour,
                ID["pier"],
                b,
                shade,
            )


def lighthouse(pic, x, h, z, size):
    """A banded tower with a lantern."""
    for i in range(5):
        low, high, w = i * 0.18, (i + 1) * 0.18, 0.13 - 0.012 * i
        colour = np.float32([.9, .89, .86]) if i % 2 else np.float32([.72, .2, .16])
        pic.world_polygon(
            [
                (x - w * size, h + low * size - 0.5, z),
                (x + w * size, h + low * size - 0.5, z),
                (x + (w - 0.012) * size, h + high * size, z),
                (x - (w - 0.012) * size, h + high * size, z),
            ],
            colour,
            ID["building"],
            z,
            0.8,
        )
    glow = pic.palette.windows > 0.2
    lamp = np.float32([1, .9, .6]) if glow else np.float32([.35, .4, .45])
    pic.world_polygon(
        [
            (x - 0.05 * size, h + 0.9 * size, z),
            (x + 0.05 * size, h + 0.9 * size, z),
            (x + 0.05 * size, h + size, z),
            (x - 0.05 * size, h + size, z),
        ],
        lamp,
        ID["building"],
        z,
        0.9,
        glow=glow,
    )
    pic.world_polygon([(x - .07 * size, h + size, z), (x + .07 * size, h + size, z), (x, h + 1.08 * size, z)],
                      np.float32([.3, .12, .1]), ID["building"], z, 0.8)
