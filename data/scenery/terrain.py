"""A landscape seen through a pinhole camera: sky, ground in perspective, water, and things that stand on them.

World: X to the right, Z away from the camera, heights up from the water's surface, all in metres. The camera stands at
(0, eye, 0) and looks along Z; row `horizon` of the picture is its eye level. A height field is drawn front to back:
along every column the ground rises on the screen step by step, and a pixel shows the first step that reaches it.
"""
import cv2
import numpy as np

from data.landscape import CLASSES
from data.scenery.textures import noise, smoothstep, sprites

ID = {name: i for i, name in enumerate(CLASSES)}
STEPS, NEAR, FAR = 240, 0.55, 1200.0  # steps of the height field; NEAR is a fraction of the depth at the lowest row
FLAT = [ID[name] for name in ("water", "sea", "lake", "river")]


def mix(image, other, share):
    """image (h, w, 3) turned into `other`, which is (3,), (w, 3) or (h, w, 3), by a share, a number or (h, w); in place.

    One channel after the other: a loop of NumPy's over three numbers takes five times as long.
    """
    for c in range(3):
        plane = image[..., c]
        plane += share * (other[..., c] - plane)


class Picture:
    """An image being painted: image (H, W, 3) in 0..1, labels (H, W), depth (H, W) in metres (inf = sky)."""

    def __init__(self, height, width, palette, horizon, eye):
        self.height, self.width, self.palette, self.eye = height, width, palette, eye
        self.horizon, self.focal = horizon * height, 1.0 * height
        self.image = np.zeros((height, width, 3), np.float32)
        self.labels = np.full((height, width), ID["sky"], np.uint8)
        self.depth = np.full((height, width), np.inf, np.float32)
        self.rows = np.arange(height, dtype=np.float32)[:, None] + 0.5
        self.columns = np.arange(width, dtype=np.float32)[None, :] + 0.5

    def project(self, x, h, z):
        """The screen position (column, row) of a world point."""
        return self.width / 2 + self.focal * x / z, self.horizon + self.focal * (self.eye - h) / z

    def fog(self, z):
        """How much of what is z metres away is lost in the haze, 0..1."""
        return 0.93 * (1 - np.exp(-(z * self.palette.fog / 520)))

    # ---------------------------------------------------------------- sky

    def paint_sky(self, rng):
        """Gradient, glow, clouds, sun or moon, stars; also keeps the colour of the haze at every column."""
        p, h, w = self.palette, self.height, self.width
        offset, streak = rng.random(2), rng.uniform(0.35, 1.0)
        stars, bright = rng.random((260, 2)), rng.random(260) ** 3
        v = np.clip((self.horizon - self.rows) / max(self.horizon, 1), 0, 1)          # (H, 1), 1 at the top
        row = p.horizon + (p.mid - p.horizon) * smoothstep(0, 0.5, v)
        row = row + (p.zenith - row) * smoothstep(0.3, 1.15, v)                       # (H, 3)
        sky = np.repeat(row[:, None], w, 1).astype(np.float32)
        dx, dy = (self.columns - p.sun_x * w) / h, (self.rows - self.horizon * (1 - p.elevation)) / h
        far = np.sqrt(dx * dx + dy * dy)
        glow = p.glow * (0.5 * np.exp(-far * 3.0) + 0.35 * np.exp(-far * 14)) + 0.4 * (p.stars == 0) * (
            1 - p.cover
        ) * np.exp(-far * 22)
        if p.name == "aurora":
            sky += self._aurora(v, offset)[..., None] * np.float32([0.16, 0.85, 0.5])
        if p.stars:
            for (sx, sy), b in zip(stars, bright):
                x, y, r = int(sx * w), int(sy * self.horizon), max(1, h // 260)
                sky[y:y + r, x:x + r] += p.stars * (0.25 + 0.75 * b) * (1 - (sy ** 3))
        sky += (1 - np.minimum(sky, 1)) * glow[..., None] * p.sun
        disc = smoothstep(0.038, 0.022, far) if p.elevation > 0 and p.cover < 0.8 else np.zeros_like(far)
        sky += disc[..., None] * (p.sun - sky) * 0.95
        top = int(max(self.horizon, 1)) + 1
        self._clouds(sky[:top], v[:top], glow[:top], offset, streak)
        self.image[:] = sky
        at = min(h - 1, max(0, int(self.horizon) - 1))
        self.haze = cv2.blur(sky[at:at + 1], (max(3, w // 12), 1))[0]                 # (W, 3)

    def _aurora(self, v, offset):
        x = self.columns / self.height
        curtain = 0
        for i, base in enumerate((0.32, 0.5, 0.2)):
            wave = base + 0.16 * (noise("fbm", x + 0 * v, 0 * v + i * 3.1, 1.6, offset) - 0.5) * 2
            rays = 0.35 + 0.9 * noise("value", x + 0 * v, 0 * v + i, 0.035, offset)
            rise = v - wave
            curtain = curtain + np.where(rise > 0, np.exp(-rise * 4.5), np.exp(rise * 40)) * rays * (0.75 - 0.2 * i)
        return curtain * smoothstep(0.02, 0.3, v)

    def _clouds(self, sky, v, glow, offset, streak):
        p = self.palette
        depth = 1 / (v + 0.14)
        x, y = (self.columns - self.width / 2) / self.height * depth, depth * streak * 2.2
        density = noise("fbm", x, y + 0 * x, 2.6, offset)
        toward = noise("fbm", x + 0.16 * p.side, y + 0.05 + 0 * x, 2.6, offset)
        edge = 0.98 - 0.75 * p.cover
        alpha = smoothstep(edge, edge + 0.3, density) * smoothstep(0, 0.10, v) * 0.94
        lit = np.clip(0.55 + 2.6 * (density - toward) - 0.9 * np.clip(density - edge - 0.2, 0, 1) + glow, 0, 1)
        for c in range(3):
            plane = sky[..., c]
            plane += alpha * (p.cloud_shade[c] + (p.cloud_lit[c] - p.cloud_shade[c]) * lit - plane)

    # ---------------------------------------------------------------- ground

    def paint_ground(self, land, rng):
        """The height field land.height(X, Z), coloured by land.material(X, Z, h, slope) -> class ids."""
        p = self.palette
        lowest = self.focal * self.eye / max(self.height - self.horizon, 1)
        z = np.geomspace(lowest * NEAR, FAR, STEPS).astype(np.float32)[:, None]       # (S, 1)
        x = ((self.columns - self.width / 2) / self.focal * z).astype(np.float32)     # (S, W)
        bed = land.height(x, np.broadcast_to(z, x.shape)).astype(np.float32)
        h = np.maximum(bed, 0)
        across = np.gradient(h, axis=1) / (z / self.focal)                            # dh/dX
        along = np.gradient(h, axis=0) / np.gradient(z, axis=0) - across * x / z      # dh/dZ at constant X
        slope = np.sqrt(across ** 2 + along ** 2)
        norm = 1 / np.sqrt(1 + slope ** 2)
        low = 0.35 + 0.5 * p.elevation
        shade = np.clip((0.78 * p.side * -across + 0.42 * along + low) * norm, 0, 1.15)  # light from a side, behind us
        screen = self.horizon + self.focal * (self.eye - h) / z                       # (S, W)
        upto = np.minimum.accumulate(screen, axis=0)
        # Per pixel, the number of steps still below it: a histogram of the rows reached, summed from the top.
        reached = np.clip(np.ceil(upto - 0.5), 0, self.height).astype(np.int32)
        flat = reached * self.width + np.arange(self.width, dtype=np.int32)[None]
        counts = np.bincount(flat.ravel(), minlength=(self.height + 1) * self.width).reshape(
            self.height + 1, self.width
        )
        index = STEPS - np.cumsum(counts, axis=0)[: self.height]  # (H, W): first step that is visible
        ground = index < STEPS
        top = int(np.argmax(ground.any(1)))
        index, ground, rows = np.clip(index[top:], 0, STEPS - 1), ground[top:], self.rows[top:]
        before = np.maximum(index - 1, 0)
        columns = np.broadcast_to(np.arange(self.width), index.shape)
        y0, y1 = screen[before, columns], screen[index, columns]
        t = np.clip((y0 - rows) / np.maximum(y0 - y1, 1e-6), 0, 1)
        fields = np.dstack([np.broadcast_to(z, bed.shape), bed, shade, slope])
        place = (columns.astype(np.float32), (before + t * (index - before)).astype(np.float32))
        z, bed, shade, slope = cv2.split(cv2.remap(fields, *place, cv2.INTER_LINEAR))
        x = (self.columns - self.width / 2) / self.focal * z
        labels = land.material(x, z, bed, slope)
        colour = self.colour_ground(land, labels, x, z, bed, slope, shade, rng)
        mix(colour, self.haze, self.fog(z))
        self.image[top:][ground] = colour[ground]
        self.labels[top:][ground] = labels[ground]
        self.depth[top:][ground] = z[ground]
        self.bed = np.full((self.height, self.width), np.inf, np.float32)
        self.bed[top:][ground] = bed[ground]

    def colour_ground(self, land, labels, x, z, bed, slope, shade, rng):
        """The lit colour of ground pixels (H', W', 3); all inputs (H', W')."""
        p = self.palette
        o = rng.random((6, 2))
        fine = np.exp(-z / 16)                                  # what is smaller than a pixel far away must not flicker
        height = np.maximum(bed, 0)
        broad = noise("fbm", x, z + 0.7 * height, 60, o[0])
        near = noise("fbm", x, z + 2 * height, 5.5, o[1])
        blades = noise("fbm", x, z * 0.5 + 2 * height, 1.1, o[2])
        close = noise("fbm", x, z * 0.6 + 2 * height, 0.3, o[2]) - 0.5
        second = np.clip(0.6 * broad + 0.4 * near + (blades - 0.5) * fine, 0, 1)       # how much of a class's second colour
        colour = self.surface(labels, second)
        bump = (near - 0.5) * 0.5 * np.exp(-z / 90) + (blades - 0.5) * 0.7 * fine + close * 0.8 * np.exp(-z / 6)
        stony = np.isin(labels, (ID["mountain"], ID["rock"], ID["waterfall"]))
        if stony.any():
            strata = (
                noise("ridge", x * 0.8 + 0.3 * height, height * 1.6 + z * 0.4, 34 if land.distant else 7, o[3]) - 0.45
            )
            bump = np.where(stony, 0.62 * strata + 0.35 * (near - 0.5), bump)
        snow = smoothstep(
            0.15, 0.5, height / max(land.peak, 1) + p.snow - 0.85 + 0.5 * (broad - 0.5) - 0.22 * slope * (p.snow < 1)
        )
        snow = snow * (labels == ID["mountain"])
        if land.distant and snow.any():
            mix(colour, np.float32([0.95, 0.97, 1.0]), snow)
            bump = bump * (1 - 0.5 * snow)
        if land.furrows is not None:
            colour = land.furrows(self, colour, labels, x, z)
        sand = labels == ID["sand"]
        if sand.any():
            wind = np.sin((z * 2.3 + x * 0.8) * 3 + 9 * noise("fbm", x, z, 7, o[4]))
            bump = np.where(sand, bump * 0.35 + 0.10 * wind * np.exp(-z / 22), bump)
            wet = np.exp(-np.maximum(bed, 0) / 0.16) * sand * (land.water is not None)
            for c in range(3):
                colour[..., c] *= 1 - 0.42 * wet
        falls = labels == ID["waterfall"]
        if falls.any():
            strand = noise("fbm", x * 3.2, height * 0.14, 2.6, o[5])
            for c in range(3):
                colour[..., c][falls] = (p.base[ID["waterfall"]][c] * (0.45 + 0.75 * strand))[falls]
            bump = np.where(falls, 0.3, bump)
        lit, rough = 0.98 * np.clip(shade + bump, 0, 1.25), 1 + 0.35 * bump
        for c in range(3):
            colour[..., c] = colour[..., c] * (p.ambient[c] + p.light[c] * lit) * rough
        return colour

    def surface(self, labels, second):
        """The unlit colour (h, w, 3) of classes (h, w), `second` (h, w) of the way from their first to their second."""
        p, colour = self.palette, np.empty((*labels.shape, 3), np.float32)
        for c in range(3):
            base, alt = p.base[:, c][labels], p.alt[:, c][labels]
            colour[..., c] = base + (alt - base) * second
        return colour

    # ---------------------------------------------------------------- water

    def paint_water(self, rng):
        """Recolours the water painted so far: its tint, the mirrored picture, ripples, glitter, foam."""
        p = self.palette
        water = np.isin(self.labels, FLAT)
        o, calm = rng.random((4, 2)), rng.uniform(0.25, 1)
        if not water.any():
            return
        top = int(np.argmax(water.any(1)))
        water, depth, bed = water[top:], np.minimum(self.depth[top:], FAR), self.bed[top:]
        rows = np.arange(top, self.height, dtype=np.float32)[:, None]
        shore = np.maximum.accumulate(np.where(water, 0, rows + 1), axis=0)           # first water row of each run
        x = (self.columns - self.width / 2) / self.focal * depth
        swell = noise("fbm", x, depth * 2.2, 9, o[0]) - 0.5
        ripple = noise("value", x, depth * 2.6, 0.55, o[1]) - 0.5
        wind = smoothstep(0.35, 0.7, noise("fbm", x, depth, 140, o[2]))
        fine = np.exp(-depth / 40)
        sea = self.labels[top:] == ID["sea"]
        rough = np.where(sea, 1.6, calm * (0.35 + wind)) * (0.5 + 0.5 * np.exp(-depth / 60))
        tilt = swell * 0.7 + ripple * fine
        wave = tilt * rough * self.height * 0.07
        mirror = np.clip(2 * shore - rows - 1, 0, self.height - 1).astype(np.int32)
        first = top + np.argmax(water, axis=0)  # of the column: behind all islands
        behind = np.clip(2 * first - rows - 1, 0, self.height - 1).astype(np.int32)
        everywhere = np.isin(self.labels, FLAT)
        mirror = np.where(everywhere[mirror, np.arange(self.width)], behind, mirror)
        seen = self.depth[mirror, np.arange(self.width)]
        bank = self.focal * self.eye / np.maximum(shore - self.horizon, 1)             # depth of the shore
        # What stands near the shore is mirrored about it; what is far behind, about the horizon.
        mirror = np.where(seen < 3 * bank + 10, mirror, 2 * self.horizon - rows + 0.02 * self.height) + wave
        mirror = np.abs(mirror)  # beyond the upper edge: turn back
        aside = self.columns - 0.5 + tilt * rough * self.height * 0.03
        reflected = cv2.remap(self.image, aside.astype(np.float32), mirror.astype(np.float32), cv2.INTER_LINEAR,
                              borderMode=cv2.BORDER_REPLICATE)
        colour = self.surface(self.labels[top:], noise("fbm", x, depth, 80, o[3]))
        shallow = np.exp(np.minimum(bed, 0) / 1.2)
        grazing = np.clip((rows - self.horizon) / self.height, 0, 1)
        fresnel = (0.22 + 0.70 * np.exp(-grazing * 3.2)) * (1 - 0.38 * sea)
        lane = np.exp(-((self.columns - p.sun_x * self.width) / self.height / (0.10 + 0.25 * grazing)) ** 2)
        sparkle = smoothstep(0.12, 0.4, tilt * rough + 0.1) * lane * p.glow * 0.85
        foam = np.exp(-((bed + 0.10) / 0.07) ** 2) * 0.6 + sea * smoothstep(0.31, 0.40, swell + 0.3 * ripple) * 0.55
        foam = np.clip(foam + sea * np.exp(-((bed + 0.75 + swell * 0.9) / 0.09) ** 2) * 0.8, 0, 1)
        waves, haze = 1 + rough * (0.42 * tilt), 0.75 * self.fog(depth)
        white, sand = p.ambient + 0.8 * p.light, p.base[ID["sand"]] * (p.ambient + 0.6 * p.light)
        for c in range(3):
            own = colour[..., c] * (p.ambient + 0.55 * p.light)[c]
            own = own + (sand[c] - own) * 0.45 * shallow
            own = (own + (reflected[..., c] - own) * fresnel) * waves + sparkle * p.sun[c]
            own = own + foam * (white[c] - own)
            colour[..., c] = own + haze * (self.haze[:, c] - own)
        self.image[top:][water] = colour[water]

    # ---------------------------------------------------------------- things

    def lit(self, colour, shade, z, column):
        """A colour (3,) under the light, `shade` 0..1, seen through z metres of haze."""
        p = self.palette
        c = colour * (p.ambient + p.light * shade)
        return c + self.fog(z) * (self.haze[min(max(int(column), 0), self.width - 1)] - c)

    def stamp(self, kind, which, x, h, z, size, label, leaf, trunk=None, sink=0.02):
        """A sprite of `size` metres with its foot at world (x, h, z); leaf and trunk are colours (3,)."""
        column, row = self.project(x, h, z)
        tall = self.focal * size / z
        chain = sprites(kind)[which]
        high = max(2, int(round(tall)))
        wide = max(2, int(round(tall * chain[0].shape[1] / chain[0].shape[0])))
        x0, y0 = int(round(column - wide / 2)), int(round(row + sink * tall)) - high
        a, b, c, d = max(0, y0), min(self.height, y0 + high), max(0, x0), min(self.width, x0 + wide)
        if a >= b or c >= d or high > 4 * self.height:
            return
        region = (slice(a, b), slice(c, d))
        visible = self.depth[region] > z * 0.985
        if not visible.any():
            return
        source = next((m for m in reversed(chain) if m.shape[0] >= high), chain[0])
        how = cv2.INTER_AREA if high < source.shape[0] else cv2.INTER_LINEAR
        drawing = cv2.resize(source, (wide, high), interpolation=how)
        if self.palette.side > 0:
            drawing = drawing[:, ::-1]
        drawing = drawing[a - y0:b - y0, c - x0:d - x0]
        alpha = drawing[..., 0] * visible
        p, middle = self.palette, min(max(int(column), 0), self.width - 1)
        shade, part, fog = 1.1 * drawing[..., 1], drawing[..., 2], self.fog(z)
        trunk, image = p.base[ID["earth"]] * 0.6 if trunk is None else trunk, self.image[region]
        for c in range(3):
            colour = (part * leaf[c] + (1 - part) * trunk[c]) * (p.ambient[c] + p.light[c] * shade)
            colour = colour + fog * (self.haze[middle, c] - colour)
            plane = image[..., c]
            plane += alpha * (colour - plane)
        solid = alpha > 0.5
        self.labels[region][solid] = label
        self.depth[region][solid] = z

    def shadow(self, x, h, z, size):
        """A soft dark ellipse on the ground under something `size` metres wide."""
        column, row = self.project(x, h, z)
        rx, ry = self.focal * size / z / 2, max(1.0, self.focal * size / z / 2 * min(0.5, self.eye / z + 0.06))
        a, b = max(0, int(row - ry)), min(self.height, int(row + ry) + 1)
        c, d = max(0, int(column - rx)), min(self.width, int(column + rx) + 1)
        if a >= b or c >= d:
            return
        far = ((self.columns[:, c:d] - column) / rx) ** 2 + ((self.rows[a:b] - row) / ry) ** 2
        dark = 0.32 * np.clip(1 - far, 0, 1) * (1 - self.fog(z))
        for channel in range(3):
            self.image[a:b, c:d, channel] *= 1 - dark

    def polygon(self, points, colour, label, z, shade=0.7, glow=False, solid=True):
        """A flat polygon: points (n, 2) on the screen, z metres away. glow: unlit; not solid: labels stay."""
        points = np.asarray(points, np.float64)
        a, b = max(0, int(points[:, 1].min())), min(self.height, int(np.ceil(points[:, 1].max())) + 1)
        c, d = max(0, int(points[:, 0].min())), min(self.width, int(np.ceil(points[:, 0].max())) + 1)
        if a >= b or c >= d or not np.isfinite(points).all():
            return
        mask = np.zeros((b - a, d - c), np.uint8)
        cv2.fillPoly(mask, [np.round((points - (c, a)) * 16).astype(np.int32)], 1, shift=4)
        inside = (mask > 0) & (self.depth[a:b, c:d] > z * 0.98)
        middle = points[:, 0].mean()
        self.image[a:b, c:d][inside] = np.asarray(colour) if glow else self.lit(np.asarray(colour), shade, z, middle)
        if solid:
            self.labels[a:b, c:d][inside] = label
            self.depth[a:b, c:d][inside] = z

    def world_polygon(self, points, *args, **options):
        """A polygon of world points (n, 3) = (X, h, Z)."""
        self.polygon([self.project(*point) for point in points], *args, **options)

    def finish(self, ratio):
        """(H / ratio, W / ratio): the image as uint8 with a gentle tone curve, and the labels at pixel centres."""
        image = cv2.resize(self.image, (self.width // ratio, self.height // ratio), interpolation=cv2.INTER_AREA)
        image = np.clip(image, 0, 1)
        image = image + 0.28 * image * (1 - image) * (2 * image - 1) + 0.04 * image * (1 - image)
        return np.round(image * 255).astype(np.uint8), np.ascontiguousarray(
            self.labels[ratio // 2 :: ratio, ratio // 2 :: ratio]
        )
