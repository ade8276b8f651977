"""Whether a resumed run sees the pictures it has seen: RUN/STAGE/data.json has a hash of every pair."""
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runtime.documents import read_json
from runtime.errors import UserError
from runtime.files import sha256, write_json

NAME, STATES = "data.json", "state*.safetensors"     # training/saved_state.py


def check_data(run, stage, pairs, changed=False):
    """Records the pairs of a stage that begins; of one that goes on from a state, UserError that names those that changed.

    changed: what the user said, --data_changed; then the pairs of now are recorded. A run of a version that recorded none goes
    on, and records them.
    """
    folder = Path(run) / stage
    now, record = fingerprints(pairs), folder / NAME
    if any(folder.glob(STATES)) and record.is_file() and not changed:
        before = read_json(record)
        if not isinstance(before, dict):
            raise UserError(f"{record}: found no object of hashes; --data_changed goes on with the data of now")
        lines = [f"{stem}: {what}" for stem, what in differences(before, now)]
        if lines:
            raise UserError([f"{folder}: was trained on other data; expected the same to resume, "
                             f"--data_changed goes on with the data of now ({len(lines)} pairs differ)", *lines])
    write_json(record, now)


def fingerprints(pairs):
    """{stem: hash of the image and of the labels} of training pairs."""
    def one(pair):
        return sha256(pair.image)[:16] + sha256(pair.labels)[:16]

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip([pair.stem for pair in pairs], pool.map(one, pairs)))


def differences(before, now):
    """(stem, what became of it) of every pair that is not as it was."""
    for stem in sorted(set(before) | set(now)):
        if stem not in now:
            yield stem, "the pair is gone"
        elif stem not in before:
            yield stem, "the pair is new"
        elif before[stem] != now[stem]:
            image, labels = (before[stem][part] != now[stem][part] for part in (slice(0, 16), slice(16, 32)))
            names = [name for name, other in (("the image", image), ("the labels", labels)) if other]
            yield stem, f"{' and '.join(names)} changed"
