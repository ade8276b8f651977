"""The hand-in of a results folder: checked, packed, with the pictures chosen for the experts and the note on weights.

    python -m sampling.submission RESULTS --input_path TEST --select_list select.txt --weights checkpoints/iidm.safetensors ...

What is asked: one JPEG of 512x384 RGB a mask, named as the mask; a result.zip of exactly these, flat; in the second round
selects/ with a few pictures of one's own choice, and a note that names every pretrained model.
"""
import argparse
import hashlib
import os
import re
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from data.images import image_size
from data.landscape import find_test
from runtime.errors import RunError, UserError
from runtime.files import replacing
from sampling.weights_note import NOTE, write_note

ARCHIVE, SELECTS = "result.zip", "selects"
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
BESIDE = ("contact_sheet.png",)                       # pictures that belong into a results folder and are no results


def check_results(folder, stems, size, whole=True):
    """A line for everything that is wrong with the images of a folder. stems: of the masks; size: (width, height).

    whole: the folder has to hold no other images; else only those of the stems are looked at.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [f"{folder}: found no such folder, expected the results of test.py"]
    wanted = {f"{stem}.jpg" for stem in stems}
    there = {path.name for path in folder.iterdir() if path.suffix.lower() in IMAGES and not path.name.startswith(".")}
    there -= {name for name in BESIDE if name not in wanted}
    problems = []
    if whole and len(there) != len(wanted):
        problems.append(f"{folder}: found {len(there)} images, expected {len(wanted)}, one a mask")
    other = {Path(name).stem: name for name in sorted(there - wanted)}
    problems += [f"{folder / name}: missing" + (f", found {other[Path(name).stem]}" if Path(name).stem in other else "")
                 for name in sorted(wanted - there)]
    if whole:
        problems += [f"{folder / name}: is no mask's image, expected only <mask stem>.jpg" for stem, name in other.items()
                     if f"{stem}.jpg" not in wanted]
        problems += [f"{folder / name}: a second image of this mask, expected {stem}.jpg alone" for stem, name in other.items()
                     if f"{stem}.jpg" in wanted & there]
    paths = [folder / name for name in sorted(wanted & there)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        looked = list(pool.map(lambda path: look(path, size), paths))
    first = {}
    for path, (problem, content) in zip(paths, looked):
        if problem:
            problems.append(problem)
        elif first.setdefault(content, path) is not path:
            problems.append(f"{path}: the same picture as {first[content].name}, expected one of its own")
    return problems


def look(path, size):
    """(what is wrong with an image file or None, a hash of its pixels)."""
    try:
        with Image.open(path) as image:
            image.load()
            if image.size != size or image.mode != "RGB" or image.format != "JPEG":
                return (f"{path}: found {image.format} {image.mode} {image.width}x{image.height}, "
                        f"expected JPEG RGB {size[0]}x{size[1]}"), None
            if all(low == high for low, high in image.getextrema()):
                return f"{path}: one colour all over, expected a picture", None
            return None, hashlib.sha256(image.tobytes()).digest()
    except Exception as error:                        # a decoder may raise anything on broken bytes
        return f"{path}: does not decode ({str(error).split(chr(10))[0].split(str(path))[0].strip() or 'broken'})", None


def check_archive(archive, folder, stems):
    """A line for everything that is wrong with a result.zip: it has to hold the folder's images, flat, and no more."""
    wanted = sorted(f"{stem}.jpg" for stem in stems)
    try:
        with zipfile.ZipFile(archive) as stream:
            names = stream.namelist()
            broken = stream.testzip()
            if broken is not None:
                return [f"{archive}: {broken} is damaged, expected a whole archive; pack it again"]
            problems = [f"{archive}: found {name}, expected files without folders" for name in names if "/" in name]
            problems += [f"{archive}: found {name} twice, expected it once" for name in sorted(set(names))
                         if names.count(name) > 1]
            problems += [f"{archive}: lacks {name}" for name in wanted if name not in names]
            problems += [f"{archive}: found {name}, expected only <mask stem>.jpg" for name in sorted(set(names))
                         if name not in wanted and "/" not in name]
            return problems or [f"{archive}: {name} is not the image in {folder}; pack it again" for name in wanted
                                if stream.read(name) != (Path(folder) / name).read_bytes()]
    except FileNotFoundError as error:
        return [f"{error.filename}: missing"]
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        return [f"{archive}: not a whole zip archive ({error})"]


