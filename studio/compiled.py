"""Whether Jittor has compiled all that a painter needs here before: where it has, the page opens without waiting for it."""
import dataclasses
import hashlib
import json
from pathlib import Path

from runtime.backend import jt

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("models", "ldm", "studio/painter.py")                      # what operators are made by


def compiled_before(painter):
    """Whether remember() was called for the same networks, recipe and sources, with Jittor's present cache."""
    return stamp(painter).is_file()


def remember(painter):
    """Notes, in Jittor's cache, that all of a painter's operators are there."""
    path = stamp(painter)
    path.parent.mkdir(exist_ok=True)
    path.touch()


def stamp(painter):
    """The note's place. A cache that is emptied loses it too."""
    config = painter.config
    sizes = config.unet, config.autoencoder, config.data.height, config.data.width, painter.presets[painter.live].sampling
    what = [str(ROOT), *(dataclasses.asdict(part) if dataclasses.is_dataclass(part) else part for part in sizes)]
    found = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for name in SOURCES:
        place = ROOT / name
        for path in sorted(path for path in place.rglob("*") if path.suffix in (".py", ".cuh")) if place.is_dir() else [place]:
            found.update(path.read_bytes())
    return Path(jt.flags.cache_path) / "iidm-studio" / found.hexdigest()[:32]
