"""Pictures to look at after an evaluation: the worst images of every score, and several folders side by side."""
import re
import zlib

import cv2
import numpy as np

from data.landscape import read_image, read_labels
from runtime import pictures

WORST = 10        # images on a sheet
SHOWN = 6         # masks on the side-by-side sheet
WINDOW = 4        # a close-up is a fourth of an image, each way
FRAME = (230, 40, 40)


def file_name(*parts, suffix=".png"):
    """A file's name made of any texts."""
    return "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in parts) + suffix


def save_worst(folder, row, job, paths, found):
    """Writes a sheet of the worst images for every column of a row, a report.Row."""
    for column in next(iter(row.images.values())):
        pictures.save(folder / file_name(row.name, "worst", column), worst_sheet(row, column, job, paths, found))


def save_side_by_side(folder, names, paths, job):
    """Writes the sheet of several rows."""
    pictures.save(folder / "side-by-side.png", side_by_side(names, paths, job))


def worst_sheet(row, column, job, paths, found):
    """The images with the lowest values of a column, lowest first: mask, what the segmenter found, reference, output."""
    cases = {case.stem: case for case in job.cases}
    values = {stem: value[column] for stem, value in row.images.items()}
    lines, captions = [], []
    for stem in sorted(values, key=lambda stem: (values[stem], stem))[:WORST]:
        mask = pictures.colour_labels(read_labels(cases[stem].mask, *job.size, job.classes), job.classes.colours)
        line = {"mask": mask, "found": None, "reference": None, "output": read_image(paths[stem], *job.size)}
        if found:
            ids = np.frombuffer(zlib.decompress(found[stem]), dtype=np.uint8).reshape(job.size)
            line["found"] = pictures.colour_labels(ids, job.classes.colours)
        if job.references:
            line["reference"] = read_image(cases[stem].reference, *job.size)
        lines.append({name: image for name, image in line.items() if image is not None})
        captions.append(f"{values[stem]:.1f}  {stem}")
    return pictures.grid([list(line.values()) for line in lines], captions=list(lines[0]), row_captions=captions,
                         scale=scale(job.size))


def side_by_side(names, paths, job):
    """Some masks painted by every row, as the paper's Fig. 5; below each the part where the rows differ most, as its Fig. 6."""
    chosen = sorted({int((i + 0.5) * len(job.cases) / SHOWN) for i in range(SHOWN)})
    lines, captions = [], []
    for case in (job.cases[i] for i in chosen):
        outputs = [read_image(paths[name][case.stem], *job.size) for name in names]
        top, left, height, width = busiest(outputs)
        mask = pictures.colour_labels(read_labels(case.mask, *job.size, job.classes), job.classes.colours)
        reference = [read_image(case.reference, *job.size)] if job.references else []
        lines.append([mask, *reference, *(framed(image, top, left, height, width) for image in outputs)])
        part = lambda image: np.ascontiguousarray(image[top:top + height, left:left + width])
        lines.append([part(mask), *[None] * len(reference), *map(part, outputs)])
        captions += [case.stem, "close-up"]
    heading = ["mask", *(["reference"] if job.references else []), *names]
    return pictures.grid(lines, captions=heading, row_captions=captions, scale=scale(job.size), smooth=True)


def busiest(images):
    """(top, left, height, width) of the part, a WINDOW-th of the images each way, in which they differ most."""
    height, width = (max(1, n // WINDOW) for n in images[0].shape[:2])
    stack = np.stack(images).astype(np.float32)
    spread = (stack.max(0) - stack.min(0)).sum(2)                                            # (H, W)
    sums = cv2.boxFilter(spread, -1, (width, height), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    inside = sums[:spread.shape[0] - height + 1, :spread.shape[1] - width + 1]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return int(top), int(left), height, width


def framed(image, top, left, height, width):
    """A copy of an image with a frame around a part."""
    image, thick = image.copy(), max(1, image.shape[1] // 128)
    cv2.rectangle(image, (left, top), (left + width - 1, top + height - 1), FRAME, thick)
    return image


def scale(size):
    """How images are shown: large ones at half their size."""
    return 0.5 if size[1] >= 400 else 1.0
