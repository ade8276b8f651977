"""The colours of a landscape: the light of an hour times the surfaces of a season."""
from dataclasses import dataclass, field

import numpy as np

from data.landscape import CLASSES

# An hour: zenith, mid and horizon of the sky, the sun or moon, ambient light, direct light, lit and shaded clouds, then
# the sun's elevation (fraction of the sky), strength of its glow, fog, cloud cover, stars, and whether windows are lit.
HOURS = {
    "noon": ("1f62c0", "5f9fe2", "cfe6f5", "fff8e6", "6c7d98", "d8cdb6", "ffffff", "b4c4d8", .80, .25, .8, .45, 0, 0),
    "golden": ("4f7fb8", "d3b78c", "ffdd96", "fff0c0", "76686a", "ffc46c", "ffe9c0", "b58f80", .24, .9, 1.2, .42, 0, 0),
    "sunset": ("2f2f70", "b84c7c", "ff9440", "ffd88a", "66506a", "e8804c", "ff8c58", "5e3865", .09, 1., 1.2, .5, 0, .3),
    "dusk": ("101a48", "3b3f86", "c98794", "ffd9c0", "3b3b66", "4a3a55", "8a6a94", "2c3060", .03, .5, 1.1, .4, .35, 1),
    "night": ("040818", "0b1938", "1c3860", "e8eeff", "2a3a62", "3c5486", "33466e", "0f1a36", .62, .35, .8, .3, 1, 1),
    "aurora": ("030a1a", "072030", "12484c", "e0fff0", "284a5c", "2e6e66", "1c3c50", "0a1a2c", .7, .15, .8, .15, 1, 1),
    "overcast": ("7f8992", "a0a9b0", "c9cecf", "d8dcde", "a4a8ac", "26262a", "c9cdd1", "868e96", .6, .1, 1.9, .8, 0, 0),
    "storm": ("1f2833", "3d4a55", "98a48c", "d8d8b0", "596468", "4a4a38", "6c7880", "222a33", .3, .2, 1.3, .9, 0, .5),
    "dawn": ("7898d2", "e8b4c6", "ffe4cc", "fff2e0", "887c92", "b07868", "ffe0da", "b89cb8", .14, .7, 2.4, .35, 0, 0),
    "frost": ("4a84cc", "a2c8ee", "f4e8e2", "fff6ec", "8a9cbc", "a08c76", "ffffff", "b8c6dc", .35, .45, 1.3, .4, 0, 0),
}

# A season: two colours per kind of surface, between which noise chooses.
SEASONS = {
    "summer": dict(grass="5c8a2c 92a848", leaf="3c6a22 6f9236", needle="1f4528 3c6434", meadow="6f9a3a b0b860",
                   crops="d2ba5c 8fae42 b08a46 6b9a40", flower="e8402c f4d23c f0f0f0 c050c0", snow=.32),
    "spring": dict(grass="74ac3a a8cc58", leaf="7cb040 f0b8c8", needle="2c6038 4f8044", meadow="90c04c c8d870",
                   crops="f0d838 86c050 a07850 b0d860", flower="ff80b0 ffffff ffe050 9070ff", snow=.5),
    "autumn": dict(grass="a08838 b89c4c", leaf="c8501c e8a828", needle="4c5428 7c6a30", meadow="b08a3c c8a850",
                   crops="b87838 d0a048 885c38 a09048", flower="d04828 e89030 c8b070 904030", snow=.25),
    "winter": dict(grass="d4dde8 eef2f8", leaf="8a8078 c8ccd4", needle="46585c b4c4cc", meadow="dde4ee f4f6fa",
                   crops="e4eaf2 d0d8e2 f0f2f6 c8ccd0", flower="c8d0d8 a89880 ffffff b0b8c0", snow=1.0),
    "dry": dict(grass="b49a58 ccb470", leaf="6c7434 98924c", needle="48542c 6c6c3c", meadow="c0a45c d8c07c",
                crops="d8b458 c09448 a87c44 b8a860", flower="e86838 f0c048 d8c8a0 c04838", snow=.12),
}

PALETTES = {
    "noon": ("noon", "summer"), "golden": ("golden", "summer"), "sunset": ("sunset", "dry"), "dusk": ("dusk", "summer"),
    "night": ("night", "summer"), "aurora": ("aurora", "winter"), "overcast": ("overcast", "summer"),
    "storm": ("storm", "dry"), "autumn": ("golden", "autumn"), "fall-mist": ("dawn", "autumn"),
    "winter": ("frost", "winter"), "winter-sunset": ("sunset", "winter"), "spring": ("noon", "spring"),
    "dawn": ("dawn", "spring"), "dry": ("noon", "dry"),
}

