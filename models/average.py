"""The model ensemble: weighted means of checkpoints, Eq. (7): theta* = (theta_a + theta_b) / 2."""
from dataclasses import dataclass
from typing import Callable

import numpy as np

from models.checkpoint import RAW, Header, open_checkpoint, read_header, tensor_shapes, write_checkpoint
from runtime.errors import UserError
from runtime.files import sha256


def average(paths, shares, output, weights="ema"):
    """Writes the weighted mean of checkpoints, Eq. (7), accumulated in float64 tensor by tensor.

    Raises UserError where they differ in kind, architecture, tensor names or shapes, naming each. Header: the first one's
    config, the highest step, the parents; the metrics are not averaged, since nothing was measured.
    """
    headers = [read_header(path) for path in paths]
    prefixes = ["" if weights == header.weights else RAW for header in headers]
    problems = []
    for path, header in zip(paths[1:], headers[1:]):
        problems += [f"{path}: {what} is {theirs}, expected {ours} as in {paths[0]}"
                     for what, theirs, ours in differences(header, headers[0])]
    shapes = [tensor_shapes(path, prefix) for path, prefix in zip(paths, prefixes)]
    for path, found in zip(paths, shapes):
        if not found:
            problems.append(f"{path}: holds no {weights} weights")
        problems += [f"{path}: {name} is {found.get(name, 'missing')}, expected {shapes[0].get(name, 'no such tensor')}"
                     for name in sorted(set(found) | set(shapes[0])) if found.get(name) != shapes[0].get(name)]
    if problems:
        raise UserError(problems)
    parents = [{"file": str(path), "sha256": sha256(path), "step": header.step, "share": float(share)}
               for path, header, share in zip(paths, headers, shares)]
    result = Header(kind=headers[0].kind, config=headers[0].config, step=max(header.step for header in headers),
                    weights=weights, parents=parents, extra=headers[0].extra)
    files = [open_checkpoint(path) for path in paths]

    def mean(name):
        return sum(share * file.get_tensor(prefix + name).astype(np.float64)
                   for file, prefix, share in zip(files, prefixes, shares)).astype(np.float32)

    write_checkpoint(output, {name: Lazy(shape, lambda name=name: mean(name)) for name, shape in shapes[0].items()}, result)


@dataclass
class Lazy:
    """A tensor that is computed when it is written."""
    shape: tuple
    make: Callable

    def numpy(self):
        """The array."""
        return self.make()


def differences(header, other):
    """[(what, this one's, the other's)] of what must be equal in checkpoints that are averaged."""
    found = [(name, getattr(header, name), getattr(other, name)) for name in ("kind", "extra")]
    sections = ("unet", "diffusion") if header.kind == "unet" else ("autoencoder",)
    found += [(f"{section}.{name}", value, other.config[section].get(name))
              for section in sections for name, value in header.config[section].items() if name != "path"]
    return [item for item in found if item[1] != item[2]]
