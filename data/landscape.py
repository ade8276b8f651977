"""The challenge's train and test folders: what belongs together, and every check before anything long starts."""
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tqdm import tqdm

from configs.classes import CLASSES  # noqa: F401
from data.images import image_problem, mask_problem, read_image, read_labels  # noqa: F401
from runtime.documents import depth, read_json
from runtime.errors import UserError

PHOTOS = (".jpg", ".jpeg", ".png")
TABLE = "label_to_img.json"
NAME_BYTES = 200                  # of a file's name, of the 255 that file systems take
EXAMPLE = '{"mask.png": "reference.jpg", ...}'


@dataclass(frozen=True)
class Pair:
    """A training pair. A partner that is missing has the path where it was expected; check_train names it."""
    stem: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class Case:
    """A test mask and the style reference it is mapped to (None: the table has no entry; check_test names it)."""
    name: str                         # the mask's file name
    stem: str                         # all of it before the last dot: a.b.png -> a.b
    mask: Path
    reference: Optional[Path]

    @property
    def reference_mask(self):
        """Where the reference's own mask is in a training folder: labels/ beside its imgs/."""
        return self.reference.parent.parent / "labels" / f"{self.reference.stem}.png"


def find_train(input_path, exclude=()):
    """The pairs D/imgs/<stem>.jpg (.jpeg, .png) and D/labels/<stem>.png without the excluded ones, sorted by stem.

    exclude: stems, and .txt files that list some. Raises UserError when there are no such folders, or nothing in them.
    """
    root = Path(input_path)
    images, labels = root / "imgs", root / "labels"
    if not images.is_dir() or not labels.is_dir():
        raise UserError(_no_train(root, images, labels))
    photos, doubles = _photos(images)
    masks = {}
    for path in _files(labels, (".png",)):
        if path.stem in masks:
            doubles.append(f"{path}: found a second mask of this stem ({masks[path.stem].name}), expected one")
        masks.setdefault(path.stem, path)
    stems = sorted((set(photos) | set(masks)) - set(excluded_stems(exclude)))
    if doubles:
        raise UserError(doubles)
    if not stems:
        left = " besides the excluded ones" if photos or masks else ""
        raise UserError(f"{root}: found no images{left}, expected imgs/<stem>.jpg and labels/<stem>.png")
    return [Pair(stem, photos.get(stem, images / f"{stem}.jpg"), masks.get(stem, labels / f"{stem}.png"))
            for stem in stems]


def excluded_stems(exclude):
    """The stems that data.exclude means: each entry is a stem, or a .txt file of stems, one a line, # before remarks.

    Raises UserError for a file that is not there.
    """
    stems, problems = [], []
    for entry in exclude:
        if not entry.endswith(".txt"):
            stems.append(entry)
            continue
        try:
            lines = Path(entry).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            problems.append(f"data.exclude: found {entry}, expected a text file of stems there")
            continue
        stems += [stem for stem in (line.split("#")[0].strip() for line in lines) if stem]
    if problems:
        raise UserError(problems)
    return stems


def check_train(pairs, config_data, progress=True):
    """Reads every file of find_train's pairs once. Raises one UserError with all problems found.

    config_data: a configs.schema.DataConfig; its size, and its excluded stems, which must exist.
    """
    if not pairs:
        raise UserError("training data: found no pairs, expected imgs/<stem>.jpg and labels/<stem>.png")

    classes = config_data.class_set

    def check(pair):
        problems = []
        if not pair.image.is_file():
            problems.append(f"{pair.labels}: found no image of this mask, expected {_beside(pair.image)}")
        else:
            problems.append(image_problem(pair.image))
        if not pair.labels.is_file():
            problems.append(f"{pair.image}: found no mask of this image, expected {_beside(pair.labels)}")
        else:
            problems.append(mask_problem(pair.labels, config_data.height, config_data.width, classes))
        return problems

    problems = []
    folder = pairs[0].image.parent
    if config_data.exclude:
        known = set(_photos(folder)[0]) | {path.stem for path in _files(pairs[0].labels.parent, (".png",))}
        problems += [f"data.exclude: found {stem!r}, expected the stem of a file in {folder}"
                     for stem in excluded_stems(config_data.exclude) if stem not in known]
    problems += _every(check, pairs, "checking pairs", progress)
    if problems:
        raise UserError(problems)