SURFACES = {  # what no season changes, unless there is snow on it
    "mountain": "66646e 96908e", "rock": "6c665f a89f92", "earth": "74543a a07c52", "sand": "d2b67e f0dcb0",
    "building": "b8a48c d8ccb8", "person": "40404c 80402c", "boat": "8c3c28 e8e4dc", "wall": "857d72 aaa294",
    "pier": "6c5540 94785a", "path": "a08864 c8b088", "bridge": "8c8074 b8ac9c", "road": "55555c 76757a",
    "railing": "a0a0a8 d0d0d4", "fence": "6c5844 a08c70", "ship": "34405c e0e4e8", "house": "e0d4c0 f0ece4",
    "other": "808080 a0a0a0", "sky": "80a0c0 a0c0e0", "waterfall": "c4d4de ffffff",
    "water": "1c4c50 2c6c68", "river": "24505a 3c7470", "lake": "123f58 1f6070", "sea": "0c4668 1c7c94",
}
SNOWED = ("mountain", "rock", "earth", "sand", "wall", "path", "bridge", "land", "hill")


@dataclass
class Palette:
    """All colours of one picture, RGB in 0..1; `base` and `alt` are (29, 3), one row per class."""
    name: str
    zenith: np.ndarray
    mid: np.ndarray
    horizon: np.ndarray
    sun: np.ndarray
    ambient: np.ndarray
    light: np.ndarray
    cloud_lit: np.ndarray
    cloud_shade: np.ndarray
    elevation: float                  # of the sun, fraction of the sky above the horizon
    glow: float
    fog: float
    cover: float                      # of clouds, 0..1
    stars: float
    windows: float                    # how brightly windows are lit
    snow: float                       # how far down snow lies, 1 = everywhere
    side: float                       # -1 light from the left, 1 from the right
    sun_x: float                      # fraction of the width
    base: np.ndarray = field(default=None, repr=False)
    alt: np.ndarray = field(default=None, repr=False)
    leaf: np.ndarray = field(default=None, repr=False)      # (2, 3)
    needle: np.ndarray = field(default=None, repr=False)    # (2, 3)
    crops: np.ndarray = field(default=None, repr=False)     # (4, 3)
    flower: np.ndarray = field(default=None, repr=False)    # (4, 3)


def rgb(text):
    """Hex colours "rrggbb rrggbb ..." as float32 (n, 3) in 0..1."""
    return np.array([[int(c[i:i + 2], 16) / 255 for i in (0, 2, 4)] for c in text.split()], np.float32)


def palette_for(rng, name=None):
    """A Palette: one of PALETTES by name or drawn, jittered so that no two pictures share their colours exactly."""
    drawn = list(PALETTES)[rng.integers(len(PALETTES))]       # drawn even when given: the jitter stays the same
    name = name or drawn
    if name not in PALETTES:
        raise ValueError(f"palette: found {name!r}, expected one of {', '.join(PALETTES)}")
    hour, season = PALETTES[name]
    colours = [rgb(c)[0] for c in HOURS[hour][:8]]
    numbers = list(HOURS[hour][8:])
    season = SEASONS[season]
    tint = 1 + rng.normal(0, 0.05, 3).astype(np.float32)      # of the light
    colours = [np.clip(c * tint, 0, 1) for c in colours]
    numbers[0] = numbers[0] * rng.uniform(0.8, 1.2)
    numbers[3] = np.clip(numbers[3] + rng.uniform(-0.15, 0.15), 0.05, 1)
    sun_x = rng.uniform(0.12, 0.88)
    palette = Palette(name, *colours, *[float(v) for v in numbers], snow=season["snow"],
                      side=1.0 if sun_x > 0.5 else -1.0, sun_x=sun_x)
    surfaces = dict(SURFACES, grass=season["grass"], hill=season["meadow"], field=season["crops"],
                    land=season["meadow"], tree=season["leaf"], plant=season["leaf"])
    pairs = np.stack([rgb(surfaces[name])[:2] for name in CLASSES])                          # (29, 2, 3)
    if palette.snow == 1:
        for name in SNOWED:
            pairs[CLASSES.index(name)] = pairs[CLASSES.index(name)] * 0.4 + rgb("e8eef6 ffffff") * 0.6
    jitter = np.exp(rng.normal(0, 0.08, (len(CLASSES), 1, 3))).astype(np.float32)
    pairs = np.clip(pairs * jitter, 0, 1)
    palette.base, palette.alt = pairs[:, 0], pairs[:, 1]
    wobble = np.exp(rng.normal(0, 0.07, (2, 3))).astype(np.float32)
    palette.leaf = np.clip(rgb(season["leaf"]) * wobble[0], 0, 1)
    palette.needle = np.clip(rgb(season["needle"]) * wobble[1], 0, 1)
    palette.crops, palette.flower = rgb(season["crops"]), rgb(season["flower"])
    return palette
