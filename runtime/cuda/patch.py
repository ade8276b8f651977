"""A patched copy of the installed Jittor in the user's cache; the installed package itself is never touched.

The copy's folder is named after Jittor's version and the patches (runtime/cuda/jittor_patches.py), so that another set makes
another copy. It is built beside its final name and renamed, so it is whole or absent.
"""
import hashlib
import importlib.util
import os
import shutil
from dataclasses import astuple
from pathlib import Path

from runtime.cuda.jittor_patches import JITTOR, PATCHES
from runtime.errors import UserError
from runtime.files import HOST

PACKAGES = ("jittor", "jittor_utils")          # the second finds the first, and the build cache, by where it lies itself
NOT_PATCHED = "IIDM_DEVICE=cpu runs on the CPU with the installed Jittor"


def cache_folder(environ):
    """Where IIDM keeps what it made for this machine: copies of Jittor, assembled toolkits."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iidm"


def installed():
    """The folder that holds the packages jittor and jittor_utils, found without importing them."""
    spec = importlib.util.find_spec("jittor")
    if spec is None or not spec.origin:
        raise UserError("jittor is not installed: pip install -r requirements.txt")
    return Path(spec.origin).resolve().parent.parent


def version_of(source):
    """The version that a Jittor's own source states, "unknown" where it states none."""
    text = (Path(source) / "jittor" / "__init__.py").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("__version__")]
    return lines[0].split("=")[1].strip().strip("'\"") if lines else "unknown"


def copy_name(patches):
    """The name of the copy's folder: Jittor's version and a hash of every patch."""
    digest = hashlib.sha256(repr([astuple(patch) for patch in patches]).encode()).hexdigest()
    return f"jittor-{JITTOR}-{digest[:12]}"


def patched_copy(environ, source=None, patches=None):
    """The folder that goes first on sys.path, made when it is not there. source: the folder that holds jittor/.

    Raises UserError when the Jittor found there is not the one that the patches were written for.
    """
    patches = PATCHES if patches is None else patches
    target = cache_folder(environ) / copy_name(patches)
    if target.is_dir():
        return target
    source = installed() if source is None else Path(source)
    texts = patched_texts(source, patches)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_orphans(target)
    temporary = target.with_name(f".{target.name}.{HOST}-{os.getpid()}.tmp")
    try:
        for package in PACKAGES:
            shutil.copytree(source / package, temporary / package, ignore=shutil.ignore_patterns("__pycache__"))
        for file, text in texts.items():
            place = temporary / file
            place.chmod(0o644)                                   # some package managers install files read-only
            place.unlink() if text is None else place.write_bytes(text.encode())
        try:
            os.rename(temporary, target)
        except OSError:
            if not target.is_dir():                              # else another process made the same copy first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def patched_texts(source, patches):
    """{file: its text once patched, None where it is removed}. Raises UserError, one line per patch that does not fit."""
    version = version_of(source)
    if version != JITTOR:
        raise UserError(f"{source}: Jittor is {version}, expected {JITTOR}, which the patches for CUDA 13 and cuDNN 9 "
                        f"were written for: pip install jittor=={JITTOR}; {NOT_PATCHED}")
    texts, problems = {}, []
    for patch in patches:
        place = Path(source) / patch.file
        if not place.is_file():
            problems.append(f"{place}: not there, the patch {patch.name!r} does not fit")
            continue
        text = texts[patch.file] if patch.file in texts else place.read_bytes().decode()
        times = 0 if text is None else 1 if patch.new is None else text.count(patch.old)
        if times != 1:
            problems.append(f"{place}: the text to replace was found {times} times, expected once; "
                            f"the patch {patch.name!r} does not fit")
            continue
        texts[patch.file] = None if patch.new is None else text.replace(patch.old, patch.new)
    if problems:
        raise UserError(problems + [f"this Jittor {JITTOR} was changed: pip install --force-reinstall --no-deps "
                                    f"jittor=={JITTOR}; {NOT_PATCHED}"])
    return texts


def remove_orphans(target):
    """Removes half-made copies that killed processes of this machine left."""
    for left in target.parent.glob(f".{target.name}.{HOST}-*.tmp"):
        writer = left.name[len(f".{target.name}.{HOST}-"):-len(".tmp")]
        if writer.isdigit() and os.path.isdir("/proc/self") and not os.path.exists(f"/proc/{writer}"):
            shutil.rmtree(left, ignore_errors=True)


def summary(patches=None):
    """{name of a patch: why}, in the order in which they are applied; the first reason of each name."""
    found = {}
    for patch in PATCHES if patches is None else patches:
        found.setdefault(patch.name, patch.mends)
    return found
