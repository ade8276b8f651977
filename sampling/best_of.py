"""Best of N: several candidates a mask, of which the one with the best score is kept.

Candidate 0 is the image that is painted without it; the others differ in their noise alone. A style score is right: the
published selection of another entry compared every candidate with itself, and so always kept the first.
"""
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import numpy as np

from configs.classes import CHALLENGE
from data.landscape import read_labels
from evaluation.metrics.mask_accuracy import agreement
from evaluation.metrics.style import style_similarity
from runtime.errors import UserError
from runtime.files import sha256

SCORES = ("s", "m")               # style similarity, mask accuracy
TABLE = "candidates.csv"


@dataclass(frozen=True)
class Selection:
    """How many candidates are painted for a mask, and by which score one of them is kept."""
    candidates: int = 1
    by: str = "s"                     # one of SCORES
    segmenter: Optional[str] = None   # its file, for "m"
    score: Optional[Callable] = None  # (case, reference, image) -> percent; None for a single candidate

    def settings(self):
        """What a manifest says of it: {} for a single candidate."""
        if self.candidates == 1:
            return {}
        segmenter = self.segmenter and sha256(self.segmenter)
        return {"candidates": {"n": self.candidates, "select": self.by, "segmenter": segmenter}}


def selection(candidates=1, by="s", segmenter=None, classes=CHALLENGE):
    """The Selection that test.py's options ask for; classes: the ClassSet of the masks."""
    return Selection(candidates, by, segmenter, selection_score(by, segmenter, classes) if candidates > 1 else None)


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


def selection_score(select, segmenter, classes=CHALLENGE):
    """A function of (case, reference, image) -> score in percent: S of image and reference, or M of image and mask."""
    if select == "s":
        return lambda case, reference, image: 100 * style_similarity(image, reference)
    if not segmenter:
        raise UserError("--select m needs --segmenter FILE, the network to measure mask accuracy with")
    from evaluation.scorers import open_segmenter
    scorer = open_segmenter(segmenter, classes=classes)

    def accuracy(case, reference, image):
        return 100 * agreement(scorer.measure(image), read_labels(case.mask, *image.shape[:2], classes))
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