def find_test(input_path, img_path=None):
    """The masks below input_path with the references that label_to_img.json gives them in img_path, sorted by name.

    input_path holds val_*_labels*/ or labels/, or is that folder; the table lies in the folder, beside it or in the
    working directory. img_path holds imgs/ or is that folder; without it references are bare names. A reference may be
    written .png and be .jpg.
    Raises UserError when one of these is not found or not clear.
    """
    folder = _labels_folder(Path(input_path))
    places = folder / TABLE, folder.parent / TABLE, Path.cwd() / TABLE
    table_path = next((path for path in places if path.is_file()), None)
    problems = []
    if table_path is None:
        problems.append(f"{folder}: found no {TABLE}, expected it there, in {folder.parent} or in {Path.cwd()}")
    references = None
    try:
        references = images_folder(img_path) if img_path else None
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(problems)
    table = _read_table(table_path)
    photos = _photos(references)[0] if references else {}
    masks = {path.name: path for path in _files(folder, (".png",))}
    names = sorted(set(masks) | set(table))
    return [Case(name, Path(name).stem, masks.get(name, folder / name),
                 _reference(table.get(name), references or Path(), photos)) for name in names]


def images_folder(img_path):
    """The folder of images that an --img_path means. Raises UserError when there is none."""
    folder = Path(img_path)
    folder = folder / "imgs" if (folder / "imgs").is_dir() else folder
    if not folder.is_dir():
        raise UserError(f"--img_path {img_path}: found no such folder, expected one that holds imgs/, or imgs/ itself")
    return folder


def find_images(folder):
    """{stem: path} of the pictures in a folder, by name. Raises UserError for two of one stem."""
    found, problems = _photos(Path(folder))
    if problems:
        raise UserError(problems)
    return found


def check_images(paths, progress=True):
    """Reads every picture once and returns a line for each that is not whole."""
    return _every(lambda path: [image_problem(path)], paths, "checking images", progress)


def check_test(cases, config_data, progress=True, references=True, reference_masks=False, size=None):
    """Reads every file of find_test's cases once. Raises one UserError with all problems found.

    references: whether those have to be there; reference_masks: whether their own masks have to;
    size: (height, width) of the images where that is another one than config_data's: masks may have either's shape.
    """
    if not cases:
        raise UserError("test data: found no masks, expected <stem>.png files")
    problems, first, classes = [], {}, config_data.class_set
    for case in cases:
        if first.setdefault(case.stem, case.name) != case.name:
            problems.append(f"{case.mask}: found a second mask of this stem ({first[case.stem]}), "
                            f"expected one: both give {case.stem}.jpg")

    def check_mask(case):
        if not case.mask.is_file():
            return [f"{TABLE}: found an entry {case.name!r}, expected that mask in {case.mask.parent}"]
        missing = None
        if case.reference is None:
            missing = f"{case.mask}: found no entry for this mask in {TABLE}, expected its reference image"
        elif references and not case.reference.is_file():
            missing = (f"{TABLE}: found reference {case.reference.name!r} of {case.name}, "
                       f"expected that file in {case.reference.parent}")
        problem = mask_problem(case.mask, config_data.height, config_data.width, classes)
        if problem and size not in (None, (config_data.height, config_data.width)):
            problem = mask_problem(case.mask, *size, classes)
        return [missing, problem]

    problems += _every(check_mask, cases, "checking masks", progress)
    used = sorted({case.reference for case in cases if references and case.reference and case.reference.is_file()})
    problems += _every(lambda path: [image_problem(path)], used, "checking references", progress)
    if reference_masks:
        masks = sorted({case.reference_mask for case in cases if case.reference})
        problems += _every(lambda path: [mask_problem(path, config_data.height, config_data.width, classes)], masks,
                           "checking masks of references", progress)
    if problems:
        raise UserError(problems)


