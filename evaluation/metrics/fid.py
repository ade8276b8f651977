"""Frechet Inception distance (Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule")."""
import json
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from runtime.documents import parse_json
from runtime.errors import UserError
from runtime.files import replacing

LARGEST = 1 << 30                             # bytes of an unpacked file; 2,048 features take 34 million


class Statistics:
    """Mean and covariance of feature vectors that come batch by batch: float64, the memory of a batch and two D x D arrays.

    A batch is combined with what came before by its own mean (Chan et al. 1983), so that nothing cancels. `count`: vectors
    so far, None when a file did not say. `made_with`: {name: value} that says how they came about, such as the resize mode.
    """

    def __init__(self):
        self.count, self.mean, self.made_with = 0, None, {}
        self._scatter = None                # sum of (f - mean)(f - mean)^T, (D, D); the covariance itself without a count

    def update(self, features):
        """Adds a batch (B, D). Raises ValueError on another shape or width, or values that are not finite."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2:
            raise ValueError(f"features: found an array of shape {features.shape}, expected (batch, width)")
        if not np.isfinite(features).all():
            raise ValueError("features: found values that are not finite, expected numbers")
        if len(features):
            mean = features.mean(0)
            self._add(len(features), mean, (features - mean).T @ (features - mean))

    def merge(self, other):
        """Adds all that another Statistics has seen, as if it had come here: for several processes, each with its part."""
        if other.count != 0:
            self._add(other.count, other.mean, other._scatter)

    def _add(self, count, mean, scatter):
        if count is None or self.count is None:
            raise ValueError("statistics: found a file without its number of images, expected n beside mu and sigma")
        if not self.count:
            self.count, self.mean, self._scatter = count, mean.copy(), scatter.copy()
            return
        if mean.shape != self.mean.shape:
            raise ValueError(f"features: found {len(mean)} values each, expected {len(self.mean)} as before")
        total, step = self.count + count, mean - self.mean
        self._scatter += scatter
        self._scatter += np.outer(step * (self.count * count / total), step)
        self.mean = self.mean + step * (count / total)
        self.count = total

    @property
    def covariance(self):
        """(D, D), divided by count - 1 as numpy.cov does. Raises ValueError for fewer than two vectors."""
        if self.count is None:
            return self._scatter
        if self.count < 2:
            raise ValueError(f"FID: found {self.count} images, expected at least 2: one has no covariance")
        return self._scatter / (self.count - 1)

    def remark(self):
        """A line to print when the covariance cannot have full rank, or None."""
        if self.count is None or self.count > len(self.mean):
            return None
        return (f"FID from {self.count} images is biased upwards: {len(self.mean)} features need more than "
                f"{len(self.mean)}; compare it only with FIDs of as many images")

    def save(self, path):
        """Writes an .npz that pytorch-fid reads too: mu (D,), sigma (D, D); besides n and made_with (JSON)."""
        values = {"mu": self.mean, "sigma": self.covariance, "made_with": json.dumps(self.made_with)}
        if self.count is not None:
            values["n"] = self.count
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **values)

    @classmethod
    def load(cls, path):
        """Reads an .npz with mu and sigma, ours, pytorch-fid's or clean-fid's. Raises UserError for what is none."""
        values = _arrays(path)
        statistics = cls()
        statistics.mean, sigma = _numbers(path, "mu", values["mu"], 1), _numbers(path, "sigma", values["sigma"], 2)
        if sigma.shape != 2 * statistics.mean.shape or not np.allclose(sigma, sigma.T, rtol=1e-5, atol=1e-8):
            raise UserError(f"{path}: found mu {statistics.mean.shape} and sigma {sigma.shape}, "
                            "expected (D,) and a symmetric (D, D)")
        try:
            statistics.made_with = dict(parse_json(str(values.get("made_with", "{}"))))
            statistics.count = int(values["n"]) if "n" in values else None
        except (ValueError, TypeError, OverflowError):
            raise UserError(f"{path}: found an unreadable n or made_with, expected a number and a JSON object") from None
        if statistics.count is not None and not 2 <= statistics.count <= 10 ** 12:
            raise UserError(f"{path}: found statistics of {statistics.count} images, expected at least 2")
        values = np.linalg.eigvalsh(sigma)           # in rising order
        if values[0] < -1e-6 * max(values[-1], 1e-12):
            raise UserError(f"{path}: found a sigma with the negative eigenvalue {values[0]:.3g}, expected a covariance")
        statistics._scatter = sigma if statistics.count is None else sigma * (statistics.count - 1)
        return statistics


def frechet_distance(mu1, sigma1, mu2, sigma2):
    """|mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)), at least 0. mu (D,), sigma (D, D).

    The trace of the root is the sum of the roots of the product's eigenvalues. Exactly, they are real and not negative;
    rounding gives those near 0 an imaginary root, of which the real part counts (0 for a negative eigenvalue), as in
    torch-fidelity. Singular covariances thus need no addition to their diagonal. Raises ValueError on shapes that do not
    belong together or matrices that are no covariances.
    """
    mu1, sigma1, mu2, sigma2 = (np.asarray(array, dtype=np.float64) for array in (mu1, sigma1, mu2, sigma2))
    if mu1.ndim != 1 or mu1.shape != mu2.shape or {sigma1.shape, sigma2.shape} != {2 * mu1.shape}:
        raise ValueError(f"FID: found mu {mu1.shape}, {mu2.shape} and sigma {sigma1.shape}, {sigma2.shape}, "
                         "expected two of (D,) and two of (D, D)")
    roots = np.sqrt(np.linalg.eigvals(sigma1 @ sigma2).astype(np.complex128))
    if np.abs(roots.imag).max() > 1e-3 * np.abs(roots).max():
        raise ValueError("FID: found a product of covariances with negative eigenvalues, expected two covariances")
    step = mu1 - mu2
    return max(0.0, float(step @ step + np.trace(sigma1) + np.trace(sigma2) - 2 * roots.real.sum()))


def fid(images, real):
    """FID of two Statistics. Raises ValueError for fewer than two images in either, or for different widths."""
    return frechet_distance(images.mean, images.covariance, real.mean, real.covariance)


def claimed(archive, name):
    """How many bytes an array's header says that it has."""
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    return math.prod(shape) * dtype.itemsize


