import hashlib
import os
import shutil
from pathlib import Path

import pytest

from runtime.cuda.jittor_patches import JITTOR, PATCHES, Patch
from runtime.cuda.patch import copy_name, installed, patched_copy, summary
from runtime.errors import UserError


def digests(folder):
    """{file below a folder: the hash of its bytes}, without Python's caches."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder with a patched copy of the installed Jittor."""
    folder = tmp_path_factory.mktemp("cache")
    patched_copy({"XDG_CACHE_HOME": str(folder)})
    return folder


@pytest.fixture
def small(tmp_path):
    """A folder that looks like an installed Jittor with the patched files alone, and its cache's environment."""
    for file in {patch.file for patch in PATCHES} | {"jittor/__init__.py", "jittor_utils/__init__.py"}:
        (tmp_path / "site" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(installed() / file, tmp_path / "site" / file)
    return tmp_path / "site", {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_the_copy_differs_from_the_installed_jittor_in_the_patched_files_alone(cache):
    before = {package: digests(installed() / package) for package in ("jittor", "jittor_utils")}
    copy = patched_copy({"XDG_CACHE_HOME": str(cache)})
    after = {package: digests(copy / package) for package in before}
    removed = {patch.file for patch in PATCHES if patch.new is None}
    changed = {f"{package}/{name}" for package, files in before.items() for name, digest in files.items()
               if after[package].get(name) != digest}
    assert changed == {patch.file for patch in PATCHES}
    assert removed == {f"{package}/{name}" for package in before for name in before[package].keys() - after[package].keys()}
    assert not any(after[package].keys() - before[package].keys() for package in before)


def test_no_text_that_was_to_go_is_left_and_every_new_one_is_there(cache):
    copy = patched_copy({"XDG_CACHE_HOME": str(cache)})
    for patch in PATCHES:
        if patch.new is None:
            assert not (copy / patch.file).exists()
        else:
            text = (copy / patch.file).read_text(encoding="utf-8")
            assert patch.new in text and (patch.old not in text or patch.old in patch.new), patch


def test_patched_python_files_are_still_python(cache):
    copy = patched_copy({"XDG_CACHE_HOME": str(cache)})
    for file in {patch.file for patch in PATCHES if patch.file.endswith(".py")}:
        assert compile((copy / file).read_text(encoding="utf-8"), file, "exec"), file


def test_every_patch_says_what_it_mends():
    assert all(patch.name and len(patch.mends) > 20 and "\n" not in patch.mends for patch in PATCHES)
    assert len(summary()) == len({patch.name for patch in PATCHES})


def test_a_second_call_makes_nothing(cache, monkeypatch):
    monkeypatch.setattr(shutil, "copytree", None)
    assert patched_copy({"XDG_CACHE_HOME": str(cache)}).is_dir()
    assert [path.name for path in (cache / "iidm").iterdir()] == [copy_name(PATCHES)]


def test_another_set_of_patches_makes_another_copy():
    assert copy_name(PATCHES) != copy_name(PATCHES[:-1]) and JITTOR in copy_name(PATCHES)


def test_a_changed_source_is_refused_with_the_file_and_the_patch_and_leaves_nothing(small):
    source, environ = small
    place = source / "jittor/other/code_softmax.py"
    place.write_text(place.read_text().replace("cub::Max()", "cub::Max ()"))
    with pytest.raises(UserError, match="code_softmax.py: the text to replace was found 0 times.*cub::Max in softmax") as error:
        patched_copy(environ, source)
    assert len(error.value.problems) == 2 and "force-reinstall" in error.value.problems[1]
    assert not Path(environ["XDG_CACHE_HOME"]).exists()


def test_a_text_found_twice_is_refused(small):
    source, environ = small
    place = source / "jittor/src/misc/cuda_limits.h"
    place.write_text(place.read_text() * 2)
    with pytest.raises(UserError, match="found 2 times, expected once; the patch 'npp.h' does not fit"):
        patched_copy(environ, source)


def test_a_missing_file_is_refused(small):
    source, environ = small
    (source / "jittor/extern/cuda/cudnn/ops/cudnn_rnn_op.cc").unlink()
    with pytest.raises(UserError, match="cudnn_rnn_op.cc: not there"):
        patched_copy(environ, source)


def test_another_version_is_refused_whatever_its_sources_say(small):
    source, environ = small
    (source / "jittor/__init__.py").write_text("__version__ = '1.3.12.0'\n")
    with pytest.raises(UserError, match=r"Jittor is 1\.3\.12\.0, expected 1\.3\.11\.0.*pip install jittor==1\.3\.11\.0"):
        patched_copy(environ, source)


def test_read_only_files_are_patched(small):
    source, environ = small
    for patch in PATCHES:
        (source / patch.file).chmod(0o444)
    assert patched_copy(environ, source).is_dir()


def test_a_copy_that_fails_halfway_leaves_nothing(small, monkeypatch):
    source, environ = small

    def full(*args):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        patched_copy(environ, source)
    assert list((Path(environ["XDG_CACHE_HOME"]) / "iidm").iterdir()) == []


def test_patches_of_one_file_add_up(small):
    source, environ = small
    patches = [Patch("a", "because", "jittor_utils/__init__.py", "import os\nimport re\n", "import re\n"),
               Patch("b", "because", "jittor_utils/__init__.py", "import re\nimport sys\n", "import sys\n")]
    text = (patched_copy(environ, source, patches) / "jittor_utils/__init__.py").read_text()
    assert "import os\nimport re" not in text and "import subprocess as sp\nimport sys\n" in text
