"""The challenge's 29 classes: a class id is the place in this list. The colours are ours, for pictures of masks."""

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