def _arrays(path):
    """The arrays of an .npz file that Statistics.load knows; nothing in it is executed."""
    if Path(path).exists() and not Path(path).is_file():
        raise UserError(f"{path}: found no whole .npz file (no ordinary file), expected one with mu and sigma")
    try:
        with zipfile.ZipFile(path) as archive:       # before memory is taken for what a few bytes may claim
            size = sum(entry.file_size for entry in archive.infolist())
            if size > LARGEST:
                raise UserError(f"{path}: holds {size:,} bytes when unpacked, expected at most {LARGEST:,}")
            for name in ("mu.npy", "sigma.npy", "n.npy", "made_with.npy"):
                if name in archive.namelist() and claimed(archive, name) > LARGEST:
                    raise UserError(f"{path}: {name[:-4]} has a header of {claimed(archive, name):,} bytes, expected at most "
                                    f"{LARGEST:,}")
        with np.load(path, allow_pickle=False) as file:
            values = {key: file[key] for key in ("mu", "sigma", "n", "made_with") if key in file}
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, expected the statistics of images (.npz)") from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, KeyError, RuntimeError, NotImplementedError,
            MemoryError, SyntaxError, RecursionError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: found no whole .npz file ({type(error).__name__}), "
                        "expected one with mu and sigma") from None
    missing = [key for key in ("mu", "sigma") if key not in values]
    if missing:
        raise UserError(f"{path}: found no {' and no '.join(missing)}, expected statistics with mu and sigma")
    return values


def _numbers(path, name, array, ndim):
    if array.dtype.kind not in "fiu" or array.ndim != ndim or array.size == 0 or not np.isfinite(array).all():
        raise UserError(f"{path}: found {name} {array.dtype} {array.shape}, expected finite numbers of {ndim} dimensions")
    return array.astype(np.float64)
