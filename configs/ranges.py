"""The range of an option's value, stated beside its default: one mechanism for every section."""
from dataclasses import field

MANY, SEEDS, TIMESTEPS = 10 ** 9, 2 ** 32 - 1, 10 ** 5   # at most: steps, files; a seed; of a schedule


def ranged(default, low=None, high=None, length=None):
    """A field whose number, or whose list's every number, lies in low .. high; length: (least, most) entries of a list.
    default: the value, or a function that makes a list. configs.reading.check_config holds every config to it."""
    metadata = {"range": (low, high), "length": length}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)
