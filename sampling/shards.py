"""Painting shared out over any number of processes and machines: units of work, leased one at a time.

RESULTS/manifest.json holds the settings, RESULTS/plan/ the list of masks, cut into units. A process takes a unit that is
neither done nor leased, paints it, and writes units/NUMBER.json: the hash of every mask with its reference, and of every image;
these lie in RESULTS or, when asked, in tars/NUMBER.tar. What a process knows and holds is one unit, however many there are;
killed it loses that one at most. `--shard i/n` says where process i begins to look, so that n of them rarely meet; a slow
one's units are taken by the others. sampling/merge.py checks the whole.
"""
import hashlib
import io
import os
import re
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from data.landscape import check_test
from runtime import pictures
from runtime.errors import RunError, UserError
from runtime.files import replacing, write_bytes, write_json
from sampling import plan as plans
from sampling.leases import EXPIRES, lease
from sampling.leases import FOLDER as LEASES
from sampling.submission import MANIFEST, input_hash, read_manifest, settings_differences

UNITS, TARS = "units", "tars"
UNIT = 64                             # masks a unit, unless told otherwise
POLL = 2.0                            # seconds between looks at units that others hold


def asked(text, environ=os.environ):
    """(i, n) of --shard i/n, or of a Slurm job array's variables; None where neither says any. UserError for others."""
    slurm = {name: environ.get(f"SLURM_ARRAY_TASK_{name}", "") for name in ("ID", "COUNT", "MIN", "STEP")}
    if text is None and slurm["ID"].isdigit() and slurm["COUNT"].isdigit() and int(slurm["COUNT"]) > 1:
        # The place in the array, whatever numbers it was given: --array=10-40:10 is 0 to 3.
        place = (int(slurm["ID"]) - int(slurm["MIN"] or 0)) // max(1, int(slurm["STEP"] or 1))
        return place % int(slurm["COUNT"]), int(slurm["COUNT"])
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"--shard {text}: expected I/N, I from 0 to N - 1, such as 0/4")
    return int(match[1]), int(match[2])


def opened_plan(output, input_path, img_path, unit=None):
    """The Plan of a results folder, made by the first process that comes while others wait. UserError where it is in units of
    another size than `unit`."""
    while True:
        found = plans.open_plan(output)
        if found and unit not in (None, found.unit):
            raise UserError(f"--unit is {unit}, expected {found.unit}, that of {found.folder}")
        if found:
            return found
        with lease(output, "plan") as mine:
            if mine and plans.open_plan(output) is None:
                plans.make_plan(output, input_path, img_path, unit or UNIT)
        if not mine:
            time.sleep(POLL / 4)


def not_foreign(output):
    """UserError where a results folder holds what no run of shards left there."""
    folder, ours = Path(output), {MANIFEST, plans.FOLDER, LEASES, UNITS, TARS}
    if (folder / plans.FOLDER).is_dir() or not folder.is_dir():
        return                                                     # one look: a folder of a million images is not listed
    others = sorted(path.name for path in folder.iterdir() if path.name not in ours and not path.name.startswith("."))
    others += [MANIFEST] if (folder / MANIFEST).is_file() else []
    if others:
        raise UserError(f"{folder}: holds {others[0]} and no {plans.FOLDER}/, expected an empty folder or one of --shard; "
                        "nothing there was touched")


def claim(output, settings):
    """Makes the folder one of these settings. UserError where it is one of others."""
    path = Path(output) / MANIFEST
    while not path.is_file():
        with lease(output, "manifest") as mine:
            if mine and not path.is_file():
                write_json(path, {"settings": settings, "inputs": {}, "images": UNITS})
        if not mine:
            time.sleep(POLL / 4)
    problems = settings_differences(output, read_manifest(path)["settings"], settings)
    if problems:
        raise UserError(problems)


@dataclass
class Unit:
    """What a Painter writes into while it paints one unit: `folder`, and write(stem, image)."""
    folder: Path
    number: int
    output: object                        # an OutputConfig
    tar: bool = False
    sums: dict = field(default_factory=dict)      # {file name: SHA-256}
    held: dict = field(default_factory=dict)      # {file name: bytes}, for a tar

    def write(self, stem, image):
        """Takes one image, uint8 (H, W, 3)."""
        name = f"{stem}.jpg"
        data = pictures.encoded(image, "JPEG", quality=self.output.jpeg_quality,
                                subsampling="4:4:4" if self.output.full_colour else "4:2:0")
        self.sums[name] = hashlib.sha256(data).hexdigest()
        if self.tar:
            self.held[name] = data
        else:
            write_bytes(self.folder / name, data)

    def finish(self, cases, inputs):
        """Writes the tar, then the unit's manifest: from now on it is done. inputs: {mask name: hash}."""
        if set(self.sums) != {f"{case.stem}.jpg" for case in cases}:
            raise RunError(f"unit {self.number}: {len(self.sums)} images painted, expected {len(cases)}")
        if self.tar:
            with replacing(self.folder / TARS / f"{self.number:06d}.tar") as temporary, tarfile.open(temporary, "w") as archive:
                for name in sorted(self.held):
                    info = tarfile.TarInfo(name)
                    info.size, info.mode = len(self.held[name]), 0o644       # no time: the same images make the same bytes
                    archive.addfile(info, io.BytesIO(self.held[name]))
        write_json(unit_path(self.folder, self.number), {"tar": self.tar, "inputs": inputs, "images": self.sums})


def unit_path(output, number):
    """Where a unit's manifest is."""
    return Path(output) / UNITS / f"{number:06d}.json"


def paint(plan, output, part, painter_of, config, tar=False, by_class=False, expires=EXPIRES):
    """Paints units until all are done, beginning at the place of part, (i, n); returns how many this process painted.

    painter_of(Unit) -> what has run(cases). A unit whose masks or references are wrong is left, and named at the end, a
    UserError.
    """
    i, n = part
    first, wrong, painted = i * len(plan) // n, {}, 0
    left = ((first + k) % len(plan) for k in range(len(plan)))
    while True:
        held = []
        for number in left:
            if unit_path(output, number).is_file() or number in wrong:
                continue
            with lease(output, f"{number:06d}", expires) as mine:
                if not mine:
                    held.append(number)
                elif not unit_path(output, number).is_file():          # done by another since
                    cases = plan.cases(number)
                    try:
                        check_test(cases, config.data, progress=False, reference_masks=by_class, size=config.image_size)
                    except UserError as error:
                        wrong[number] = error.problems
                        continue
                    unit = Unit(Path(output), number, config.output, tar)
                    painter_of(unit).run(cases)
                    unit.finish(cases, {case.name: input_hash(case, by_class) for case in cases})
                    painted += 1
        if not held:
            break
        left = held
        time.sleep(min(POLL, expires / 4))                            # until they are done, or nobody's
    if wrong:
        raise UserError([line for lines in wrong.values() for line in lines])
    return painted
