"""Checks what processes of test.py --shard painted together, and makes one of it: images.sha256, and result.zip when asked.

    python -m sampling.merge RESULTS            every mask once, every image the one that was painted, no two the same
    python -m sampling.merge RESULTS --zip      and packs them, from the folder or from tars/

It reads a unit at a time.
"""
import argparse
import hashlib
import tarfile
import zipfile
from pathlib import Path

from runtime.documents import read_json
from runtime.errors import RunError, UserError, run_script
from runtime.files import replacing
from runtime.log import progress_bar
from sampling.hand_in import ARCHIVE
from sampling.plan import open_plan
from sampling.shards import TARS, unit_path
from sampling.submission import SUMS


def images_of(folder, plan, number):
    """Yields (file name, SHA-256, bytes) of a unit. Raises RunError at what is missing, too much or another image."""
    path, names = unit_path(folder, number), [f"{case.stem}.jpg" for case in plan.cases(number)]
    if not path.is_file():
        raise RunError(f"{path}: missing, expected the unit of {names[0]} to {names[-1]}; test.py --shard paints it")
    try:
        unit = read_json(path)
        tar, sums = unit["tar"], dict(unit["images"])
    except (UserError, KeyError, TypeError, ValueError):
        raise RunError(f"{path}: no manifest of a unit, expected one; remove it, and test.py --shard paints the unit") from None
    if sorted(sums) != sorted(names):
        odd = sorted(set(sums) ^ set(names))
        wrong = "none of its masks" if odd[0] in sums else "missing"
        raise RunError(f"{path}: {odd[0]} is {wrong}, expected {len(names)} images")
    again = f"remove {path}, and test.py --shard paints the unit"
    for name, data in (from_tar(Path(folder) / TARS / f"{number:06d}.tar", names, again) if tar
                       else from_folder(Path(folder), names, again)):
        if hashlib.sha256(data).hexdigest() != sums[name]:
            raise RunError(f"{Path(folder) / name}: is another image than the one that was painted; {again}")
        yield name, sums[name], data


def from_folder(folder, names, again):
    """Yields (name, bytes) of files. RunError for one that is missing."""
    for name in names:
        if not (folder / name).is_file():
            raise RunError(f"{folder / name}: missing; {again}")
        yield name, (folder / name).read_bytes()


def from_tar(path, names, again):
    """Yields (name, bytes) of the files in a tar, which have to be these. RunError."""
    try:
        with tarfile.open(path, "r:") as archive:
            if sorted(archive.getnames()) != sorted(names):
                raise RunError(f"{path}: found {len(archive.getnames())} files, expected the {len(names)} of its masks; "
                               f"{again}")
            for name in names:
                yield name, archive.extractfile(name).read()
    except (OSError, tarfile.TarError, AttributeError) as error:
        raise RunError(f"{path}: no whole tar file ({error}); {again}") from None


def merge(folder, archive=None):
    """Goes through all units; returns how many images there are. UserError with a line for every unit, or image, that is wrong.
    archive: an open ZipFile that takes the images."""
    plan = open_plan(folder)
    if plan is None:
        raise UserError(f"{folder}: holds no plan/, expected a folder of test.py --shard")
    problems, first, count = [], {}, 0
    with replacing(Path(folder) / SUMS) as temporary, open(temporary, "w", encoding="utf-8") as sums, \
            progress_bar(total=len(plan), label="checking", unit="unit") as progress:
        for number in range(len(plan)):
            try:
                for name, code, data in images_of(folder, plan, number):
                    other = first.setdefault(bytes.fromhex(code[:32]), (number, name))
                    if other != (number, name):
                        problems.append(f"{Path(folder) / name}: the same image as {other[1]}, expected one of its own")
                    sums.write(f"{code}  {name}\n")
                    count += 1
                    if archive:
                        archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
            except RunError as error:
                problems.append(str(error))
            progress.update(1)
        if problems:
            raise UserError(problems)                  # and images.sha256 stays as it was
    return count


def main(argv):
    """Merges what many processes painted. argv: the words after the command; UserError with what is missing."""
    parser = argparse.ArgumentParser(prog="python -m sampling.merge", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", metavar="RESULTS", help="the folder that test.py --shard painted into")
    parser.add_argument("--zip", action="store_true", help=f"also write {ARCHIVE}")
    args = parser.parse_args(argv)
    folder = Path(args.results)
    if args.zip:
        with replacing(folder / ARCHIVE) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            count = merge(folder, archive)
    else:
        count = merge(folder)
    print(f"{count} images, every mask once, no two the same; {folder / SUMS} has their sums"
          + (f", {folder / ARCHIVE} the images" if args.zip else ""))


if __name__ == "__main__":
    run_script(main)