def _every(check, items, title, progress):
    """The problems that check(item) -> [line or None] finds in all items, in their order; on all cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        # The bar appears when there is more than two seconds of work.
        bar = tqdm(pool.map(check, items), title, total=len(items), delay=2, disable=not progress, leave=False)
        return [line for lines in bar for line in lines if line]


def _files(folder, suffixes):
    """The files with one of the suffixes in a folder, hidden ones left out, sorted."""
    found = sorted(path for path in folder.iterdir()
                   if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file())
    problems = [f"{folder}: {problem}" for problem in map(name_problem, (path.name for path in found)) if problem]
    if problems:
        raise UserError(problems)
    return found


def name_problem(name):
    """A line when a file's name cannot be a picture's: it has to go into result.zip, a JSON and a line of text, and leave
    room for the ending of a file that is half written. None when it can."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return f"found a name that is not UTF-8, {name}, expected another"
    if not name.isprintable():
        return f"found a name with line ends or control characters, {name}, expected another"
    if "\\" in name:
        return f"found a name with a backslash, {name}, expected another: Windows takes it for a folder"
    return f"found a name of {size} bytes, {name}, expected at most {NAME_BYTES}" if size > NAME_BYTES else None


def _photos(folder):
    """The pictures of a folder by stem, and a line for each stem that has two."""
    found, problems = {}, []
    for path in _files(folder, PHOTOS):
        if path.stem in found:
            problems.append(f"{path}: found a second image of this stem ({found[path.stem].name}), expected one")
        found.setdefault(path.stem, path)
    return found, problems


def _beside(path):
    return f"{path.parent.name}/{path.name}"


def _no_train(root, images, labels):
    if not root.is_dir():
        return f"--input_path {root}: found no such folder, expected one that holds imgs/ and labels/"
    missing = " and no ".join(f"{folder.name}/" for folder in (images, labels) if not folder.is_dir())
    inside = [path for path in sorted(root.iterdir()) if (path / "imgs").is_dir() and (path / "labels").is_dir()]
    near = [root.parent] if (root.parent / "imgs").is_dir() and (root.parent / "labels").is_dir() else inside
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"--input_path {root}: found no {missing}, expected imgs/<stem>.jpg and labels/<stem>.png{hint}"


def _labels_folder(root):
    """The folder of test masks that an --input_path means."""
    if not root.is_dir():
        raise UserError(f"--input_path {root}: found no such folder, expected one that holds masks and {TABLE}")
    candidates = [path for path in sorted(root.iterdir())
                  if path.is_dir() and (path.match("val_*labels*") or path.name == "labels")]
    if len(candidates) > 1:
        raise UserError(f"--input_path {root}: found several folders of masks, "
                        f"{' and '.join(str(path) for path in candidates)}; expected one, name it")
    folder = candidates[0] if candidates else root
    if not _files(folder, (".png",)):
        what = "" if candidates else ", or a folder val_*_labels*/ or labels/ that holds them"
        raise UserError(f"{folder}: found no masks, expected <stem>.png files{what}")
    return folder


def _read_table(path):
    """label_to_img.json as {mask name: reference name}. Raises UserError for anything but a flat object of names."""
    def once(items):
        seen = set()
        doubled.extend(key for key, _ in items if key in seen or seen.add(key))
        return dict(items)

    doubled = []
    try:
        table = read_json(path, object_pairs_hook=once)
    except UserError as error:
        raise UserError(f"{error.problems[0]}, expected {EXAMPLE}") from None
    if not isinstance(table, dict):
        raise UserError(f"{path}: found a JSON {type(table).__name__}, expected {EXAMPLE}")
    problems = [f"{path}: found two entries {key!r}, expected one" for key in doubled]
    for key, value in table.items():
        if len(json.dumps(key)) > 1000 or depth(value) or "\0" in key:
            problems.append(f"{path}: found an entry {key[:60]!r}, expected a mask's file name and a reference's file name")
        elif not isinstance(value, str) or not value or "\0" in value or Path(value).name != value or Path(key).name != key:
            problems.append(f"{path}: found {key!r}: {json.dumps(value)}, "
                            "expected a mask's file name and a reference's file name")
    if problems:
        raise UserError(problems)
    return table


def _reference(name, folder, photos):
    """The file a reference's name means: that file, or one of the same stem with the other suffix."""
    if name is None:
        return None
    path = folder / name
    return path if path.is_file() else photos.get(path.stem if path.suffix.lower() in PHOTOS else name, path)
