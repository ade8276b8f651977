"""What the masks of an evaluation are made of: as told, as the segmenter learnt them, or as the images were painted."""
from pathlib import Path

from configs.reading import read_yaml, section_from
from models.weights.checkpoint import read_header
from models.weights.loading import is_ours
from runtime.errors import UserError
from sampling.submission import MANIFEST, read_manifest


def masks_classes(given=None, segmenter=None, folders=()):
    """The ClassesConfig of the masks: that of `given`, a yaml of classes or a checkpoint of ours; else that of
    a segmenter trained here; else that of the first folder whose manifest.json has one; else the challenge's."""
    if given and not Path(given).is_file():
        raise UserError(f"--classes {given}: no such file, expected a yaml of classes or a checkpoint")
    if given and Path(given).suffix in (".yaml", ".yml"):
        return classes_config(read_yaml(given), given)
    if given and not is_ours(given):
        raise UserError(f"--classes {given}: holds no config, expected a yaml of classes or a checkpoint of train.py")
    for path in (given, segmenter):
        if path and Path(path).is_file() and is_ours(path):
            return classes_config((read_header(path).config.get("data") or {}).get("classes"), path)
    for folder in folders:
        if (Path(folder) / MANIFEST).is_file():
            own = read_manifest(Path(folder) / MANIFEST)["settings"].get("classes")
            if own:
                return classes_config(own, Path(folder) / MANIFEST)
    return classes_config(None, "")


def classes_config(tree, where):
    """The checked ClassesConfig of what a file says; None is the challenge's."""
    return section_from("data", {"classes": tree} if tree else {}, str(where)).classes
