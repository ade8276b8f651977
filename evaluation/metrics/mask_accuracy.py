"""Mask accuracy M: how much of a mask a segmenter finds again in the image painted from it (paper, section 3.1).

The challenge's rule takes the share of pixels that agree, "other" counting as a class like any, and the mean over images.
"""
import numpy as np

from configs.classes import CLASSES


def agreement(found, truth):
    """The share, 0 to 1, of a mask's pixels (H, W) that a segmentation (H, W) agrees with; those of -1 do not count."""
    counted = np.asarray(truth) >= 0
    return float((np.asarray(found) == truth)[counted].mean())


class MaskAccuracy:
    """Counts, image by image. `images`: {name: share of pixels that agree}; `confusion` (K, K) int64: pixels by true class
    (row) and found class (column). names: of the K classes."""

    def __init__(self, names=CLASSES):
        self.images, self.names = {}, names
        self.confusion = np.zeros((len(names), len(names)), dtype=np.int64)

    def update(self, name, truth, found):
        """Adds an image: ids of its mask, -1 where a pixel does not count, and of the segmenter, both (H, W). Returns its
        accuracy, 0 to 1.

        Raises ValueError on two shapes, on other ids, a mask without a class and a name that was there before.
        """
        truth, found = np.asarray(truth), np.asarray(found)
        if truth.shape != found.shape or truth.ndim != 2 or truth.size == 0:
            raise ValueError(f"{name}: found a mask {truth.shape} and a segmentation {found.shape}, expected the same (H, W)")
        counted = truth >= 0
        if not counted.any():
            raise ValueError(f"{name}: found a mask without any class, expected some")
        for what, ids, least in (("mask", truth, -1), ("segmentation", found, 0)):
            if ids.dtype.kind not in "iu" or ids.min() < least or ids.max() >= len(self.names):
                raise ValueError(f"{name}: found a {what} of {ids.dtype} {ids.min()} to {ids.max()}, "
                                 f"expected ids 0 to {len(self.names) - 1}")
        if name in self.images:
            raise ValueError(f"{name}: found a second image of this name, expected one")
        pairs = truth[counted].astype(np.int64) * len(self.names) + found[counted]
        self.confusion += np.bincount(pairs.ravel(), minlength=self.confusion.size).reshape(self.confusion.shape)
        self.images[name] = agreement(found, truth)
        return self.images[name]

    def score(self):
        """M in percent: the mean over images. Raises ValueError when there is none."""
        if not self.images:
            raise ValueError("mask accuracy: found no images, expected at least 1")
        return 100 * float(np.mean(list(self.images.values())))

    def classes(self):
        """{class name: {share, accuracy, iou}}, each 0 to 1, of the classes in a mask or a segmentation.

        share: of all mask pixels; accuracy: pixels found again / pixels of the mask, None where no mask has the class;
        iou: pixels in both / pixels in either.
        """
        both, masks, found = np.diag(self.confusion), self.confusion.sum(1), self.confusion.sum(0)
        return {name: {"share": float(masks[k] / masks.sum()),
                       "accuracy": float(both[k] / masks[k]) if masks[k] else None,
                       "iou": float(both[k] / (masks[k] + found[k] - both[k]))}
                for k, name in enumerate(self.names) if masks[k] or found[k]}

    def mean_iou(self):
        """Mean, 0 to 1, of the iou of the classes in a mask or a segmentation; over all pixels, not image by image.

        Raises ValueError when there are no images.
        """
        if not self.images:
            raise ValueError("mean IoU: found no images, expected at least 1")
        return float(np.mean([row["iou"] for row in self.classes().values()]))
