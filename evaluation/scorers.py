"""The networks that evaluate.py measures with, each recognised by what is in its file, whatever that is called."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np

from configs.classes import CHALLENGE
from configs.reading import section_from
from evaluation.metrics.classes import class_map, source_of, to_challenge
from evaluation.metrics.resize import inception_input
from evaluation.networks.deeplab import build_deeplab
from evaluation.networks.inception import build_inception
from evaluation.networks.nima import build_nima
from evaluation.networks.segformer import build_segformer
from evaluation.networks.segmenter import load_segmenter
from models.weights.checkpoint import read_header, tensor_shapes
from models.weights.formats import open_weight_file
from models.weights.hdf5 import read_hdf5
from models.weights.loading import is_ours
from runtime.backend import jt
from runtime.errors import UserError
from runtime.files import sha256

DEEPLAB = "block0.depthwise.weight"      # a tensor that only the stand-in has
OWN, SMALL = "own-segformer", "deeplab-mnv2"


@dataclass
class Scorer:
    """A network with its weights. `name`: the stand-in's, "" for a network that the score may be measured with itself."""
    option: str                      # that named its file
    path: str
    what: str                        # for people
    measure: Callable                # for M: uint8 image (H, W, 3) -> uint8 ids; for A, FID: images -> float32 (B, ...)
    name: str = ""
    classes: dict = field(default_factory=dict)     # of a segmenter: whose they are, and which rule makes 29 of them

    def describe(self):
        """What a result has to carry: {name: value} for JSON."""
        about = {"network": self.what, "file": str(self.path), "sha256": sha256(self.path)}
        return {**about, "class_map": self.classes} if self.classes else about

    def line(self, column, about):
        """The same for people, of a column. about: what describe() said."""
        rule = f"; classes of {self.classes['source']}, {self.classes['rule']}" if self.classes else ""
        return f"{column}: {self.what} ({self.option} {about['file']}, sha256 {about['sha256'][:12]}){rule}"


def open_scorers(segformer=None, segmenter=None, nima=None, inception=None, lenient=False, nima_resize="nearest",
                 fid_resize="pytorch", classes=CHALLENGE):
    """{column: Scorer} of the files given: "M" or "M(NAME)" of a stand-in, "A", "FID". classes: the masks' ClassSet."""
    found = {}
    if segformer:
        found["M"] = open_segformer(segformer, lenient, classes)
    if segmenter:
        stand_in = open_segmenter(segmenter, lenient, classes)
        found[f"M({stand_in.name})"] = stand_in
    if nima:
        found["A"] = open_nima(nima, nima_resize)
    if inception:
        found["FID"] = open_inception(inception, fid_resize)
    return found


def introduce(scorers):
    """Prints a line for each; returns {column: describe()}."""
    about = {column: scorer.describe() for column, scorer in scorers.items()}
    for column, scorer in scorers.items():
        print(scorer.line(column, about[column]))
    return about


def existing(option, path):
    """The Path; UserError when there is no such file."""
    if not Path(path).is_file():
        raise UserError(f"{option} {path}: no such file, expected weights")
    return Path(path)


def open_segformer(path, lenient=False, classes=CHALLENGE):
    """The Scorer of M: a SegFormer in a published form, of ADE20K's 150 classes or of the masks'."""
    path = existing("--segformer", path)
    if is_ours(path):
        raise UserError(f"--segformer {path}: holds the weights of {read_header(path).kind} trained here, expected a SegFormer "
                        "as published; --segmenter takes a segmenter that was trained here")
    tensors = open_weight_file(path).tensors
    if DEEPLAB in tensors:
        raise UserError(f"--segformer {path}: holds a DeepLab, expected a SegFormer; --segmenter takes it, as a stand-in")
    model = build_segformer(tensors, str(path))
    return segmenting("--segformer", path, f"SegFormer {model.size.name}", "", model.classes, lenient, classes,
                      lambda image: model.predict([image])[0])


