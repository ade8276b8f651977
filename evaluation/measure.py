"""The scores of folders of images, as in the paper's Table 1: images are read once, in order, and never held all at once."""
import platform
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import cv2
import numpy as np
import PIL

from configs.classes import CHALLENGE
from configs.own_classes import ClassesConfig
from configs.schema import DataConfig
from data.batches import prefetch
from data.images import open_image
from data.landscape import check_images, check_test, find_images, images_folder, read_image, read_labels
from evaluation.metrics.aesthetic import aesthetic_score, mean_and_spread
from evaluation.metrics.fid import Statistics, fid
from evaluation.metrics.kid import kid
from evaluation.metrics.mask_accuracy import MaskAccuracy
from evaluation.metrics.report import Row
from evaluation.metrics.style import style_similarity
from evaluation.metrics.total import Measured, total
from evaluation.sheets import file_name
from runtime.backend import DEVICE, jt
from runtime.errors import UserError
from runtime.log import progress_bar

WIDTH = 2048                                 # of Inception's features
THREADS = 2                                  # that read
BLOCK = 64                                   # features that are added at a time
# What test.py and evaluate.py themselves leave beside images.
OTHERS = ("contact_sheet.png", "side-by-side.png", "*-worst-*.png")


@dataclass
class Job:
    """What to measure, and with what. Where a scorer is missing, its score has no value but a reason."""
    cases: list                                          # data.landscape.Case
    size: tuple                                          # height, width of the images
    references: bool                                     # whether the cases' references are there
    scorers: dict = field(default_factory=dict)          # {"M", "M(NAME)", "A" or "FID": Scorer}
    histogram: str = "rgb8"
    kid: bool = False
    batch_size: int = 16
    classes: object = CHALLENGE                          # configs.classes.ClassSet of the masks
    real: Optional["Features"] = None                    # of the training images

    @property
    def segmenters(self):
        """{"M" or "M(NAME)": Scorer}."""
        return {column: scorer for column, scorer in self.scorers.items() if column.startswith("M")}

    @property
    def nima(self):
        return self.scorers.get("A")

    @property
    def inception(self):
        return self.scorers.get("FID")

    def real_side(self):
        """What a JSON says of the training images' statistics, or None."""
        return {"n": self.real.statistics.count, **self.real.statistics.made_with} if self.real else None


class Features:
    """Statistics of features that come in any batches, added BLOCK at a time so that they depend on the order alone."""

    def __init__(self, made_with=None, keep=False):
        self.statistics, self.kept, self._keep, self._waiting = Statistics(), [], keep, []
        self.statistics.made_with = made_with or {}

    def add(self, features):
        """Takes features (B, D)."""
        self.kept += [features] if self._keep else []
        self._waiting += list(features)
        while len(self._waiting) >= BLOCK:
            self.statistics.update(np.stack(self._waiting[:BLOCK]))
            del self._waiting[:BLOCK]

    def save(self, folder, name):
        """Writes the statistics as FOLDER/statistics-NAME.npz, which --fid_stats takes."""
        self.statistics.save(folder / file_name("statistics", name, suffix=".npz"))

    def close(self):
        """Adds what waits; returns itself."""
        if self._waiting:
            self.statistics.update(np.stack(self._waiting))
            self._waiting = []
        return self

    @classmethod
    def load(cls, path, made_with):
        """Those in a file of statistics. UserError when it was made otherwise than `made_with` says, or is no such file."""
        found = cls()
        found.statistics = Statistics.load(path)
        width = len(found.statistics.mean)
        if width != WIDTH:
            raise UserError(f"--fid_stats {path}: found statistics of {width} features, expected Inception's {WIDTH}")
        problems = [f"--fid_stats {path}: was made with {name} {found.statistics.made_with[name]}, expected {value} as for the "
                    "images" for name, value in made_with.items()
                    if found.statistics.made_with.get(name, value) != value]
        if problems:
            raise UserError(problems)
        return found


