"""One's own classes as options: a yaml of them is what `data.classes` names."""
from dataclasses import dataclass

from configs.classes import CHALLENGE, IGNORED, MOST, ClassSet, distinct_colours
from configs.ranges import ranged
from runtime.errors import UserError


@dataclass
class ClassConfig:
    """A class of masks. Its id is its place in the list, from 0."""
    name: str = ""
    chinese: str = ""
    colour: str = ""                  # "#rrggbb", in pictures of masks and in colour masks; empty = one is chosen
    id: int = ranged(-1, -1, MOST - 1)  # may be said, and is then held against the place; -1 = not said


@dataclass
class ClassesConfig:
    """What masks are made of. As `data.classes` a yaml of these options may be named; the config then holds them all."""
    classes: list[ClassConfig] = ranged(list, length=(0, MOST))  # empty = the challenge's 29
    colour_masks: bool = False        # masks in the exact colours are read too; grey ones hold ids
    nearest_colour: bool = False      # and any other colour counts as the nearest one
    ignore_id: int = ranged(-1, -1, IGNORED)  # of pixels without a class, in grey masks; -1 = none
    ignore_colour: str = ""           # "#rrggbb" of pixels without a class, in colour masks; empty = none

    def check(self):
        colours = [colour_of(f"{entry.name!r}: colour", entry.colour) for entry in self.classes if entry.colour]
        ignored = colour_of("ignore_colour", self.ignore_colour) if self.ignore_colour else None
        names = [entry.name for entry in self.classes]
        for place, entry in enumerate(self.classes):
            if not entry.name or names.index(entry.name) != place:
                raise UserError(f"data.classes: class {place} has the name {entry.name!r}, expected one of its own")
            if entry.id not in (-1, place):
                raise UserError(f"data.classes: {entry.name!r} has id {entry.id} at place {place}, expected ids 0 to "
                                  f"{len(names) - 1} in order")
        if not self.classes and (self.colour_masks or self.nearest_colour or self.ignore_id >= 0 or ignored):
            raise UserError("data.classes: says how masks are read but has no classes, expected a list of them")
        if len(set(colours)) < len(colours) or ignored in colours:
            raise UserError("data.classes: two classes, or a class and ignore_colour, have one colour, expected another each")
        if self.colour_masks and len(colours) < len(names):
            raise UserError(f"data.classes: colour_masks with {len(names) - len(colours)} classes without a colour, expected "
                              "one for each")
        if (self.nearest_colour or ignored) and not self.colour_masks:
            raise UserError("data.classes: nearest_colour and ignore_colour are of colour masks, expected colour_masks: true")
        if 0 <= self.ignore_id < len(names):
            raise UserError(f"data.classes: ignore_id is {self.ignore_id}, the id of {names[self.ignore_id]!r}; expected "
                              f"{len(names)} to {IGNORED}")

    @property
    def class_set(self):
        """The ClassSet."""
        if not self.classes:
            return CHALLENGE
        colours = [colour_of("colour", entry.colour) if entry.colour else None for entry in self.classes]
        return ClassSet(tuple(entry.name for entry in self.classes), tuple(entry.chinese for entry in self.classes),
                        distinct_colours(colours), self.colour_masks, self.nearest_colour,
                        self.ignore_id >= 0 or bool(self.ignore_colour), self.ignore_id if self.ignore_id >= 0 else IGNORED,
                        colour_of("ignore_colour", self.ignore_colour) if self.ignore_colour else ())


def colour_of(name, text):
    """(r, g, b) of "#rrggbb". Raises UserError."""
    if not (len(text) == 7 and text[0] == "#" and all(c in "0123456789abcdefABCDEF" for c in text[1:])):
        raise UserError(f"data.classes: {name} is {text!r}, expected \"#rrggbb\"")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
