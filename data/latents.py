"""The cache of encoder latents and label maps, as given and mirrored, built once and then mapped from the disk.

A folder with z.npy float32 (R, C, h, w), labels.npy uint8 (R, h, w) and meta.json. Row order: image 0, its mirror
image, image 1, its mirror image, ... (without `flip` one row per image). meta.json holds a fingerprint of all that the
rows depend on, and is written last: a folder that has one is whole.

A new cache grows in a sibling folder `<cache>.building-<fingerprint>` and takes the old one's place when complete. It
appends rows and then, when they are on the disk, records their number: a stopped build goes on from that record.
"""
import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from configs.classes import IGNORED
from data.images import read_image, read_labels
from data.landscape import excluded_stems
from runtime.documents import read_json
from runtime.errors import RunError, UserError
from runtime.files import flush, sha256, write_json

VERSION = 1                           # of the layout and of how rows are made
FLUSH_SECONDS = 20                    # work lost at most when the machine stops
SPARE = 1.02                          # of the space needed, for the file system's own use
META, PROGRESS, LATENTS, LABELS = "meta.json", "progress.json", "z.npy", "labels.npy"
OURS = {META, PROGRESS, LATENTS, LABELS}


@dataclass
class Latents:
    """An open cache. z (R, C, h, w) float32 and labels (R, h, w) uint8, 255 without a class, are mapped from the
    disk, read only."""
    z: np.ndarray
    labels: np.ndarray
    stems: list                       # one per image
    fingerprint: str
    meta: dict

    def __len__(self):
        return len(self.z)

    def label_maps(self, rows):
        """Class ids of rows, int32 (B, h, w), -1 where there is no class."""
        labels = self.labels[rows].astype(np.int32)
        labels[labels == IGNORED] = -1
        return labels


def build_or_open(pairs, config_data, factor, encode, weights_hash, directory, batch_size=4, progress=True,
                  label_factor=None, wanted=None, made=None):
    """The Latents of pairs (data.landscape.Pair): opened where they are in `directory`, else built there first.

    config_data: configs.schema.DataConfig (size, flip, exclude); factor: image pixels per latent pixel, each way;
    label_factor: the same of the label maps, None for factor;
    encode(images uint8 (B, H, W, 3)) -> z float32 (B, C, H / factor, W / factor), B at most batch_size;
    weights_hash: of the autoencoder. One process builds; others wait until it has returned. wanted: what describe()
    says, if it was asked already; made(start, end): z and labels of images start .. end by stem where another process has made
    them, else None (data/latents_together.py).

    Raises UserError when the disk is too small, the folder holds something else or a file cannot be read, RunError when
    the latents are not finite or cannot be written. The old cache is then still there, and finished rows are kept.
    """
    if batch_size < 1:
        raise ValueError(f"build_or_open: batch_size is {batch_size}, expected at least 1")
    if not pairs:
        raise UserError(f"{directory}: found no pairs to encode, expected at least one")
    directory = Path(directory)
    if directory.is_symlink():
        directory = directory.resolve()                                # its siblings then lie on the disk it points to
    _recover(directory)
    wanted = wanted or describe(pairs, config_data, factor, weights_hash, progress, label_factor or factor)
    latents, reason = opened(directory, wanted)
    if latents is None:
        building = directory.with_name(f"{directory.name}.building-{wanted['fingerprint'][:12]}")
        if reason:
            print(f"{directory}: {reason}, building it again")
        if opened(building, wanted)[0] is None:
            _build(pairs, config_data, factor, label_factor or factor, encode, building, wanted, batch_size, progress, made)
        _replace(directory, building)
        latents, reason = opened(directory, wanted)
        if latents is None:
            raise RunError(f"{directory}: the latent cache just written is damaged ({reason})")
    _sweep(directory)
    return latents


def open_latents(directory):
    """The Latents in a folder, as they are, for a process that does not build. Raises UserError when there are none."""
    latents, reason = opened(Path(directory), None)
    if latents is None:
        raise UserError(f"{directory}: found no whole latent cache ({reason or 'nothing there'}), "
                        "expected one; train.py builds it")
    return latents