def open_segmenter(path, lenient=False, classes=CHALLENGE):
    """The Scorer of a stand-in for M: a segmenter trained here, or the small DeepLab."""
    path = existing("--segmenter", path)
    if is_ours(path):
        header = read_header(path, "segmenter")
        config = section_from("segmenter", header.config.get("segmenter"), str(path))
        data = section_from("data", header.config.get("data"), str(path))
        theirs = data.class_set
        if theirs.names != classes.names:
            raise UserError(f"--segmenter {path}: finds {named(theirs)}, expected the masks' {named(classes)}")
        shapes = tensor_shapes(path)
        if sum(config.depths) > len(shapes) or not all(any(n in shape for shape in shapes.values()) for n in config.widths):
            raise UserError(f"{path}: its metadata has a segmenter of widths {config.widths} and depths {config.depths}, its "
                            "tensors show another")
        model, size = load_segmenter(path, config), (data.height, data.width)
        accuracy = header.metrics.get("val_accuracy")
        held = "" if accuracy is None else f", pixel accuracy {100 * accuracy:.2f} % on held-out training images"
        return segmenting("--segmenter", path, f"SegFormer of {config.widths} trained here, step {header.step}{held}", OWN,
                          config.classes, lenient, classes, lambda image: model.predict([image], size)[0])
    tensors = open_weight_file(path).tensors
    if DEEPLAB not in tensors:
        if any("patch_embed" in name for name in tensors):
            raise UserError(f"--segmenter {path}: holds a SegFormer as published, expected one that was trained here or the "
                            "DeepLab; --segformer takes it")
        raise UserError(f"--segmenter {path}: holds {len(tensors)} tensors of an unknown network, expected a checkpoint of "
                        "train.py --stage segmenter, or DeepLabV3+ on MobileNetV2 as an npz")
    model = build_deeplab(tensors, str(path))
    return segmenting("--segmenter", path, "DeepLabV3+ on MobileNetV2", SMALL, model.classes, lenient, classes,
                      lambda image: model.predict([image])[0])


def named(classes):
    """A ClassSet in a few words."""
    return (f"{len(classes)} classes ({', '.join(classes.names[:3])}{', ...' if len(classes) > 3 else ''})" if classes.own
            else "the challenge's classes")


def segmenting(option, path, what, name, count, lenient, classes, predict):
    """The Scorer of a segmenter: whatever `count` classes predict(image) names become ids of `classes`, a ClassSet."""
    try:
        source = source_of(count, classes)
    except UserError as error:
        raise UserError(f"{option} {path}: {error.problems[0]}") from None
    rule = "lenient" if lenient else "strict"
    if classes.own and source != "own" and "other" not in classes.names:
        raise UserError(f"{option} {path}: finds {count} classes of {source}, expected a segmenter of {named(classes)}: none "
                        "is called other, which the rest would become; train.py --stage segmenter makes one")
    if source == ("own" if classes.own else "challenge"):
        rule = "same classes"
    table = class_map(source, lenient, classes)
    used = int(sum(id_ < len(classes) and classes.names[id_] != "other" for id_ in table))
    measure = lambda image: to_challenge(predict(image), source, lenient, classes)
    return Scorer(option, path, f"{what}, {count} classes", measure, name,
                  {"source": source, "rule": rule, "classes": count, "mapped": used})


def open_inception(path, mode):
    """The Scorer of FID: uint8 images -> features (B, 2048)."""
    path = existing("--inception", path)
    model = build_inception(open_weight_file(path).tensors, str(path))
    return Scorer("--inception", path, "Inception v3 of pytorch-fid", features_of(model, mode))


def features_of(model, mode):
    """A function from a list of uint8 images to an Inception's features (B, 2048) float32."""
    return lambda images: model(jt.array(np.stack([inception_input(image, mode) for image in images]))).numpy()


def open_nima(path, mode):
    """The Scorer of A: uint8 images -> shares of the marks 1 to 10 (B, 10)."""
    path = existing("--nima", path)
    with open(path, "rb") as stream:
        hdf5 = stream.read(4) == b"\x89HDF"
    model = build_nima(read_hdf5(path) if hdf5 else open_weight_file(path).tensors, str(path))
    return Scorer("--nima", path, "NIMA on MobileNet", lambda images: model.predict(images, mode))
