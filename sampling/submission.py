"""The results folder of one sampling run: an image per mask, manifest.json, result.zip, each whole or absent.

The manifest records everything a picture depends on. A second call with the same settings goes on with what is missing;
one with other settings stops and says what differs. images.sha256 says which bytes were written under which name (check
them with `sha256sum -c images.sha256`): another picture in an image's place is not taken for it.

Nothing is removed that a manifest of ours does not list, and a folder that holds anything else is not written into.
"""
import dataclasses
import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np

from configs.legacy import translate_sampling
from configs.reading import config_dict
from data.images import open_image
from runtime import pictures
from runtime.documents import read_json
from runtime.errors import RunError, UserError, run_script
from runtime.files import sha256, write_bytes, write_json
from runtime.lock import hold
from runtime.log import progress_bar
from sampling.hand_in import ARCHIVE, main, pack

MANIFEST, SUMS = "manifest.json", "images.sha256"
OURS = (MANIFEST, ARCHIVE, SUMS, "candidates.csv", "contact_sheet.png")     # besides the images
UNSAID = {"precision": "float32"}  # settings that earlier manifests do not name, and what they were
SAME_IMAGES = ("batch_size", "spade_cache_gb", "autoencoder_gb")  # of `sampling`: images do not depend on these


class Submission:
    """folder: results/; settings: {name: value} that every image depends on; inputs: {mask name: hash}; output: how images
    are written, an OutputConfig; first: whether this process is the first of those that fill the folder; timesteps: the
    schedule's, which the manifest of an earlier version is read with."""

    def __init__(self, folder, settings, inputs, height, width, output, overwrite=False, first=True, timesteps=1000):
        self.folder, self.size, self.output = Path(folder), (width, height), output
        self.settings, self.inputs = {**settings, **dataclasses.asdict(output)}, inputs
        manifest, old = self.folder / MANIFEST, None
        if first:
            claim(self.folder)
        else:
            wait_for(manifest)
        if manifest.exists():
            old = read_manifest(manifest, timesteps)
            if overwrite:
                self.remove(old)
            else:
                problems = self.differences(old)
                if problems:
                    raise UserError(problems)
                self.inputs = {**old["inputs"], **inputs}
        # Folders of earlier versions have no sums: there an image that decodes counts, as it did.
        self.sums = self.folder / SUMS if overwrite or old is None or old.get("images") == SUMS else None
        self.written = read_sums(self.sums)
        if first:
            record = {"images": SUMS} if self.sums else {}
            write_json(manifest, {"settings": self.settings, "inputs": self.inputs, **record})

    def remove(self, old):
        """Removes what a run left here: the images that its manifest lists, and what is written beside them."""
        names = [f"{Path(name).stem}.jpg" for name in old["inputs"] if Path(name).name == name]
        for name in (*names, *OURS):
            (self.folder / name).unlink(missing_ok=True)

    def differences(self, old):
        """A line for everything that differs from the run this folder holds."""
        lines = settings_differences(self.folder, old["settings"], self.settings)
        return lines + [f"{self.folder}: {name}: the mask or its reference is not the one this folder was made with"
                        for name, code in self.inputs.items() if old["inputs"].get(name, code) != code]

    def path(self, stem):
        """Where the image of a mask is."""
        return self.folder / f"{stem}.jpg"

    def has(self, stem):
        """Whether the image of a mask is there, decodes at the right size and is the one that was written."""
        return self.problem(stem) is None

    def problem(self, stem):
        """What is wrong with the image of a mask, one line; None when it is valid."""
        path = self.path(stem)
        if not path.is_file():
            return f"{path}: missing"
        try:
            with open_image(path) as image:
                image.load()
                if image.size != self.size or image.mode != "RGB" or image.format != "JPEG":
                    return (f"{path}: found {image.format} {image.mode} {image.width}x{image.height}, "
                            f"expected JPEG RGB {self.size[0]}x{self.size[1]}")
        except UserError as error:
            return error.problems[0]
        if self.sums and self.written.get(path.name) != sha256(path):
            self.written = read_sums(self.sums)          # another process may have painted it
            if self.written.get(path.name) != sha256(path):
                return f"{path}: is another picture than the one that was painted for this mask"
        return None

    def write(self, stem, image):
        """Writes one image, uint8 (H, W, 3)."""
        assert image.dtype == np.uint8 and image.shape == (self.size[1], self.size[0], 3), (image.dtype, image.shape)
        data = pictures.encoded(image, "JPEG", quality=self.output.jpeg_quality,
                                subsampling="4:4:4" if self.output.full_colour else "4:2:0")
        if self.sums:
            # Before the image: killed between the two it is painted again, and no image is without its sum.
            code = hashlib.sha256(data).hexdigest()
            add_line(self.sums, f"{code}  {stem}.jpg\n")
            self.written[f"{stem}.jpg"] = code
        write_bytes(self.path(stem), data)

    def wait(self, stems):
        """Until the other processes have written every image; mpirun ends all when one of them fails."""
        left = [stem for stem in stems if not self.has(stem)]
        if not left:
            return
        with progress_bar(total=len(left), label="waiting for the other processes", unit="image") as progress:
            while left:
                still = [stem for stem in left if not self.has(stem)]
                progress.update(len(left) - len(still))
                left = still
                time.sleep(0.2 if left else 0)

    def finish(self, stems):
        """Checks every image, packs result.zip with exactly these, flat, and checks that too. Raises RunError."""
        problems = [problem for problem in map(self.problem, stems) if problem]
        if problems:
            raise RunError("; ".join(problems[:5]) + f" ({len(problems)} of {len(stems)} images)")
        return pack(self.folder, stems)


