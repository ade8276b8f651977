"""What makes a training photo suspect, measured: no colour, a frame, a caption, hardly any content, seen before.

Every measure has a threshold beside it, in the units it is measured in. They were set on 56 photos of landscapes so that
what people remove by hand lies below, and ordinary photos, fog and dusk among them, above; none of them is a judgement.
"""
from collections import defaultdict

import cv2
import numpy as np

COLOUR = 1.7        # CIELAB units of colour that lightness does not explain: grey 0, toned below 1, fog from 2
ENTROPY = 4.5       # bits of an 8-bit grey level: black 0, ordinary photos 6 to 7.8
ONE_CLASS = 0.98    # share of a mask that its largest class has
SAME = 0.75         # correlation of two photos' edges: unrelated ones below 0.45, a copy cropped by 2 % above 0.8
AGREEMENT = 0.3     # share of pixels where a segmenter sees the mask's class

BAND = 0.015        # of the shorter side: the thinnest frame
FLAT = 4            # grey levels of deviation along a frame's line, JPEG noise included
LETTERS = 7         # of a caption, at least


def colour(image):
    """RMS distance of a photo's (a, b) in CIELAB from the mean of its lightness: uint8 (H, W, 3) -> float.

    0 for grey, and nearly so for sepia and other tones, whose colour is a function of lightness."""
    small = cv2.resize(image, (128, 96), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    level = np.clip(lab[:, 0] * 16 / 100, 0, 15).astype(np.int64)                      # of 16 steps of lightness
    count = np.maximum(np.bincount(level, minlength=16), 1)
    rest = [lab[:, c] - (np.bincount(level, lab[:, c], 16) / count)[level] for c in (1, 2)]
    return float(np.sqrt((rest[0] ** 2 + rest[1] ** 2).mean()))


def entropy(image):
    """Shannon entropy of a photo's grey levels, bits."""
    share = np.bincount(grey(image).ravel(), minlength=256) / (image.shape[0] * image.shape[1])
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def frame(image):
    """Whether two opposite edges of a photo are bands of one same flat colour that end sharply.

    One such edge is an ordinary sky; two opposite ones of one colour, each with an edge inside, are not."""
    short = min(image.shape[:2])
    for turned in (image, image.swapaxes(0, 1)):
        lines = turned.astype(np.float32)                                              # (lines, pixels, 3)
        bands = [band(lines), band(lines[::-1])]
        if all(n >= BAND * short for n, _, _ in bands) and all(sharp for _, _, sharp in bands):
            if np.abs(bands[0][1] - bands[1][1]).max() < 12:
                return True
    return False


def band(lines):
    """How many first lines are flat and of the first one's colour, that colour (3,), whether the next differs sharply."""
    colour_of = np.median(lines[0], axis=0)
    flat = np.abs(lines - colour_of).mean(axis=2)                                      # (lines, pixels)
    even = np.percentile(flat, 97, axis=1) < FLAT
    n = len(even) if even.all() else int(np.argmin(even))
    if n == 0 or n >= len(lines) // 2:
        return 0, colour_of, False
    inside = flat[min(n + 2, len(lines) - 1)]
    return n, colour_of, bool((inside > 4 * FLAT).mean() > 0.6)


def caption(image):
    """Whether a line of letters was written on a photo: shapes of one height and one colour side by side on a line.

    Letters are thin, evenly coloured and lighter or darker in some channel than what surrounds them; foam and twigs are
    not even."""
    kernel = np.ones((15, 15), np.uint8)                                               # strokes up to 14 pixels wide
    for channel in range(3):
        one = np.ascontiguousarray(image[..., channel])
        for picture in (one, 255 - one):
            raised = cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, kernel)
            for contrast in (45, 90):
                letters = shapes(raised > contrast)
                if len(letters) >= LETTERS and line_of_letters(letters, picture):
                    return True
    return False


def shapes(there):
    """The connected parts of a bool picture (H, W) that could be letters, (N, 5): left, top, width, height, area."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(there.astype(np.uint8), connectivity=8)
    _, _, width, height, area = stats[1:].T
    return stats[1:][(height >= 6) & (height <= 0.15 * there.shape[0]) & (width <= 2.0 * height)
                     & (area >= 0.15 * width * height) & (area >= 8)]


def line_of_letters(letters, picture):
    """Whether LETTERS of the components (N, 5: left, top, width, height, area) stand on one line in one colour."""
    rows = defaultdict(list)
    for letter in letters:
        rows[(letter[1] + letter[3]) // 2].append(letter)                              # by their lower end, 2 pixels apart
    for row in list(rows):
        near = sorted((*rows[row], *rows.get(row + 1, ())), key=lambda letter: letter[0])
        run = []
        for letter in near:
            if run and not follows(run[-1], letter):
                run = []
            run.append(letter)
            if len(run) >= LETTERS and one_colour(run, picture):
                return True
    return False


def follows(one, other):
    """Whether a component may be the next letter after another: nearly as high, and close to its right."""
    gap = other[0] - (one[0] + one[2])
    heights = sorted((one[3], other[3]))
    return -1 <= gap <= 1.5 * heights[1] and heights[1] <= 1.7 * heights[0]


def one_colour(run, picture):
    """Whether the brightest part of every letter is of one brightness, and some of them are more than bars."""
    peaks = [np.percentile(picture[top:top + height, left:left + width], 95) for left, top, width, height, _ in run]
    wide = sum(width > 0.35 * height for _, _, width, height, _ in run)
    return np.std(peaks) < 8 and wide >= 0.6 * len(run)


def signature(image):
    """The edges of a photo and of its mirror image, each of length 1: uint8 (H, W, 3) -> float32 (2, 2 * 24 * 32)."""
    small = cv2.resize(grey(image), (32, 24), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.stack([edges(small), edges(np.ascontiguousarray(small[:, ::-1]))])


def edges(small):
    """Differences of neighbours, large ones damped, as one vector of length 1; all 0 for a flat picture."""
    both = [cv2.Sobel(small, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1))]
    vector = np.concatenate([np.sign(part) * np.sqrt(np.abs(part)) for part in both], axis=None)
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def near_duplicates(signatures, block=512):
    """[(i, j, correlation)]: photo j shows what an earlier i showed, mirrored or not. signatures (N, 2, D) float32.

    i is the first of its kind. Rows are compared in blocks: memory grows with N, not with its square."""
    found, plain = [], signatures[:, 0]
    first = np.arange(len(plain))
    for start in range(0, len(plain), block):
        rows = slice(start, start + block)
        score = np.maximum(signatures[rows, 0] @ plain.T, signatures[rows, 1] @ plain.T)   # (block, N)
        score[np.arange(score.shape[1])[None] >= np.arange(start, start + len(score))[:, None]] = -1
        for k in np.flatnonzero(score.max(axis=1, initial=-1) >= SAME):
            i, j = int(score[k].argmax()), start + int(k)
            first[j] = first[i]
            found.append((int(first[j]), j, float(score[k].max())))
    return found


def detail(image):
    """Mean absolute Laplacian of a photo's grey levels: a scaled or compressed copy has less of it."""
    return float(np.abs(cv2.Laplacian(grey(image), cv2.CV_32F)).mean())


def largest_class(labels):
    """(share, id) of the class that most of a mask is of; labels (H, W), -1 where there is none."""
    count = np.bincount(labels[labels >= 0].ravel())
    return float(count.max() / labels.size), int(count.argmax())


def grey(image):
    """Grey levels uint8 (H, W) of uint8 (H, W, 3) RGB."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