def find_rows(given):
    """[(name, folder)] of the --gen options, NAME=DIR or DIR. Raises UserError for folders that are none and equal names."""
    rows, problems = [], []
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals or "/" in name or Path(text).is_dir():
            name, folder = Path(text).resolve().name, text
        if not Path(folder).is_dir():
            problems.append(f"--gen {text}: found no folder {folder}, expected one with an image for every mask")
        files = [file_name("", other).lower() for other, _ in rows] + [file_name("", "training").lower()]
        if name and name not in [other for other, _ in rows] and (
                not name.isprintable() or len(name.encode(errors="replace")) > 100 or file_name("", name).lower() in files):
            problems.append(f"--gen {text}: found the name {name!r}, expected one of at most 100 bytes that gives files "
                            "another name than `training` and the other folders do; --gen NAME=DIR gives one")
        if not name or name in [other for other, _ in rows]:
            problems.append(f"--gen {text}: found the name {name!r} {'twice' if name else 'empty'}, expected another; "
                            "--gen NAME=DIR gives one")
        rows.append((name, folder))
    if problems:
        raise UserError(problems)
    return rows


def image_size(cases, given=""):
    """(height, width) that the images have to have: that of the masks, or the one given as WIDTHxHEIGHT."""
    if given:
        width, x, height = given.partition("x")
        digits = width + height
        if not (x and digits.isascii() and digits.isdigit() and len(digits) <= 10 and width and height
                and 8 <= int(width) <= 16384 and 8 <= int(height) <= 16384):
            raise UserError(f"--size is {given}, expected WIDTHxHEIGHT such as 512x384, each 8 to 16384")
        return int(height), int(width)
    sizes = set()
    for case in cases:
        try:
            with open_image(case.mask) as picture:
                sizes.add(picture.size)
        except UserError:
            continue                                     # check_all names it
    if len(sizes) > 1:
        known = " and ".join(f"{width}x{height}" for width, height in sorted(sizes)[:4])
        raise UserError(f"masks: found sizes {known}, expected one size; --size WIDTHxHEIGHT says which the images have")
    width, height = sizes.pop() if sizes else (512, 384)
    return height, width


def check_all(rows, cases, size, references, training=(), classes=None):
    """{row name: {stem: path}} of the images to measure, after every file was read once.

    Raises one UserError with all that is missing, too much, unreadable or of another size, in every folder.
    """
    problems, found = [], {}
    try:
        check_test(cases, DataConfig(height=size[0], width=size[1], classes=classes or ClassesConfig()), references=references)
    except UserError as error:
        problems += error.problems
    stems = [case.stem for case in cases]
    wanted = set(stems)
    for name, folder in rows:
        try:
            images = {stem: path for stem, path in find_images(folder).items()
                      if stem in wanted or not any(path.match(name) for name in OTHERS)}
        except UserError as error:
            problems += error.problems
            continue
        problems += [f"{Path(folder) / stem}.jpg: found no image of the mask {stem}.png, expected one"
                     for stem in stems if stem not in images]
        problems += [f"{path}: found an image of no mask, expected one image for each of the {len(stems)} masks"
                     for stem, path in images.items() if stem not in wanted]
        found[name] = {stem: images[stem] for stem in stems if stem in images}
        unreadable = check_images(list(found[name].values()))
        problems += unreadable
        for path in found[name].values():
            if not any(line.startswith(f"{path}:") for line in unreadable):
                with open_image(path) as picture:
                    if picture.size != (size[1], size[0]):
                        problems.append(f"{path}: found {picture.width}x{picture.height} pixels, "
                                        f"expected {size[1]}x{size[0]}")
    used = {case.reference for case in cases} if references else set()      # those are read by check_test
    problems += check_images([path for path in training if path not in used])
    if problems:
        raise UserError(problems)
    return found


def real_images(job, img_path):
    """The training images to measure for FID: none without its network, or with their statistics given."""
    if not job.inception or job.real or not img_path:
        return []
    return list(find_images(images_folder(img_path)).values())


def training_features(paths, job, made_with):
    """The Features of the training images."""
    found = Features(made_with, keep=job.kid)
    batches = [paths[i:i + job.batch_size] for i in range(0, len(paths), job.batch_size)]
    read = lambda batch: [read_image(path, *job.size) for path in batch]
    with progress_bar(total=len(paths), label="training images", unit="image") as progress:
        for images in prefetch(read, batches, THREADS):
            found.add(job.inception.measure(images))
            progress.update(len(images))
    return found.close()


