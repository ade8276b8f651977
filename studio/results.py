"""Pictures that were painted: kept in memory for the page, the newest ones, and written to the results folder."""
import json
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from runtime.files import replacing, write_bytes
from studio import recipe as recipes
from studio.uploads import png

KEPT = 96                             # results the page can show; files stay


@dataclass
class Result:
    """A picture with what it was made of. `jpeg` carries the recipe in its metadata."""
    id: str                           # also its files' stem
    jpeg: bytes
    mask_png: bytes
    recipe: dict
    kept: bool                        # whether it is in the folder: results of live mode are not, until asked for
    style: Optional[np.ndarray] = None   # uint8 (H, W, 3), until it is

    def entry(self):
        """What the page's history shows."""
        return {"id": self.id, "asked": self.recipe["asked"], "name": Path(self.recipe["mask"]).stem, "kept": self.kept}


class Results:
    """The results folder, DIR/<stem>.{jpg,png,json} and DIR/styles/<id>.png, and the newest results in memory."""

    def __init__(self, folder):
        self.folder, self.lock, self.found = Path(folder), threading.Lock(), OrderedDict()
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.folder.glob("*.json"))[-KEPT:]:
            result = self._read(path)
            if result:
                self.found[result.id] = result

    def add(self, jpeg, mask_png, recipe, style, keep=True):
        """Takes a result; writes it unless it is one of live mode's. style: uint8 (H, W, 3). -> Result"""
        with self.lock:
            jpeg = recipes.with_comment(jpeg, recipes.comment_of(recipe))
            result = Result(self._stem(), jpeg, mask_png, recipe, False, style)
            self.found[result.id] = result
            while len(self.found) > KEPT:
                self.found.popitem(last=False)
        return self.keep(result) if keep else result

    def keep(self, result):
        """Writes a result's files. The same again changes nothing."""
        if not result.kept:
            style = self.folder / recipes.STYLES / result.recipe["reference"]
            if not style.exists():
                write_bytes(style, png(result.style))
            write_bytes(self.folder / f"{result.id}.png", result.mask_png)
            write_bytes(self.folder / f"{result.id}.jpg", result.jpeg)
            with replacing(self.folder / f"{result.id}.json") as temporary:   # last: who finds it finds the others
                temporary.write_text(json.dumps(result.recipe, indent=1) + "\n", encoding="utf-8")
            result.kept, result.style = True, None
        return result

    def find(self, id_):
        """The Result of that id; None when there is none."""
        return self.found.get(id_)

    def style(self, id_):
        """The PNG of a style that a result was painted with, which the shelf may have forgotten; None when there is none."""
        with self.lock:
            known = any(result.kept and result.recipe["reference"] == f"{id_}.png" for result in self.found.values())
        file = self.folder / recipes.STYLES / f"{id_}.png"
        return file.read_bytes() if known and file.is_file() else None

    def entries(self):
        """The newest first, as the page's history shows them."""
        with self.lock:
            return [result.entry() for result in reversed(self.found.values())]

    def _stem(self):
        """A stem that no result has: the time, and a number where that is not enough."""
        base, n = time.strftime("%Y%m%d-%H%M%S"), 1
        while (stem := base if n == 1 else f"{base}-{n}") in self.found or (self.folder / f"{stem}.jpg").exists():
            n += 1
        return stem

    def _read(self, path):
        try:
            found = recipes.read(path)
            return Result(path.stem, path.with_suffix(".jpg").read_bytes(), path.with_suffix(".png").read_bytes(), found, True)
        except (ValueError, OSError):                                  # another file, or a half of a result
            return None
