"""The challenge's classes as the page shows them: the English name, the Chinese one, the colour, the most used first."""
from configs.classes import NAMES_AND_COLOURS

CHINESE = ("山", "天空", "水面", "海", "岩石", "树", "泥土", "丘陵", "河流", "沙", "陆地", "建筑", "草地", "植物", "人", "小船",
           "瀑布", "墙", "码头", "小径", "湖", "桥", "田野", "道路", "栏杆", "篱笆", "轮船", "房屋", "其他")

# By how much of a landscape photo each usually covers: what a painter reaches for first.
USED = ("sky", "mountain", "tree", "grass", "sea", "water", "lake", "river", "rock", "sand", "hill", "plant", "land", "earth",
        "field", "path", "road", "house", "building", "waterfall", "bridge", "boat", "pier", "ship", "fence", "person", "wall",
        "railing", "other")


def classes():
    """[{id, name, chinese, colour}] of all classes, in the order of the palette."""
    by_name = {name: {"id": i, "name": name, "chinese": chinese, "colour": list(colour)}
               for i, ((name, colour), chinese) in enumerate(zip(NAMES_AND_COLOURS, CHINESE))}
    return [by_name[name] for name in USED]


def legend():
    """{name: {id, colour "#rrggbb"}} in the order of ids: what a colour mask means."""
    return {name: {"id": i, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
            for i, (name, colour) in enumerate(NAMES_AND_COLOURS)}