def measure(name, folder, paths, job):
    """(Row, its Features or None, {stem: packed ids that the first segmenter found}) of one folder. paths: {stem: path}."""
    start = time.monotonic()
    images = {case.stem: {} for case in job.cases}
    masks = {column: MaskAccuracy(job.classes.names) for column in job.segmenters}
    features = None
    if job.inception:
        features = Features(job.real.statistics.made_with if job.real else {}, keep=job.kid)
    marks, found = [], {}

    def read(batch):
        rows = []
        for case in batch:
            image = read_image(paths[case.stem], *job.size)
            labels = read_labels(case.mask, *job.size, job.classes) if job.segmenters else None
            similarity = None
            if job.references:
                similarity = style_similarity(image, read_image(case.reference, *job.size), job.histogram)
            rows.append((case.stem, image, labels, similarity))
        return rows

    batches = [job.cases[i:i + job.batch_size] for i in range(0, len(job.cases), job.batch_size)]
    with progress_bar(total=len(job.cases), label=name, unit="image") as progress:
        for rows in prefetch(read, batches, THREADS):
            for stem, image, labels, similarity in rows:
                for column, segmenter in job.segmenters.items():
                    ids = segmenter.measure(image)
                    images[stem][column] = 100 * masks[column].update(stem, labels, ids)
                    found.setdefault(stem, zlib.compress(ids.tobytes()))
                if similarity is not None:
                    images[stem]["S"] = 100 * similarity
            pictures = [image for _, image, _, _ in rows]
            if job.nima:
                for (stem, *_), mark, spread in zip(rows, *mean_and_spread(job.nima.measure(pictures))):
                    images[stem]["A"] = 10 * float(mark)
                    marks.append((float(mark), float(spread)))
            if features:
                features.add(job.inception.measure(pictures))
            progress.update(len(rows))

    details = {column: {"mean_iou": counted.mean_iou(), "classes": counted.classes()} for column, counted in masks.items()}
    scores = {column: Measured(counted.score()) for column, counted in masks.items()}
    if "M" not in scores:
        scores["M"] = no_mask_accuracy(job)
    scores["A"] = (Measured(aesthetic_score([mark for mark, _ in marks])) if job.nima
                   else Measured(reason="no NIMA weights (--nima FILE)"))
    if job.nima:
        details["A"] = {"mark": float(np.mean([mark for mark, _ in marks])),
                        "spread": float(np.mean([spread for _, spread in marks]))}
    scores["FID"], details["FID"] = distance(features, job)
    scores["S"] = (Measured(float(np.mean([values["S"] for values in images.values()]))) if job.references
                   else Measured(reason="no references (--img_path TRAIN)"))
    details["S"] = {"histogram": job.histogram}
    scores["T"] = total(instead(scores), scores["A"], scores["FID"], scores["S"])
    return Row(name, str(folder), scores, images, details, time.monotonic() - start), features, found


def no_mask_accuracy(job):
    """Why there is no M."""
    by = [column for column in job.segmenters if column != "M"]
    return Measured(reason="no SegFormer weights (--segformer FILE)" + (f"; {by[0]} is of a stand-in" if by else ""))


def instead(scores):
    """M for T: the score itself, or its stand-in, which T will not take but name."""
    other = [column for column in scores if column.startswith("M(")]
    if scores["M"].value is None and other:
        return Measured(scores[other[0]].value, stand_in=other[0][2:-1])
    return scores["M"]


def distance(features, job):
    """FID as Measured, and its details."""
    if features is None:
        return Measured(reason="no Inception weights (--inception FILE)"), {}
    features.close()
    if job.real is None:
        return Measured(reason="no training images (--img_path TRAIN), nor their statistics (--fid_stats FILE)"), {}
    for what, found in (("images", features.statistics), ("training images", job.real.statistics)):
        if found.count is not None and found.count < 2:
            return Measured(reason=f"{found.count} of the {what} there, expected at least 2: one has no covariance"), {}
    details = {"n_real": job.real.statistics.count, **features.statistics.made_with}
    remark = features.statistics.remark()
    details.update({"remark": remark} if remark else {})
    if job.kid:
        mean, spread = kid(np.concatenate(features.kept), np.concatenate(job.real.kept))
        details["KID"] = {"mean": mean, "spread": spread}
    return Measured(fid(features.statistics, job.real.statistics)), details


def versions():
    """{name: version} of what computed the scores."""
    return {"python": platform.python_version(), "jittor": jt.__version__, "numpy": np.__version__,
            "pillow": PIL.__version__, "opencv": cv2.__version__, "device": DEVICE}
