"""The classes of masks: the challenge's 29, whose id is the place in this list, or one's own.

The colours of the 29 are ours, for pictures of masks.
"""
import colorsys
from dataclasses import dataclass

NAMES_AND_COLOURS = (
    ("mountain", (126, 116, 132)), ("sky", (140, 200, 240)), ("water", (66, 140, 190)), ("sea", (24, 84, 150)),
    ("rock", (92, 88, 86)), ("tree", (30, 96, 44)), ("earth", (142, 94, 52)), ("hill", (112, 138, 66)),
    ("river", (70, 178, 206)), ("sand", (238, 214, 140)), ("land", (188, 152, 96)), ("building", (178, 74, 62)),
    ("grass", (122, 192, 72)), ("plant", (52, 150, 92)), ("person", (240, 52, 104)), ("boat", (252, 150, 24)),
    ("waterfall", (196, 236, 240)), ("wall", (158, 140, 160)), ("pier", (106, 60, 28)), ("path", (222, 182, 164)),
    ("lake", (24, 120, 128)), ("bridge", (196, 62, 166)), ("field", (208, 204, 62)), ("road", (58, 58, 68)),
    ("railing", (98, 78, 168)), ("fence", (176, 126, 222)), ("ship", (226, 92, 30)), ("house", (230, 124, 122)),
    ("other", (206, 206, 206)))

CLASSES = tuple(name for name, _ in NAMES_AND_COLOURS)
COLOURS = tuple(colour for _, colour in NAMES_AND_COLOURS)
CHINESE = ("山", "天空", "水面", "海", "岩石", "树", "泥土", "丘陵", "河流", "沙", "陆地", "建筑", "草地", "植物", "人", "小船",
           "瀑布", "墙", "码头", "小径", "湖", "桥", "田野", "道路", "栏杆", "篱笆", "轮船", "房屋", "其他")

MOST = 255                        # classes at most: masks have 8 bits, and one value is left
IGNORED = 255                     # in 8 bits what is -1, "no mask", elsewhere


@dataclass(frozen=True)
class ClassSet:
    """The classes that masks are made of, and how files say them. A class id is the place in names."""
    names: tuple = CLASSES
    chinese: tuple = CHINESE          # "" where there is none
    colours: tuple = COLOURS          # (r, g, b), no two alike
    colour_masks: bool = False        # whether a mask in colour is read, by these exact colours; grey ones hold ids
    nearest_colour: bool = False      # whether other colours are taken for the nearest of them
    ignores: bool = False             # whether masks may have pixels without a class, -1; 255 in grey files
    ignore_id: int = IGNORED          # the id that grey files call so too
    ignore_colour: tuple = ()         # and the colour; () = none

    def __len__(self):
        return len(self.names)

    @property
    def nothing(self):
        """The colour that stands for no class in a picture that has to have one."""
        return self.ignore_colour or distinct_colours((*self.colours, None))[-1]

    @property
    def own(self):
        """Whether these are other classes than the challenge's."""
        return self != CHALLENGE


CHALLENGE = ClassSet()


def hexed(colour):
    """(r, g, b) as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def distinct_colours(given):
    """A colour for every None among the given, (r, g, b) each, none twice: hues a golden section apart."""
    taken, found, k = {colour for colour in given if colour}, [], 0
    for colour in given:
        while colour is None:
            drawn = colorsys.hsv_to_rgb(k * 0.618034 % 1, (0.75, 0.45)[k // 8 % 2], (0.9, 0.65, 0.45)[k % 3])
            drawn, k = tuple(round(255 * part) for part in drawn), k + 1
            colour = None if drawn in taken else drawn
        taken.add(colour)
        found.append(colour)
    return tuple(found)
