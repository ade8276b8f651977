"""What the page offers to begin with: a dozen masks, and the style pictures, every one known by an opaque id."""
import hashlib
import threading
from collections import OrderedDict

from data.images import read_image
from data.landscape import find_images, images_folder
from data.synthetic import scene
from runtime.errors import UserError

SEED = 7                              # of the synthetic scenes
TEMPLATES = ((7, "Lake with a pier", "湖边栈桥"), (13, "Mountain lake", "高山湖泊"), (22, "River valley", "河谷"),
             (27, "Bridge", "小桥"), (32, "House by the river", "河畔小屋"), (25, "Harbour", "海港"),
             (36, "Lighthouse", "灯塔"), (31, "Palm beach", "棕榈海滩"), (4, "Village", "村庄"),
             (33, "Forest path", "林间小路"), (20, "Waterfall", "瀑布"), (21, "Desert", "荒漠"))
STYLES = ((13, "golden"), (20, "autumn"), (22, "noon"), (7, "sunset"), (17, "aurora"), (3, "winter"), (31, "dawn"), (2, "dusk"),
          (16, "spring"), (12, "night"), (24, "fall-mist"), (9, "winter-sunset"), (36, "storm"), (32, "overcast"), (21, "dry"))
UPLOADED = 32                         # uploaded styles kept; the one used longest ago goes first
LISTED = 200                          # pictures of --styles shown


class Shelf:
    """Templates and styles of one image size. Pictures are drawn or read when first asked for, then kept."""

    def __init__(self, height, width, folder=None):
        self.size, self.lock = (height, width), threading.RLock()
        self.kept = {}                                                 # what was drawn or read: key -> array(s)
        self.uploaded = OrderedDict()                                  # id -> (name, image)
        if folder is None:
            self.sources = {opaque("scene", index, palette): (palette.replace("-", " "), (index, palette))
                            for index, palette in STYLES}
        else:
            found = find_images(images_folder(folder))
            if not found:
                raise UserError(f"--styles {folder}: found no pictures, expected .jpg or .png files")
            self.sources = {opaque("file", path): (stem, path) for stem, path in sorted(found.items())[:LISTED]}

    def templates(self):
        """[{id, name, chinese}]."""
        return [{"id": str(index), "name": name, "chinese": chinese} for index, name, chinese in TEMPLATES]

    def template(self, id_):
        """Class ids uint8 (H, W) of a template; None when there is none of that id."""
        known = {str(index): index for index, _, _ in TEMPLATES}
        return None if id_ not in known else self.once(("mask", id_), lambda: scene(SEED, known[id_], *self.size)[1])

    def styles(self):
        """[{id, name}]: uploaded ones first, the newest before the others."""
        with self.lock:
            uploaded = [{"id": id_, "name": name, "uploaded": True} for id_, (name, _) in reversed(self.uploaded.items())]
        return uploaded + [{"id": id_, "name": name} for id_, (name, _) in self.sources.items()]

    def style(self, id_):
        """The image of a style, uint8 (H, W, 3); None when there is none of that id. Raises UserError for a broken file."""
        with self.lock:
            if id_ in self.uploaded:
                self.uploaded.move_to_end(id_)
                return self.uploaded[id_][1]
        if id_ not in self.sources:
            return None
        name, source = self.sources[id_]
        if isinstance(source, tuple):
            return self.once(id_, lambda: scene(SEED, source[0], *self.size, source[1])[0])
        try:
            return self.once(id_, lambda: read_image(source, *self.size))
        except UserError:
            raise UserError(f"style {name}: the file cannot be read") from None      # its path stays here

    def add(self, name, image):
        """Puts an uploaded image (H, W, 3) on the shelf; its id follows from its pixels."""
        id_ = hashlib.sha256(image.tobytes()).hexdigest()[:16]
        with self.lock:
            self.uploaded[id_] = (name, image)
            self.uploaded.move_to_end(id_)
            while len(self.uploaded) > UPLOADED:
                self.uploaded.popitem(last=False)
        return id_

    def once(self, key, make):
        """What make() returned the first time; one at a time, so that a page full of pictures does not take every core."""
        with self.lock:
            if key not in self.kept:
                self.kept[key] = make()
            return self.kept[key]


def opaque(*parts):
    """An id that says nothing of what it stands for."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
