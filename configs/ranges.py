"""What an option may be: the range beside its default, one of some words, and the error for what is neither."""
from dataclasses import field

from runtime.errors import UserError

MANY, SEEDS, TIMESTEPS = 10 ** 9, 2 ** 32 - 1, 10 ** 5   # at most: steps, files; a seed; of a schedule


class ConfigError(UserError):
    """An unknown key, a wrong type, or values that contradict each other."""


def ranged(default, low=None, high=None, length=None):
    """A field whose number, or whose list's every number, lies in low .. high; length: (least, most) entries of a list.
    default: the value, or a function that makes a list. configs.reading.check_config holds every config to it."""
    metadata = {"range": (low, high), "length": length}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def one_of(name, value, choices):
    """Raises ConfigError unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}, expected {', '.join(choices[:-1])} or {choices[-1]}"
                          if len(choices) > 1 else f"{name} is {value!r}, expected {choices[0]!r}")
