"""The results folder of one sampling run: an image per mask, manifest.json, result.zip, each whole or absent.

The manifest records everything a picture depends on. A second call with the same settings goes on with what is missing;
one with other settings stops and says what differs.
"""
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from configs.legacy import translate_sampling
from configs.schema import config_dict
from runtime.errors import RunError, UserError, run_script
from runtime.files import replacing, sha256, write_json
from runtime.log import progress_bar
from sampling.hand_in import ARCHIVE, main, pack

MANIFEST = "manifest.json"
UNSAID = {"precision": "float32"}  # settings that earlier manifests do not name, and what they were
SAME_IMAGES = ("batch_size", "spade_cache_gb", "autoencoder_gb")  # of `sampling`: images do not depend on these


class Submission:
    """folder: results/; settings: {name: value} that every image depends on; inputs: {mask name: hash}; output: how images
    are written, an OutputConfig; first: whether this process is the first of those that fill the folder; timesteps: the
    schedule's, which the manifest of an earlier version is read with."""

    def __init__(self, folder, settings, inputs, height, width, output, overwrite=False, first=True, timesteps=1000):
        self.folder, self.size, self.output = Path(folder), (width, height), output
        self.settings, self.inputs = {**settings, **dataclasses.asdict(output)}, inputs
        manifest, problems = self.folder / MANIFEST, []
        if not first:
            wait_for(manifest)
        if manifest.exists() and not overwrite:
            old = read_manifest(manifest, timesteps)
            problems = self.differences(old)
            self.inputs = {**old["inputs"], **inputs}
        elif not manifest.exists() and not overwrite and self.folder.is_dir() and any(self.folder.glob("*.jpg")):
            problems = [f"{self.folder}: holds images but no {MANIFEST}, expected an empty folder or one of this command; "
                        "--overwrite replaces what is there"]
        if problems:
            raise UserError(problems)
        if overwrite and self.folder.is_dir():
            for path in (*self.folder.glob("*.jpg"), manifest, self.folder / ARCHIVE, self.folder / "candidates.csv"):
                path.unlink(missing_ok=True)
        if first:
            write_json(manifest, {"settings": self.settings, "inputs": self.inputs})

    def differences(self, old):
        """A line for everything that differs from the run this folder holds."""
        lines = []
        for name in sorted(set(self.settings) | set(old["settings"])):
            before, now = (settings.get(name, UNSAID.get(name)) for settings in (old["settings"], self.settings))
            if before != now:
                lines.append(f"{self.folder}: {name} was {short(before)}, now {short(now)}; expected the run this folder "
                             "holds; another --output_path keeps both, --overwrite replaces it")
        return lines + [f"{self.folder}: {name}: the mask or its reference is not the one this folder was made with"
                        for name, code in self.inputs.items() if old["inputs"].get(name, code) != code]

    def path(self, stem):
        """Where the image of a mask is."""
        return self.folder / f"{stem}.jpg"

    def has(self, stem):
        """Whether the image of a mask is there and decodes at the right size."""
        return self.problem(stem) is None

    def problem(self, stem):
        """What is wrong with the image of a mask, one line; None when it is valid."""
        path = self.path(stem)
        if not path.is_file():
            return f"{path}: missing"
        try:
            with Image.open(path) as image:
                image.load()
                if image.size != self.size or image.mode != "RGB" or image.format != "JPEG":
                    return (f"{path}: found {image.format} {image.mode} {image.width}x{image.height}, "
                            f"expected JPEG RGB {self.size[0]}x{self.size[1]}")
        except (OSError, SyntaxError, ValueError) as error:
            return f"{path}: does not decode ({error})"
        return None

    def write(self, stem, image):
        """Writes one image, uint8 (H, W, 3)."""
        assert image.dtype == np.uint8 and image.shape == (self.size[1], self.size[0], 3), (image.dtype, image.shape)
        with replacing(self.path(stem)) as temporary:
            Image.fromarray(image).save(temporary, format="JPEG", quality=self.output.jpeg_quality,
                                        subsampling="4:4:4" if self.output.full_colour else "4:2:0")

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


def manifest_settings(config, hashes, selected=None):
    """{name: value} of all that every image depends on, besides its mask, its reference and how it is written.

    hashes: of the weights; selected: of best_of.Selection.settings().
    """
    sampling = config_dict(config)["sampling"]
    for name in SAME_IMAGES:
        sampling.pop(name)
    return {"weights": hashes, "precision": sampling.pop("precision"), "sampling": sampling, **(selected or {})}


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
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value["settings"], dict) and isinstance(value["inputs"], dict):
            if isinstance(value["settings"].get("sampling"), dict):
                value["settings"]["sampling"] = translate_sampling(value["settings"]["sampling"], timesteps)
            return value
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path}: not a manifest of this command; --overwrite replaces the folder's images")


def short(value):
    """A value in at most 100 characters."""
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:97] + "..."


if __name__ == "__main__":
    run_script(main)                  # python -m sampling.submission: the hand-in, sampling/hand_in.py
