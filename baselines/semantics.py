"""A batch of label maps as the conditional layers ask for it, at the size of each, made once per size."""
import numpy as np

from models.spade import one_hot
from runtime.backend import jt


class Semantics:
    """What is known of the pixels of a batch.

    labels (B, H, W) ids, -1 = no class; edges (B, H, W) 0 or 1, the borders between instances, or None;
    distance (B, 2, H, W) the vertical and horizontal offset to the centre of a pixel's region, or None. NumPy
    arrays.
    """

    def __init__(self, labels, classes, edges=None, distance=None):
        self.labels, self.classes = np.asarray(labels, dtype=np.int32), classes
        self._edges, self._distance, self._made = edges, distance, {}

    @property
    def size(self):
        """(H, W) of the maps as they were given."""
        return self.labels.shape[1:]

    @property
    def batch(self):
        """B."""
        return len(self.labels)

    def one_hot(self, size):
        """(B, L, h, w): the classes and, where there are instances, their borders as last channel; no class
        is a zero vector."""
        return self.once("one_hot", size, self.make_one_hot)

    def make_one_hot(self, size):
        """The same, made anew."""
        planes = one_hot(jt.array(nearest(self.labels, size)), self.classes, 1)
        return planes if self._edges is None else jt.concat([planes, self.edges(size)], dim=1)

    def ids(self, size):
        """(B, h, w) int32, where no class is class 0, the argmax of a zero vector."""
        return self.once("ids", size, lambda size: jt.array(np.maximum(nearest(self.labels, size), 0)))

    def edges(self, size):
        """(B, 1, h, w) float32."""
        return self.once("edges", size, lambda size: jt.array(nearest(self._edges, size)[:, None].astype(np.float32)))

    def distance(self, size):
        """(B, 2, h, w) float32."""
        return self.once("distance", size, lambda size: jt.array(nearest(self._distance, size).astype(np.float32)))

    def once(self, what, size, make):
        """What make(size) gave when it was first asked for."""
        key = what, tuple(size)
        if key not in self._made:
            self._made[key] = make(size)
        return self._made[key]

    def repeated(self, times):
        """The same batch, `times` times over, at full size."""
        again = lambda array: None if array is None else np.concatenate([array] * times)
        return Semantics(again(self.labels), self.classes, again(self._edges), again(self._distance))


def nearest(array, size):
    """(..., H, W) -> (..., h, w): at i the source's floor(i H / h), as PyTorch's nearest."""
    rows, columns = (np.arange(after) * before // after for before, after in zip(array.shape[-2:], size))
    return np.ascontiguousarray(array[..., rows[:, None], columns])


def instance_edges(instance):
    """Instance ids (B, H, W) -> 1 where a 4-neighbour has another id, on both sides of the border, else 0;
    uint8."""
    edges = np.zeros(instance.shape, dtype=np.uint8)
    across = instance[:, :, 1:] != instance[:, :, :-1]
    down = instance[:, 1:] != instance[:, :-1]
    edges[:, :, 1:] |= across
    edges[:, :, :-1] |= across
    edges[:, 1:] |= down
    edges[:, :-1] |= down
    return edges
