"""Pictures for people: coloured masks, captioned grids, loss curves. Images are uint8 (H, W, 3) arrays."""
import io
import math
import os
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from configs.classes import COLOURS
from runtime.files import write_bytes

PALETTE = np.array(COLOURS, np.uint8)                      # (29, 3)
SERIES = ((31, 99, 181), (214, 96, 27), (35, 139, 84), (170, 51, 106), (110, 84, 178), (90, 90, 90))
INK, FAINT, PAPER = (40, 44, 52), (226, 229, 234), (255, 255, 255)


def colour_labels(labels, colours=COLOURS):
    """Class ids (H, W) as colours (H, W, 3); -1, where there is no mask, is white with grey hatching."""
    palette = np.array(colours, np.uint8)                                                       # (K, 3)
    labels = np.asarray(labels).astype(np.int64)
    if labels.ndim != 2 or labels.min(initial=0) < -1 or labels.max(initial=0) >= len(palette):
        raise ValueError(f"colour_labels: expected ids -1 to {len(palette) - 1} as (H, W), got shape {labels.shape}, "
                         f"{labels.min(initial=0)} to {labels.max(initial=0)}")
    y, x = np.indices(labels.shape)
    hatch = np.where(((x + y) % 8 < 2)[..., None], np.uint8(200), np.uint8(255))
    return np.where((labels < 0)[..., None], hatch, palette[labels])


