"""Best of N: several candidates a mask, of which the one with the best score is kept.

Candidate 0 is the image that is painted without it; the others differ in their noise alone. A style score is right: the
published selection of another entry compared every candidate with itself, and so always kept the first.
"""
import csv
from pathlib import Path

import numpy as np

from data.landscape import read_labels
from evaluation.metrics.style import style_similarity
from runtime.errors import UserError

SCORES = ("s", "m")
TABLE = "candidates.csv"


def names_of(stems, candidate):
    """The names that key a candidate's noise."""
    return [f"{stem} candidate {candidate}" if candidate else stem for stem in stems]


def best_of(paint, stems, candidates, score):
    """(images, scores (B, N)) of the best of N candidates for every row.

    paint(names) -> uint8 (B, H, W, 3) with the noise that the names key; score(row, image) -> float, the more the better. Of
    equals the first is kept.
    """
    best, scores = None, np.full((len(stems), candidates), -np.inf)
    for j in range(candidates):
        images = paint(names_of(stems, j))
        scores[:, j] = [score(row, image) for row, image in enumerate(images)]
        better = scores[:, j] > scores[:, :j].max(axis=1, initial=-np.inf)
        best = images.copy() if best is None else np.where(better[:, None, None, None], images, best)
    return best, scores


def selection_score(select, segmenter):
    """A function of (case, reference, image) -> score in percent: S of image and reference, or M of image and mask."""
    if select == "s":
        return lambda case, reference, image: 100 * style_similarity(image, reference)
    if not segmenter:
        raise UserError("--select m needs --segmenter FILE, the network to measure mask accuracy with")
    from evaluation.scorers import open_segmenter
    instrument = open_segmenter(segmenter)

    def accuracy(case, reference, image):
        return 100 * float((instrument.measure(image) == read_labels(case.mask, *image.shape[:2])).mean())
    return accuracy


def write_scores(folder, stems, scores):
    """Adds a line per image to candidates.csv: which candidate was kept, and all scores."""
    path = Path(folder) / TABLE
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if new:
            writer.writerow(["image", "kept", *(f"score_{j}" for j in range(scores.shape[1]))])
        for stem, row in zip(stems, scores):
            writer.writerow([stem, int(row.argmax()), *(f"{value:.4f}" for value in row)])
