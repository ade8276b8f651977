"""The list of all masks and references, made once, of which any unit is read without the rest.

A folder of masks.jsonl, [mask, reference] a line by name; offsets.bin, where every unit begins in it; and plan.json. A worker
that opens a plan of a million masks reads a few hundred bytes.
"""
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from data.landscape import Case, find_test
from runtime.documents import read_json
from runtime.errors import UserError
from runtime.files import flush, write_bytes, write_json

FOLDER, LINES, OFFSETS, ABOUT = "plan", "masks.jsonl", "offsets.bin", "plan.json"
PLACE = struct.Struct("<q")           # of offsets.bin: a byte's place in masks.jsonl


@dataclass(frozen=True)
class Plan:
    """An open plan. count: masks; unit: masks that are painted together; masks, references: the folders of both."""
    folder: Path
    count: int
    unit: int
    masks: Path
    references: Path

    def __len__(self):
        """Units."""
        return -(-self.count // self.unit)

    def cases(self, k):
        """The data.landscape.Cases of unit k, by name."""
        with open(self.folder / OFFSETS, "rb") as stream:
            stream.seek(PLACE.size * k)
            (place,) = PLACE.unpack(stream.read(PLACE.size))
        with open(self.folder / LINES, "rb") as stream:
            stream.seek(place)
            lines = [json.loads(stream.readline()) for _ in range(min(self.unit, self.count - k * self.unit))]
        return [Case(name, Path(name).stem, self.masks / name, reference and self.references / reference)
                for name, reference in lines]


def make_plan(output, input_path, img_path, unit):
    """Writes RESULTS/plan: every mask of input_path with its reference, `unit` masks a unit. The one place that lists all."""
    folder = Path(output) / FOLDER
    cases = find_test(input_path, img_path)
    first, problems, lines, places, place = {}, [], [], [], 0
    for case in cases:
        if case.reference is None:
            problems.append(f"{case.mask}: found no entry for this mask in label_to_img.json, expected its reference image")
        if first.setdefault(case.stem, case.name) != case.name:
            problems.append(f"{case.mask}: found a second mask of this stem ({first[case.stem]}), expected one: both give "
                            f"{case.stem}.jpg")
    if problems:
        raise UserError(problems)
    for i, case in enumerate(cases):
        if i % unit == 0:
            places.append(PLACE.pack(place))
        lines.append(json.dumps([case.name, case.reference.name]).encode() + b"\n")
        place += len(lines[-1])
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / LINES, b"".join(lines))
    write_bytes(folder / OFFSETS, b"".join(places))
    write_json(folder / ABOUT, {"count": len(cases), "unit": unit, "masks": os.path.abspath(cases[0].mask.parent),
                                "references": os.path.abspath(cases[0].reference.parent)})            # last: it is whole now
    flush(folder)


def open_plan(output):
    """The Plan of a results folder; None where there is none. UserError for one that is damaged."""
    folder = Path(output) / FOLDER
    if not (folder / ABOUT).is_file():
        return None
    try:
        about = read_json(folder / ABOUT)
        plan = Plan(folder, int(about["count"]), int(about["unit"]), Path(about["masks"]), Path(about["references"]))
        if plan.count < 1 or plan.unit < 1 or (folder / OFFSETS).stat().st_size != PLACE.size * len(plan):
            raise ValueError(f"{plan.count} masks in units of {plan.unit}")
        return plan
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: found a damaged list of masks ({error}), expected that of test.py --shard; remove the "
                        "results folder to begin again") from None