def describe(pairs, config_data, factor, weights_hash, progress=True, label_factor=None):
    """All that the rows depend on, and its SHA-256 as "fingerprint": the start of meta.json. Reads every file."""
    height, width = config_data.height, config_data.width
    if height % factor or width % factor:
        raise UserError(f"data: found images of {width}x{height}, "
                        f"expected multiples of {factor} (the autoencoder's factor)")
    pairs = sorted(pairs, key=lambda pair: pair.stem)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        hashes = list(tqdm(pool.map(_hash_pair, pairs), "hashing pairs", total=len(pairs), delay=2,
                           disable=not progress, leave=False))
    files = hashlib.sha256("".join(hashes).encode()).hexdigest()
    found = dict(version=VERSION, height=height, width=width, factor=factor, flip=config_data.flip,
                 exclude=sorted(excluded_stems(config_data.exclude)), weights=weights_hash, files=files)
    if config_data.class_set.own:                                      # what colours and ids mean is said by them
        found["classes"] = dataclasses.asdict(config_data.classes)
    if label_factor not in (None, factor):                             # else the fingerprint is that of older caches
        found["label_factor"] = label_factor
    found["fingerprint"] = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    found["stems"] = [pair.stem for pair in pairs]
    return found


def _hash_pair(pair):
    try:
        return json.dumps([pair.stem, sha256(pair.image), sha256(pair.labels)])
    except OSError as error:
        problem = f"{error.filename}: found no readable file ({error.strerror}), expected one of a training pair"
        raise UserError(problem) from None


# ------------------------------------------------------------------------------------------------ opening

def opened(directory, wanted):
    """The Latents in a folder if they are what describe() says is wanted: (Latents, None), or (None, why not). A folder that is
    not there or empty gives (None, None)."""
    if not directory.is_dir() or not any(directory.iterdir()):
        return None, None
    try:
        meta = read_json(directory / META)
        if wanted is not None and meta["fingerprint"] != wanted["fingerprint"]:
            names = {"files": "images or labels", "weights": "autoencoder weights"}
            other = [names.get(key, key) for key in wanted
                     if key not in ("fingerprint", "stems") and meta.get(key) != wanted[key]]
            return None, f"the latent cache was made with other {', '.join(other) or 'contents'}"
        arrays = []
        for name, kind in ((LATENTS, np.float32), (LABELS, np.uint8)):
            path = directory / name
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            shape = meta["shape"]
            expected = tuple(shape if name == LATENTS else [shape[0], *meta.get("labels", shape[2:])])
            if array.shape != expected or array.dtype != kind or path.stat().st_size != array.offset + array.nbytes:
                return None, f"the latent cache is damaged ({name}: found {array.dtype} {array.shape} in " \
                             f"{path.stat().st_size} bytes, expected {np.dtype(kind)} {expected})"
            arrays.append(array)
        if len(meta["stems"]) * (2 if meta["flip"] else 1) != len(arrays[0]):
            return None, (f"the latent cache is damaged ({META}: found {len(meta['stems'])} stems "
                          f"for {len(arrays[0])} rows)")
        return Latents(*arrays, meta["stems"], meta["fingerprint"], meta), None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        return None, f"the latent cache is damaged ({error})"


# ------------------------------------------------------------------------------------------------ building