def pack(folder, stems):
    """Writes result.zip with exactly the images of the stems, flat; returns its path. RunError when it did not come out so."""
    archive = Path(folder) / ARCHIVE
    with replacing(archive) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as stream:            # JPEG does not compress further
            for stem in stems:
                # A fixed date: the same images make the same bytes.
                info = zipfile.ZipInfo(f"{stem}.jpg", date_time=(1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                stream.writestr(info, (Path(folder) / f"{stem}.jpg").read_bytes())
    problems = check_archive(archive, folder, stems)
    if problems:
        raise RunError("; ".join(problems[:5]) + " (is the disk full?)")
    return archive


def confirm(folder, stems, size):
    """What test.py asks at its end: RunError unless every image is valid, no two are the same, and result.zip holds them."""
    problems = check_results(folder, stems, size, whole=False) + check_archive(Path(folder) / ARCHIVE, folder, stems)
    if problems:
        raise RunError("; ".join(problems[:5]) + f" ({len(problems)} problems in all)")


def chosen(select_list, stems):
    """The stems that a list names, one a line, with or without .jpg or .png. UserError for one that is no mask's."""
    try:
        lines = Path(select_list).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"--select_list {select_list}: no such text file, expected one mask's name a line") from None
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    found, known = [re.sub(r"\.(jpe?g|png)$", "", name, flags=re.IGNORECASE) for name in names], set(stems)
    found = [name if name in known else stem for name, stem in zip(names, found)]      # a stem may end in .png itself
    problems = [f"{select_list}: found {name!r}, expected the name of a mask" for name, stem in zip(names, found)
                if stem not in known]
    problems += [f"{select_list}: found {stem} twice, expected it once" for stem in sorted(set(found))
                 if found.count(stem) > 1]
    if not names:
        problems.append(f"{select_list}: names nothing, expected one mask's name a line")
    if problems:
        raise UserError(problems)
    return found


def fill_selects(folder, stems, known):
    """Makes selects/ hold copies of the images of `stems`; images of other masks that lie there from before are removed."""
    place = Path(folder) / SELECTS
    place.mkdir(exist_ok=True)
    for stem in known:
        (place / f"{stem}.jpg").unlink(missing_ok=True)
    for stem in stems:
        with replacing(place / f"{stem}.jpg") as temporary:
            shutil.copyfile(Path(folder) / f"{stem}.jpg", temporary)
    return place


def main(argv):
    """Checks and packs a results folder. argv: the words after the command; UserError with what is wrong in it."""
    parser = argparse.ArgumentParser(prog="python -m sampling.submission", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", metavar="RESULTS", help="the folder that test.py painted into")
    parser.add_argument("--input_path", required=True, metavar="TEST", help="masks and label_to_img.json, as for test.py")
    parser.add_argument("--select_list", metavar="FILE", help="names, one a line, of the pictures for selects/")
    parser.add_argument("--weights", nargs="+", default=[], metavar="FILE",
                        help=f"the files painted with: what {NOTE} says of them comes from their metadata")
    parser.add_argument("--size", type=image_size, default=(512, 384), help="of the images (default: 512x384)")
    args = parser.parse_args(argv)
    stems, folder = [case.stem for case in find_test(args.input_path)], Path(args.results)
    problems = check_results(folder, stems, args.size)
    if problems:
        raise UserError(problems)
    selects = chosen(args.select_list, stems) if args.select_list else []
    said = write_note(folder, args.weights)           # first, as it may refuse the weights
    archive = pack(folder, stems)
    print(f"{len(stems)} images of {args.size[0]}x{args.size[1]}, all valid, no two the same")
    print(f"{archive}: packed and read back, {archive.stat().st_size / 1e6:.1f} MB")
    if selects:
        print(f"{fill_selects(folder, selects, stems)}: {', '.join(selects)}")
    print(said)
