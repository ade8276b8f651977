import io
import struct
import zipfile

import pytest

from models.weights.formats import zips
from models.weights.formats.source import ByteSource, Refused
from tests.fixtures.handmade import zipped


def opened(tmp_path, data):
    path = tmp_path / "file.zip"
    path.write_bytes(data)
    return zips.members(ByteSource(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entries_hold_what_was_put_into_them(tmp_path, rng, method):
    wanted = [("b/é", bytes(rng.integers(0, 255, 3_000_000, dtype="u1"))), ("a", b"\0" * 3_000_000), ("empty", b"")]
    found = opened(tmp_path, zipped(wanted, method))
    assert [(member.name, member.size) for member in found.values()] == [(name, len(data)) for name, data in wanted]
    for name, data in wanted:
        assert found[name].read().tobytes() == data
        assert found[name].head(100) == data[:100] and b"".join(found[name].blocks(777_777)) == data


def test_large_files_are_read_by_their_64_bit_records(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    wanted = [(f"entry{i}", bytes([i]) * 150) for i in range(4)]
    data = zipped(wanted)
    assert b"PK\6\6" in data and data.count(b"\xff\xff\xff\xff") > 4
    found = opened(tmp_path, data)
    assert [(name, member.read().tobytes()) for name, member in found.items()] == wanted


def test_a_stream_that_could_not_seek_leaves_a_file_that_is_read(tmp_path):
    stream = io.BytesIO()
    writer = io.BufferedWriter(Pipe(stream))
    with zipfile.ZipFile(writer, "w") as file:
        file.writestr("a", b"abc")
    writer.flush()
    assert b"PK\7\x08" in stream.getvalue()               # sizes after the data, none before them
    assert opened(tmp_path, stream.getvalue())["a"].read().tobytes() == b"abc"


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", "..", "C:/a", "c:a", "a\\b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(Refused, match="leads out of it"):
        opened(tmp_path, zipped([("a" * len(name), b"")]).replace(b"a" * len(name), name.encode()))


class Pipe(io.RawIOBase):
    """Passes on what is written, and cannot go back."""

    def __init__(self, stream):
        self.stream = stream

    def writable(self):
        return True

    def write(self, data):
        return self.stream.write(data)


TWO = zipped([("a", b"A" * 50), ("b", b"B" * 50)])
SECOND = TWO.index(b"PK\1\2", TWO.index(b"PK\1\2") + 1)        # the directory's second entry


def patched(place, form, value, data=TWO):
    data = bytearray(data)
    data[place:place + struct.calcsize(form)] = struct.pack(form, value)
    return bytes(data)


@pytest.mark.parametrize("data, message", [
    (patched(SECOND + 42, "<I", 0), "overlaps"), (patched(SECOND + 42, "<I", 20), "overlaps"),
    (patched(SECOND + 42, "<I", 5000), "overlaps"), (patched(SECOND + 42, "<I", 0xffffffff), "lacks its size"),
    (TWO.replace(b"b", b"a"), "holds a twice"), (patched(SECOND + 8, "<H", 1), "encrypted"),
    (patched(SECOND + 10, "<H", 14), "packed by method 14"), (patched(SECOND + 24, "<I", 51), "has 51 bytes, 50 of them"),
    (patched(SECOND, "<I", 7), "its directory is broken"), (patched(SECOND + 28, "<H", 9999), "its directory is broken"),
    (patched(SECOND + 46, "B", 0xff), "not UTF-8"), (patched(len(TWO) - 12, "<H", 3), "has 2 entries and says 3"),
    (patched(len(TWO) - 10, "<I", 5), "its directory has 5 bytes"), (patched(len(TWO) - 6, "<I", 5), "from byte 5 on"),
    (TWO + b"more", "its end is not at its end"), (TWO[:-30], "without its end"), (TWO[4:], "from byte")])
def test_a_directory_that_does_not_fit_the_file_is_refused(tmp_path, data, message):
    with pytest.raises(Refused, match=message):
        opened(tmp_path, data)


@pytest.mark.parametrize("place, form, value, message", [
    (0, "<I", 7, "does not lie where its directory says"), (28, "<H", 9999, "does not lie where its directory says"),
    (28, "<H", 1, "does not lie where its directory says"),
    (30, "B", 0x63, "another name in its own header"), (60, "B", 0, "not what its checksum says")])
def test_an_entry_that_is_not_what_the_directory_says_is_refused_when_it_is_read(tmp_path, place, form, value, message):
    found = opened(tmp_path, patched(place, form, value))
    with pytest.raises(Refused, match=message):
        found["a"].read()
    with pytest.raises(Refused, match=message):
        found["a"].verify()
    assert found["b"].read().tobytes() == b"B" * 50


def test_an_entry_that_unpacks_to_more_or_less_than_it_says_is_refused(tmp_path):
    data = zipped([("a", b"A" * 5_000_000)], zipfile.ZIP_DEFLATED)
    place = data.index(b"PK\1\2")
    for size in (100, 4_999_999, 5_000_001):
        member = opened(tmp_path, patched(place + 24, "<I", size, data))["a"]
        with pytest.raises(Refused, match="not what its checksum says"):
            member.read()


def test_an_entry_cut_short_or_followed_by_rubbish_is_refused(tmp_path):
    data = bytearray(zipped([("a", bytes(range(256)) * 50)], zipfile.ZIP_DEFLATED))
    data[60:70] = b"\xff" * 10
    with pytest.raises(Refused, match="cannot be unpacked|not what its checksum says"):
        opened(tmp_path, data)["a"].read()