def images_per_batch(config_data, batch_size=4):
    """Images that are encoded together, with their mirrored copies."""
    return max(1, batch_size // (2 if config_data.flip else 1))


def _build(pairs, config_data, factor, label_factor, encode, building, wanted, batch_size, progress, made):
    """Writes the rows that `building` does not hold yet, then its meta.json."""
    pairs = sorted(pairs, key=lambda pair: pair.stem)
    height, width, flip = config_data.height, config_data.width, config_data.flip
    h, w, copies = height // factor, width // factor, 2 if config_data.flip else 1
    label_size = height // label_factor, width // label_factor
    each = images_per_batch(config_data, batch_size)
    rows = len(pairs) * copies
    building.mkdir(parents=True, exist_ok=True)
    store = _Store.resume(building, wanted["fingerprint"], rows, (h, w), label_size)
    if store.done:
        print(f"{building}: going on after {store.done // copies} of {len(pairs)} images")

    def read(pair):
        image, labels = read_image(pair.image, height, width), read_labels(pair.labels, *label_size, config_data.class_set)
        labels = labels.astype(np.uint8)                               # -1 is IGNORED, 255
        return ([image, image[:, ::-1]], [labels, labels[:, ::-1]]) if flip else ([image], [labels])

    starts = range(store.done // copies, len(pairs), each)
    bar = tqdm(total=len(pairs), initial=store.done // copies, desc="encoding", unit=" images", disable=not progress)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, bar, store:
        ahead = [pool.submit(read, pair) for pair in pairs[starts[0]:starts[0] + each]] if starts else []
        for start in starts:
            rows_made = made and made(start, min(start + each, len(pairs)))
            if rows_made:
                store.append(*rows_made)
                bar.update(min(each, len(pairs) - start))
                ahead = []
                continue
            ahead = ahead or [pool.submit(read, pair) for pair in pairs[start:start + each]]
            loaded = [job.result() for job in ahead]
            # The next batch is read while this one is encoded.
            ahead = [pool.submit(read, pair) for pair in pairs[start + each:start + 2 * each]]
            images = np.stack([image for images, _ in loaded for image in images])           # (B, H, W, 3)
            labels = np.stack([ids for _, maps in loaded for ids in maps])                   # (B, h, w)
            z = np.concatenate([_encoded(encode, images[i:i + batch_size], h, w)
                                for i in range(0, len(images), batch_size)])                 # (B, C, h, w)
            store.append(z, labels)
            bar.update(len(loaded))
    write_json(building / META, dict(wanted, shape=[rows, *store.shape[1:]], rows=rows, labels=list(label_size)))
    (building / PROGRESS).unlink()


def _encoded(encode, images, h, w):
    """encode's answer, checked: float32 (B, C, h, w), finite."""
    z = np.asarray(encode(images))
    if z.ndim != 4 or z.dtype != np.float32 or (z.shape[0], *z.shape[2:]) != (len(images), h, w):
        raise ValueError(f"encode: found {z.dtype} {z.shape} for {len(images)} images, "
                         f"expected float32 ({len(images)}, C, {h}, {w})")
    if not np.isfinite(z).all():
        raise RunError("encoding: found latents that are not finite; the autoencoder's weights are broken")
    return z


class _Store:
    """Two growing .npy files and the number of rows in them that are certainly on the disk."""

    def __init__(self, folder, fingerprint, rows, label_size, shape=None, done=0):
        self.folder, self.fingerprint, self.rows, self.label_size = folder, fingerprint, rows, label_size
        self.shape, self.done, self.recorded, self.clock, self.files = shape, done, done, time.monotonic(), None

    @classmethod
    def resume(cls, folder, fingerprint, rows, size, label_size):
        """The store in a folder as its last record says; an empty one when the record and the files do not agree."""
        try:
            record = read_json(folder / PROGRESS)
            shape, done = tuple(record["shape"]), record["done"]
            store = cls(folder, fingerprint, rows, label_size, shape, done)
            sizes = [(folder / name).stat().st_size for name in (LATENTS, LABELS)]
            promised = [len(header) + done * each for header, each in zip(store.headers(), store.sizes())]
            if (record["fingerprint"] == fingerprint and len(shape) == 4 and (shape[0], *shape[2:]) == (rows, *size)
                    and sizes[0] >= promised[0] and sizes[1] >= promised[1]):
                return store
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            pass
        for name in OURS:
            (folder / name).unlink(missing_ok=True)
        return cls(folder, fingerprint, rows, label_size)

    def headers(self):
        """The first bytes of z.npy and labels.npy."""
        return [_header("<f4", self.shape), _header("|u1", (self.rows, *self.label_size))]

    def sizes(self):
        """Bytes of one row of z.npy and labels.npy."""
        return [4 * math.prod(self.shape[1:]), math.prod(self.label_size)]

    def append(self, z, labels):
        """Adds rows z (B, C, h, w) and labels (B, H, W)."""
        if self.shape is not None and z.shape[1] != self.shape[1]:
            raise ValueError(f"encode: found {z.shape[1]} channels, expected {self.shape[1]} as before")
        self.shape = self.shape or (self.rows, *z.shape[1:])
        try:
            if self.files is None:
                self._start()
            for file, rows in zip(self.files, (z.astype("<f4"), labels)):
                file.write(np.ascontiguousarray(rows).tobytes())
        except OSError as error:
            raise RunError(f"{self.folder}: writing the latent cache failed ({error.strerror})") from None
        self.done += len(z)
        if time.monotonic() - self.clock >= FLUSH_SECONDS:
            self.record()

    def _start(self):
        needed = (self.rows - self.done) * sum(self.sizes()) * SPARE
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(f"{self.folder}: found {free / 1e9:.2f} GB free on the disk, "
                            f"expected {needed / 1e9:.2f} GB for the latent cache; free some, "
                            "or set data.cache to a folder on another disk")
        self.files = []
        for name, header, size in zip((LATENTS, LABELS), self.headers(), self.sizes()):
            file = open(self.folder / name, "r+b" if self.done else "wb")
            self.files.append(file)
            if self.done:
                file.truncate(len(header) + self.done * size)          # what came after the record may be half a row
                file.seek(0, os.SEEK_END)
            else:
                file.write(header)

    def record(self):
        """Waits until the rows are on the disk, then says how many there are."""
        for file in self.files or ():
            file.flush()
            os.fsync(file.fileno())
        if self.done > self.recorded:
            record = dict(fingerprint=self.fingerprint, shape=list(self.shape), done=self.done)
            write_json(self.folder / PROGRESS, record)
        self.recorded, self.clock = self.done, time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # After an error too: whole rows were written, and need not be encoded again.
        try:
            self.record()
        except OSError as error:
            raise RunError(f"{self.folder}: writing the latent cache failed ({error.strerror})") from None
        finally:
            for file in self.files or ():
                with contextlib.suppress(OSError):                     # a full disk has been reported above
                    file.close()


def _header(kind, shape):
    """The header of a .npy file (format 1.0), its length a multiple of 64."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {tuple(int(n) for n in shape)}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin1")


# ------------------------------------------------------------------------------------------------ changing places

def _replace(directory, building):
    """Puts a complete folder in the cache's place. _recover repairs what a stop between the renames leaves."""
    old = _old(directory)
    _check_ours(directory)
    if directory.exists():
        remove(old)
        if old.exists():
            raise UserError(f"{old}: found files that belong to no latent cache, expected nothing here; move them away")
        os.replace(directory, old)
    os.replace(building, directory)
    flush(directory.parent)
    remove(old)


def _recover(directory):
    """After a stop between the renames the cache's place is empty: the old cache takes it again."""
    _check_ours(directory)
    if not directory.exists() and _old(directory).is_dir():
        os.replace(_old(directory), directory)


def _sweep(directory):
    """Removes what earlier runs left beside a cache that is whole."""
    for folder in [_old(directory), *directory.parent.glob(f"{directory.name}.building-*")]:
        remove(folder)


def _old(directory):
    return directory.with_name(f"{directory.name}.old")


def remove(folder):
    """Removes a folder of ours; one that holds anything else stays."""
    if folder.is_dir() and _only_ours(folder):
        shutil.rmtree(folder)


def _only_ours(folder):
    return all(path.name in OURS or path.name.startswith(".") for path in folder.iterdir())


def _check_ours(directory):
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: found a file, expected a folder for the latent cache; "
                        "set data.cache to another name")
    if directory.is_dir() and not _only_ours(directory):
        others = sorted(path.name for path in directory.iterdir() if path.name not in OURS)
        found = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise UserError(f"{directory}: found {found}, which belong to no latent cache, "
                        "expected an empty or new folder; set data.cache to another name")
