"""Where weights lie. Nothing here imports Jittor."""
from pathlib import Path

from runtime.errors import UserError

SUFFIXES = (".safetensors", ".pkl", ".pth", ".pt", ".bin", ".ckpt", ".npz")


def find_autoencoder(path):
    """The file that a config's autoencoder.path means: itself, or one of the same name that ends otherwise; None when there
    is none. Raises UserError when there are several."""
    path = Path(path)
    if path.is_file():
        return path
    found = [path.with_suffix(suffix) for suffix in SUFFIXES if path.with_suffix(suffix).is_file()]
    if len(found) > 1:
        raise UserError(f"{path}: no such file, but {' and '.join(map(str, found))}; autoencoder.path has to name one")
    return found[0] if found else None
