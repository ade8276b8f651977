"""The classes as the page shows them: the English name, the Chinese one, the colour, the most used first."""
from configs.classes import CHALLENGE, IGNORED, hexed

# By how much of a landscape photo each usually covers: what a painter reaches for first.
USED = ("sky", "mountain", "tree", "grass", "sea", "water", "lake", "river", "rock", "sand", "hill", "plant", "land", "earth",
        "field", "path", "road", "house", "building", "waterfall", "bridge", "boat", "pier", "ship", "fence", "person", "wall",
        "railing", "other")


def classes(used=CHALLENGE):
    """[{id, name, chinese, colour}] of the classes of a ClassSet, in the order of the palette: one's own in that of ids, after
    them the lack of one where masks may have it."""
    found = [{"id": i, "name": name, "chinese": chinese, "colour": list(colour)}
             for i, (name, chinese, colour) in enumerate(zip(used.names, used.chinese, used.colours))]
    if used.own:
        nothing = {"id": IGNORED, "name": "no class", "chinese": "无", "colour": list(used.nothing)}
        return found + ([nothing] if used.ignores else [])
    return sorted(found, key=lambda entry: USED.index(entry["name"]))


def legend(used=CHALLENGE):
    """{name: {id, colour "#rrggbb"}} in the order of ids: what a colour mask means."""
    return {name: {"id": i, "colour": hexed(colour)}
            for i, (name, colour) in enumerate(zip(used.names, used.colours))}