def settings_differences(folder, old, new):
    """A line for every setting in which a run differs from the one that a folder holds."""
    lines = []
    for name in sorted(set(new) | set(old)):
        before, now = (settings.get(name, UNSAID.get(name)) for settings in (old, new))
        if before != now:
            lines.append(f"{folder}: {name} was {short(before)}, now {short(now)}; expected the run this folder "
                         "holds; another --output_path keeps both, --overwrite replaces it")
    return lines


def manifest_settings(config, hashes, selected=None):
    """{name: value} of all that every image depends on, besides its mask, its reference and how it is written.

    hashes: of the weights; selected: of best_of.Selection.settings().
    """
    sampling = config_dict(config)["sampling"]
    for name in SAME_IMAGES:
        sampling.pop(name)
    if not sampling.pop("between"):
        hashes = {name: code for name, code in hashes.items() if name != "between"}
    if not sampling["large"]["width"]:
        sampling.pop("large")                                                  # which earlier manifests do not have
    own = {"classes": dataclasses.asdict(config.data.classes)} if config.data.class_set.own else {}
    return {"weights": hashes, "precision": sampling.pop("precision"), "sampling": sampling, **own, **(selected or {})}


def claim(folder):
    """Makes a results folder this process's alone. UserError where another one paints into it, or it holds what no run left."""
    folder = Path(folder)
    if folder.is_dir() and not (folder / MANIFEST).is_file():
        found = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        if found:
            images = "images" if any(name.lower().endswith((".jpg", ".jpeg", ".png")) for name in found) else "files"
            raise UserError(f"{folder}: holds {images} but no {MANIFEST} (such as {found[0]}), expected an empty folder or one "
                            "of this command; nothing there was touched")
    hold(folder, "painting")


def not_an_input(output, folders):
    """UserError where the folder to write to is one that is read from."""
    for folder in folders:
        if os.path.realpath(output) == os.path.realpath(folder):
            raise UserError(f"--output_path {output}: is a folder that is read from, expected another one")


def add_line(path, line):
    """Appends a line in one piece, so that the lines of several processes do not mix."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        data = os.fsencode(line)
        if os.write(handle, data) != len(data):
            raise RunError(f"{path}: a line was not written whole; is the disk full?")
    finally:
        os.close(handle)


def read_sums(path):
    """{file name: SHA-256} of a list of sums; of several lines for a name the last counts. {} where there is none."""
    if path is None or not path.is_file():
        return {}
    lines = (line.partition("  ") for line in os.fsdecode(path.read_bytes()).split("\n"))
    return {name: code for code, _, name in lines if name}


def wait_for(manifest, seconds=600):
    """Until the first process has written the manifest, or settings have been found to differ. Raises RunError."""
    end = time.monotonic() + seconds
    while not manifest.exists():
        if time.monotonic() > end:
            raise RunError(f"{manifest}: the first process did not write it in {seconds} s")
        time.sleep(0.1)


def input_hash(case, reference_mask=False):
    """One hash of a mask and its reference, and of that one's own mask where colours go by class."""
    return sha256(case.mask)[:32] + sha256(case.reference)[:32] + (sha256(case.reference_mask)[:32] if reference_mask else "")


def read_manifest(path, timesteps=1000):
    """A manifest as {"settings", "inputs"}, in today's words (configs/legacy.py); UserError when it is not one."""
    try:
        value = read_json(path)
        if isinstance(value["settings"], dict) and isinstance(value["inputs"], dict):
            if isinstance(value["settings"].get("sampling"), dict):
                value["settings"]["sampling"] = translate_sampling(value["settings"]["sampling"], timesteps)
            return value
    except (UserError, KeyError, TypeError):
        pass
    raise UserError(f"{path}: not a manifest of this command; expected another folder, nothing there was touched")


def short(value):
    """A value in at most 100 characters."""
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:97] + "..."


if __name__ == "__main__":
    run_script(main)                  # python -m sampling.submission: the hand-in, sampling/hand_in.py
