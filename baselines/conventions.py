"""The challenge's 29 classes as the ids that published GANs were trained on: ADE20K's and COCO-Stuff's."""
import numpy as np

from configs.classes import CHALLENGE
from data.landscape import CLASSES
from evaluation.metrics.classes import ADE20K, COCO_STUFF
from runtime.errors import UserError

# What COCO-Stuff has no name for, or a longer one.
AS_COCO = {"sky": "sky-other", "water": "water-other", "earth": "dirt", "land": "ground-other",
           "building": "building-other", "plant": "plant-other", "waterfall": "water-other", "lake": "water-other",
           "wall": "wall-other", "pier": "platform", "path": "pavement", "field": "grass", "ship": "boat"}


def convention(classes, where, masks=CHALLENGE):
    """(name, table (29,) of ids) of a generator with so many classes. UserError for a number that is
    nobody's. masks: the ClassSet of the masks; own ones are the generator's."""
    if masks.own:
        if classes != len(masks):
            raise UserError(f"{where}: has {classes} classes, expected {len(masks)}, those of its data.classes")
        return "its own", np.arange(classes, dtype=np.int32)
    if classes == len(CLASSES):
        return "the challenge", np.arange(len(CLASSES), dtype=np.int32)
    if classes == 151:            # 0 is unknown, 1 wall
        ids = [ADE20K.index(name) + 1 if name in ADE20K else 0 for name in CLASSES]
        return "ADE20K", np.array(ids, dtype=np.int32)
    if classes == 183:            # 0 is person, 182 unknown
        names = [AS_COCO.get(name, name) for name in CLASSES]
        ids = [COCO_STUFF.index(name) - 1 if name in COCO_STUFF else 182 for name in names]
        return "COCO-Stuff", np.array(ids, dtype=np.int32)
    raise UserError(f"{where}: has {classes} classes, expected 29 (the challenge), 151 (ADE20K) or 183 (COCO-Stuff)")
