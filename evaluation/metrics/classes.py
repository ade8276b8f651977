"""From the classes of public segmenters to the challenge's 29, or to one's own.

Class names are those of the data sets: ADE20K's 150 (Zhou et al. 2017, the first name of each line of objectInfo150), and
COCO-Stuff's 182 (Caesar et al. 2018). All 28 names of the challenge besides "other" are ADE20K names.
"""
import numpy as np

from configs.classes import CHALLENGE, CLASSES
from runtime.errors import UserError

OWN = "own"           # a source: the masks' own classes
UNLABELLED = 255      # in both data sets; like every class without a partner it becomes "other"


def _names(text):
    return tuple(name.strip() for name in text.replace("\n", " ").split(","))


ADE20K = _names("""
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door, table,
    mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat, fence,
    desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter, sand, sink,
    skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway,
    river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen island,
    computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight,
    booth, television, airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage,
    van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
    minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen,
    blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board,
    shower, radiator, glass, clock, flag""")

ADE20K_LENIENT = {
    "skyscraper": "building", "tower": "building", "palm": "tree", "flower": "plant", "sidewalk": "path",
    "dirt track": "path", "hovel": "house", "swimming pool": "water", "fountain": "water", "bannister": "railing",
    "runway": "road"}

COCO_STUFF = _names("""
    unlabeled, person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign,
    stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat, backpack, umbrella,
    shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove,
    skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich,
    orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, mirror, dining table, window, desk,
    toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, blender, book,
    clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush, banner, blanket, branch, bridge, building-other,
    bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain,
    desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog,
    food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss,
    mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river,
    road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw,
    structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel,
    wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood""")

COCO_STUFF_LENIENT = {
    "potted plant": "plant", "bush": "plant", "flower": "plant", "branch": "tree", "leaves": "tree", "roof": "building",
    "skyscraper": "building", "cage": "fence", "clouds": "sky", "fog": "sky", "dirt": "earth", "gravel": "earth",
    "ground-other": "earth", "mud": "earth", "moss": "grass", "straw": "grass", "snow": "mountain", "pavement": "path",
    "platform": "pier", "playingfield": "field", "stone": "rock", "waterdrops": "water"}

SOURCES = {   # names in the order of their ids, and what else counts as one of the 29
    "challenge": (CLASSES, {}),
    "ade20k": (ADE20K, ADE20K_LENIENT),                                        # 0 = wall, as SegFormer's 150 logits
    "ade20k+unlabelled": (("unlabelled", *ADE20K), ADE20K_LENIENT),            # 1 = wall, as the annotations and 151 logits
    "coco-stuff": (COCO_STUFF, COCO_STUFF_LENIENT)}                            # 1 = person, 0 = unlabelled, 183 logits


def class_map(source, lenient=False, classes=CHALLENGE):
    """The id in `classes`, a ClassSet, of every class of one of SOURCES, or of OWN -> uint8 (N,).

    Strict: the names are equal (COCO-Stuff: up to its "-other" and other endings); all else is "other", or UNLABELLED where
    there is no such class. Lenient: what people would call so too, listed above.
    """
    if source == OWN:
        return np.arange(len(classes), dtype=np.uint8)
    names, extra = SOURCES[source]
    other = classes.names.index("other") if "other" in classes.names else UNLABELLED

    def challenge_id(name):
        name = extra.get(name, name) if lenient else name
        plain = name.split("-")[0]                                              # no name of ADE20K's has a dash
        return classes.names.index(plain) if plain in classes.names else other

    return np.array([challenge_id(name) for name in names], dtype=np.uint8)


def source_of(classes, masks=CHALLENGE):
    """Which of SOURCES a segmenter of so many classes predicts; OWN where the masks' ClassSet has so many and is not the
    challenge's. Raises UserError for another number."""
    if masks.own and classes == len(masks):
        return OWN
    found = [source for source, (names, _) in SOURCES.items() if len(names) == classes]
    if not found:
        known = ", ".join(f"{len(names)} ({source})" for source, (names, _) in SOURCES.items())
        raise UserError(f"segmenter: found {classes} classes, expected one of {known}")
    return found[0]


def to_challenge(labels, source, lenient=False, classes=CHALLENGE):
    """Ids of one of SOURCES, any integer array -> uint8 ids of a ClassSet. 255 (unlabelled) becomes "other".

    Raises ValueError on an id that the source does not have.
    """
    table = class_map(source, lenient, classes)
    labels = np.asarray(labels)
    wrong = (labels != UNLABELLED) & ((labels < 0) | (labels >= len(table)))
    if wrong.any():
        raise ValueError(f"labels: found id {labels[wrong].flat[0]}, expected 0 to {len(table) - 1} of {source}")
    whole = np.full(256, classes.names.index("other") if "other" in classes.names else UNLABELLED, dtype=np.uint8)
    whole[:len(table)] = table
    return whole[labels]