def grid(rows, captions=(), row_captions=(), scale=1.0, smooth=None, margin=6):
    """Rows of images as one picture on white, column headings above, row headings at the left.

    rows: lists of uint8 images (H, W, 3), (H, W), or None for an empty place. Every image is brought to the size of the
    largest, times `scale`: enlarged ones keep their hard pixels unless `smooth`, reduced ones are averaged.
    """
    images = [image for row in rows for image in row if image is not None]
    if not images:
        raise ValueError("grid: expected at least one image")
    height = max(1, round(max(image.shape[0] for image in images) * scale))
    width = max(1, round(max(image.shape[1] for image in images) * scale))
    columns = max(len(row) for row in rows)
    size = int(min(18, max(11, height / 14)))                                                   # of the text
    top = margin + (size + margin if any(captions) else 0)
    left = margin
    if any(row_captions):
        left += margin + min(max(text_width(text, size) for text in row_captions), max(80, width))
    picture = Image.new("RGB", (left + columns * (width + margin), top + len(rows) * (height + margin)), PAPER)
    for column, text in enumerate(captions):
        x = left + column * (width + margin) + width // 2
        write(picture, (x, margin + size // 2), shorten(text, size, width), size, anchor="mm")
    for line, row in enumerate(rows):
        y = top + line * (height + margin)
        if line < len(row_captions):
            text = shorten(row_captions[line], size, left - 2 * margin)
            write(picture, (left - margin, y + height // 2), text, size, anchor="rm")
        for column, image in enumerate(row):
            if image is not None:
                picture.paste(Image.fromarray(fit(image, height, width, smooth)), (left + column * (width + margin), y))
    return np.asarray(picture)


def fit(image, height, width, smooth=None):
    """An image as uint8 (height, width, 3)."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"grid: expected uint8 images (H, W, 3) or (H, W), got {image.dtype} {image.shape}")
    picture = Image.fromarray(image).convert("RGB")
    if picture.size != (width, height):
        enlarged = height >= image.shape[0]
        method = Image.BOX
        if enlarged:
            method = Image.BICUBIC if smooth else Image.NEAREST
        picture = picture.resize((width, height), method)
    return np.asarray(picture)


def save(path, image, quality=95):
    """Writes an image whole or not at all; the suffix gives the format."""
    suffix = os.path.splitext(path)[1].lower()
    options = {"quality": quality, "subsampling": 0} if suffix in (".jpg", ".jpeg") else {}
    write_bytes(path, encoded(image, Image.registered_extensions()[suffix], **options))


def encoded(image, kind, **options):
    """The bytes of an image file. Made in memory: Pillow, writing to a full disk, does not see that bytes are missing."""
    made = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(made, format=kind, **options)
    return made.getvalue()


# Text: Pillow's own font, so that a picture is the same on every machine.

@cache
def font(size):
    """Pillow's font at a size, or its one bitmap size where Pillow is older than 10.1 or lacks FreeType."""
    try:
        found = ImageFont.load_default(size)
    except (TypeError, OSError):
        found = ImageFont.load_default()
    return found, isinstance(found, ImageFont.FreeTypeFont)


def stamp(text, size):
    """A text as an 8-bit mask, for the bitmap font, `size` high."""
    box = font(size)[0].getbbox(text)
    mask = Image.new("L", (max(1, int(box[2])), max(1, int(box[3]))), 0)
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font(size)[0])
    return mask.resize((max(1, round(mask.width * size / 11)), max(1, round(mask.height * size / 11))), Image.BILINEAR)


def text_width(text, size):
    """How many pixels wide a text is."""
    face, scales = font(size)
    return math.ceil(face.getlength(text)) if scales else stamp(text, size).width


def shorten(text, size, width):
    """A text cut with dots so that it fits a width."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "..", size) > width:
        text = text[:-1]
    return text.rstrip() + ".." if text else ""


def write(picture, xy, text, size, fill=INK, anchor="la"):
    """Draws a text on a Pillow image; anchor: l m r, then a (top) m (middle), as Pillow has them."""
    face, scales = font(size)
    if scales:
        ImageDraw.Draw(picture).text(xy, text, fill=fill, font=face, anchor=anchor)
    elif text:
        mask = stamp(text, size)
        x = xy[0] - {"l": 0, "m": mask.width // 2, "r": mask.width}[anchor[0]]
        y = xy[1] - {"a": 0, "m": mask.height // 2}[anchor[1]]
        picture.paste(fill, (int(x), int(y)), mask)


# Loss curves.

def loss_curve(path, series, title="", log_y=False, width=1000, height=560):
    """A line chart as PNG. series: name -> (steps, values); each is drawn faint as it is and bold as smoothed.

    Values that are not finite (or not positive, with log_y) are left out; without any the chart says so.
    """
    series = {name: _drawable(steps, values, log_y) for name, (steps, values) in series.items()}
    series = {name: (steps, values) for name, (steps, values) in series.items() if len(steps)}
    big = 2                                             # drawn twice as large, then averaged: smooth lines
    picture = Image.new("RGB", (width * big, height * big), PAPER)
    frame = tuple(big * v for v in (86, 56 if title else 26, width - 26, height - 64))     # left, top, right, bottom
    write(picture, (frame[0], 16 * big), title, 19 * big)
    points = [point for steps, values in series.values() for point in zip(steps, values)]
    if points:
        _draw_chart(ImageDraw.Draw(picture), picture, frame, series, log_y, big)
    else:
        write(picture, (width * big // 2, height * big // 2), "nothing to draw yet", 16 * big, anchor="mm")
    save(path, np.asarray(picture.resize((width, height), Image.BOX)))


def _drawable(steps, values, log_y):
    steps, values = np.asarray(steps, np.float64).ravel(), np.asarray(values, np.float64).ravel()
    if len(steps) != len(values):
        raise ValueError(f"loss_curve: {len(steps)} steps for {len(values)} values")
    good = np.isfinite(values) & (values > 0 if log_y else True)
    return steps[good], values[good]


def _draw_chart(draw, picture, frame, series, log_y, big):
    left, top, right, bottom = frame
    steps = np.concatenate([s for s, _ in series.values()])
    values = np.concatenate([v for _, v in series.values()])
    x_low, x_high = steps.min(), max(steps.max(), steps.min() + 1)
    low, high = _limits(values, log_y)
    y_ticks = _log_ticks(low, high) if log_y else nice_ticks(low, high)
    warp = np.log10 if log_y else (lambda v: v)
    to_x = lambda s: left + (np.asarray(s, float) - x_low) / (x_high - x_low) * (right - left)
    to_y = lambda v: bottom - (warp(np.asarray(v, float)) - warp(low)) / (warp(high) - warp(low)) * (bottom - top)
    for tick in y_ticks:
        draw.line([(left, to_y(tick)), (right, to_y(tick))], fill=FAINT, width=big)
        write(picture, (left - 10 * big, int(to_y(tick))), number(tick), 14 * big, anchor="rm")
    for tick in nice_ticks(x_low, x_high, min(8, x_high - x_low)):
        draw.line([(to_x(tick), top), (to_x(tick), bottom)], fill=FAINT, width=big)
        write(picture, (int(to_x(tick)), bottom + 10 * big), number(tick), 14 * big, anchor="ma")
    draw.line([(left, top), (left, bottom), (right, bottom)], fill=INK, width=big)
    write(picture, ((left + right) // 2, bottom + 32 * big), "step", 14 * big, anchor="ma")
    smooth = {name: smoothed(v) for name, (_, v) in series.items()}
    chosen = dict(zip(series, [SERIES[i % len(SERIES)] for i in range(len(series))]))
    clip = lambda s, v: list(zip(to_x(s).tolist(), np.clip(to_y(v), top, bottom).tolist()))
    for name, (s, v) in series.items():
        faint = tuple(int(0.25 * c + 0.75 * 255) for c in chosen[name])
        if len(s) > 20:
            draw.line(clip(s, v), fill=faint, width=big, joint="curve")
    for name, (s, v) in series.items():
        line = clip(s, smooth[name] if len(s) > 20 else v)
        draw.line(line, fill=chosen[name], width=int(2.5 * big), joint="curve")
        if len(line) <= 20:
            for x, y in line:
                draw.ellipse([x - 4 * big, y - 4 * big, x + 4 * big, y + 4 * big], fill=chosen[name], outline=PAPER)
    _draw_legend(draw, picture, frame, {name: (chosen[name], smooth[name][-1]) for name in series}, big)


def _draw_legend(draw, picture, frame, entries, big):
    texts = {name: f"{name}  {number(float(f'{last:.3g}'))}" for name, (_, last) in entries.items()}
    wide = max(text_width(text, 14 * big) for text in texts.values()) + 52 * big
    x, y = frame[2] - wide - 8 * big, frame[1] + 8 * big
    draw.rectangle([x, y, x + wide, y + (len(texts) * 24 + 10) * big], fill=PAPER, outline=FAINT, width=big)
    for line, (name, text) in enumerate(texts.items()):
        middle = y + (17 + 24 * line) * big
        draw.line([(x + 12 * big, middle), (x + 34 * big, middle)], fill=entries[name][0], width=3 * big)
        write(picture, (int(x + 42 * big), int(middle)), text, 14 * big, anchor="lm")


def smoothed(values, share=0.02):
    """A running mean over about `share` of the values; the window opens slowly, so that a steep start stays steep."""
    values = np.asarray(values, np.float64)
    place = np.arange(len(values))
    half = np.minimum(place, int(share * len(values) / 2))
    total = np.concatenate([[0.0], np.cumsum(values)])
    first, last = place - half, np.minimum(place + half + 1, len(values))
    return (total[last] - total[first]) / (last - first)


def _limits(values, log_y):
    """The range of y, in which single spikes of a long run do not press the rest flat."""
    low, high = values.min(), values.max()
    if len(values) > 50 and low >= 0:
        if log_y:
            low = max(low, np.percentile(values, 1) / 1.15)
        else:
            high = min(high, np.percentile(values, 99.5) * 1.15)
    if log_y:
        pad = (high / low) ** 0.05 if high > low else 1.5
        return low / pad, high * pad
    pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return (0.0 if low >= 0 and low < 0.4 * high else low - pad), high + pad


def nice_ticks(low, high, about=6):
    """Round numbers between low and high: steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    return [round(i * step, 12) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low, high):
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [d * 10.0 ** p for p in powers for d in digits if low <= d * 10.0 ** p <= high]
        if len(ticks) >= 3:
            break
    return ticks if len(ticks) >= 2 else nice_ticks(low, high)


def number(value):
    """A number as an axis shows it: 200000 -> 200k, 0.00002 -> 2e-05."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value / 1e6:g}M" if 1e6 <= abs(value) < 1e9 else f"{value:.3g}"
    return f"{value / 1e3:g}k" if abs(value) >= 10000 else f"{round(value, 6):g}"
