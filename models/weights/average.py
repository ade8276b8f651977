"""The model ensemble: weighted means of checkpoints, Eq. (7): theta* = (theta_a + theta_b) / 2."""
import numpy as np

from models.weights.checkpoint import Header, LazyTensor, write_checkpoint
from models.weights.foreign import check_whole
from models.weights.loading import is_ours, open_weights
from runtime.errors import RunError, UserError
from runtime.files import sha256


def average(paths, ratios, output, weights="ema"):
    """Writes the weighted mean of checkpoints, Eq. (7), accumulated in float64 tensor by tensor.

    Raises UserError where they differ in kind, architecture, tensor names or shapes, naming each. Header: the first one's
    config, the highest step, the parents; the metrics are not averaged, since nothing was measured.
    """
    files = [open_weights(path, weights=weights) for path in paths]
    headers = [file.header for file in files]
    problems = []
    for path, header in zip(paths[1:], headers[1:]):
        problems += [f"{path}: {what} is {theirs}, expected {ours} as in {paths[0]}"
                     for what, theirs, ours in differences(header, headers[0])]
    shapes = [{name: tuple(tensor.shape) for name, tensor in file.tensors.items()} for file in files]
    for path, found in zip(paths, shapes):
        if not found:
            problems.append(f"{path}: holds no {weights} weights")
        problems += [f"{path}: {name} is {found.get(name, 'missing')}, expected {shapes[0].get(name, 'no such tensor')}"
                     for name in sorted(set(found) | set(shapes[0])) if found.get(name) != shapes[0].get(name)]
    if problems:
        raise UserError(problems)
    for path, file in zip(paths, files):
        if not is_ours(path):
            check_whole(file, path)
    parents = [{"file": str(path), "sha256": sha256(path), "step": header.step, "share": float(ratio)}
               for path, header, ratio in zip(paths, headers, ratios)]
    result = Header(kind=headers[0].kind, config=headers[0].config, step=max(header.step for header in headers),
                    weights=weights, parents=parents, extra=next((header.extra for header in headers if header.extra), {}))

    def mean(name):
        total = 0
        for path, file, ratio in zip(paths, files, ratios):
            array = file.tensors[name].numpy().astype(np.float64)
            if not np.isfinite(array).all():
                raise UserError(f"{path}: {name} has values that are not finite")
            total = total + ratio * array
        with np.errstate(over="ignore"):
            found = total.astype(np.float32)
        if not np.isfinite(found).all():
            raise RunError(f"{output}: the average of {name} does not fit float32")
        return found

    tensors = {name: LazyTensor(shape, lambda name=name: mean(name)) for name, shape in shapes[0].items()}
    write_checkpoint(output, tensors, result)


def options(header, section):
    """The options of a section that a Header's config has; {} where it has none."""
    found = header.config.get(section)
    return found if isinstance(found, dict) else {}


def differences(header, other):
    """[(what, this one's, the other's)] of what must be equal in checkpoints that are averaged."""
    found = [("kind", header.kind, other.kind)]
    if header.extra and other.extra:                 # a foreign file does not say which latents it was trained on
        found.append(("extra", header.extra, other.extra))
    sections = {"unet": ("unet", "diffusion"), "gan": ("gan",)}.get(header.kind, ("autoencoder",))
    found += [(f"{section}.{name}", value, options(other, section)[name])
              for section in sections for name, value in options(header, section).items()
              if name != "path" and name in options(other, section)]
    return [item for item in found if item[1] != item[2]]
