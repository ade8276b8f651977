import hashlib
import json
import os

import pytest

from runtime.files import HOST, replacing, sha256, write_bytes, write_json


def test_a_file_is_written_whole_with_its_folders(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "c.bin", b"123")
    assert (tmp_path / "a/b/c.bin").read_bytes() == b"123"


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    write_bytes(tmp_path / "x.txt", b"old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "x.txt") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert (tmp_path / "x.txt").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_the_temporary_name_keeps_the_suffix_and_the_folder(tmp_path):
    with replacing(tmp_path / "picture.jpg") as temporary:
        assert temporary.suffix == ".jpg" and temporary.parent == tmp_path and temporary.name.startswith(".")
        temporary.touch()
    assert not temporary.exists() and (tmp_path / "picture.jpg").exists()


def test_two_files_that_differ_in_suffix_have_two_temporary_names(tmp_path):
    with replacing(tmp_path / "a.png") as first, replacing(tmp_path / "a.jpg") as second:
        assert first != second
        first.touch(), second.touch()


def test_json_is_readable_text(tmp_path):
    write_json(tmp_path / "a.json", {"name": "été", "n": [1, 2]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "été", "n": [1, 2]} and "été" in text and text.endswith("}\n")


def test_sha256_reads_files_larger_than_a_block(tmp_path):
    data = bytes(range(256)) * 9000
    write_bytes(tmp_path / "a", data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_what_a_killed_process_left_half_written_is_removed_and_a_living_ones_is_kept(tmp_path):
    dead = tmp_path / f".state.{HOST}-999999999.tmp.bin"
    alive = tmp_path / f".state.{HOST}-{os.getppid()}.tmp.bin"
    elsewhere = tmp_path / ".state.otherhost-999999999.tmp.bin"
    another = tmp_path / f".stated.{HOST}-999999999.tmp.bin"
    for path in (dead, alive, elsewhere, another):
        path.write_bytes(b"half")
    write_bytes(tmp_path / "state.bin", b"whole")
    assert not dead.exists() and alive.exists() and elsewhere.exists() and another.exists()
    assert (tmp_path / "state.bin").read_bytes() == b"whole"
