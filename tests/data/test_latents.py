"""The latent cache: right rows, whole or absent, never half old; a stopped build goes on where it was."""
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data.latents
from configs.schema import DataConfig
from data.landscape import find_train
from data.latents import build_or_open, open_latents
from runtime.errors import RunError, UserError

FACTOR, H, W, COUNT = 4, 24, 32, 5


class Encoder:
    """Means of FACTOR x FACTOR blocks; counts the images it is given and fails before image number `stop`."""

    def __init__(self, stop=None, scale=1.0):
        self.seen, self.stop, self.scale, self.batches = 0, stop, scale, []

    def __call__(self, images):
        if self.stop is not None and self.seen + len(images) > self.stop:
            raise ZeroDivisionError("killed")
        self.seen += len(images)
        self.batches.append(len(images))
        z = images.reshape(len(images), H // FACTOR, FACTOR, W // FACTOR, FACTOR, 3).mean((2, 4)).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(self.scale * z, np.float32)


@pytest.fixture
def train(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("imgs", "labels"):
        (tmp_path / folder).mkdir()
    for i in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (H, W, 3), dtype=np.uint8)).save(tmp_path / "imgs" / f"s{i}.png")
        Image.fromarray(rng.integers(0, 29, (H, W), dtype=np.uint8)).save(tmp_path / "labels" / f"s{i}.png")
    return tmp_path


def build(train, encode=None, cache="cache", weights="w", flip=True, batch_size=4, exclude=()):
    config = DataConfig(height=H, width=W, flip=flip, exclude=list(exclude))
    return build_or_open(
        find_train(train, exclude),
        config,
        FACTOR,
        encode or Encoder(),
        weights,
        train / cache,
        batch_size,
        progress=False,
    )


def test_label_maps_may_be_larger_than_the_latents(train):
    pairs, config = find_train(train, ()), DataConfig(height=H, width=W)
    options = dict(batch_size=4, progress=False, label_factor=1)
    whole = build_or_open(pairs, config, FACTOR, Encoder(), "w", train / "whole", **options)
    assert whole.z.shape == (2 * COUNT, 3, H // FACTOR, W // FACTOR) and whole.labels.shape == (2 * COUNT, H, W)
    np.testing.assert_array_equal(whole.labels[2], np.asarray(Image.open(train / "labels" / "s1.png")))
    again = Encoder()
    build_or_open(pairs, config, FACTOR, again, "w", train / "whole", **options)
    assert again.seen == 0 and open_latents(train / "whole").labels.shape == whole.labels.shape
    assert build(train).fingerprint != whole.fingerprint


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def siblings(train):
    return sorted(path.name for path in train.iterdir() if path.name not in ("imgs", "labels"))


def damage(path, how):
    data = path.read_bytes()
    path.unlink() if how == "gone" else path.write_bytes(
        {"short": data[:-3], "long": data + b"x", "empty": b"", "foreign": b"{}"}[how]
    )


def test_rows_are_each_image_and_its_mirror_image_in_the_order_of_stems(train):
    found = build(train)
    assert found.z.shape == (2 * COUNT, 3, 6, 8) and found.labels.shape == (2 * COUNT, 6, 8) and len(found) == 2 * COUNT
    assert (
        found.z.dtype == np.float32
        and found.labels.dtype == np.uint8
        and found.stems == [f"s{i}" for i in range(COUNT)]
    )
    for i, pair in enumerate(find_train(train)):
        image, labels = np.asarray(Image.open(pair.image)), np.asarray(Image.open(pair.labels))
        np.testing.assert_array_equal(found.z[2 * i:2 * i + 2], Encoder()(np.stack([image, image[:, ::-1]])))
        np.testing.assert_array_equal(found.labels[2 * i], labels[2::4, 2::4])
        np.testing.assert_array_equal(
            found.labels[2 * i + 1], labels[2::4, 2::4][:, ::-1]
        )  # down-sampled, then mirrored


def test_without_flip_there_is_one_row_per_image(train):
    both, single = build(train), build(train, flip=False, cache="other")
    np.testing.assert_array_equal(single.z, both.z[::2])
    np.testing.assert_array_equal(single.labels, both.labels[::2])


def test_the_arrays_are_mapped_read_only_and_numpy_reads_the_files(train):
    found = build(train)
    assert isinstance(found.z, np.memmap) and not found.z.flags.writeable
    np.testing.assert_array_equal(np.load(train / "cache" / "z.npy"), found.z)
    assert siblings(train) == ["cache"] and sorted(contents(train / "cache")) == ["labels.npy", "meta.json", "z.npy"]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 64])
def test_the_batch_size_bounds_the_encoders_input_and_changes_no_row(train, batch_size):
    encode = Encoder()
    found = build(train, encode, batch_size=batch_size)
    assert max(encode.batches) <= batch_size and sum(encode.batches) == 2 * COUNT
    np.testing.assert_array_equal(found.z, build(train, cache="other").z)


def test_a_second_call_opens_without_encoding(train):
    first = build(train)
    second = build(train, Encoder(stop=0))
    np.testing.assert_array_equal(first.z, second.z)
    np.testing.assert_array_equal(open_latents(train / "cache").labels, second.labels)


@pytest.mark.parametrize("change", ["image", "labels", "weights", "flip", "exclude", "added"])
def test_whatever_a_row_depends_on_makes_another_cache(train, change):
    first = build(train)
    options = {"weights": dict(weights="v"), "flip": dict(flip=False), "exclude": dict(exclude=["s1"])}.get(change, {})
    if change in ("image", "labels"):
        path = train / ("imgs" if change == "image" else "labels") / "s2.png"
        Image.fromarray(
            255 - np.asarray(Image.open(path)) if change == "image" else 28 - np.asarray(Image.open(path))
        ).save(path)
    elif change == "added":
        for folder in ("imgs", "labels"):
            (train / folder / "s9.png").write_bytes((train / folder / "s0.png").read_bytes())
    encode = Encoder()
    second = build(train, encode, **options)
    assert encode.seen == len(second) and second.fingerprint != first.fingerprint
    assert siblings(train) == ["cache"]


@pytest.mark.parametrize("name", ["z.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("how", ["gone", "short", "empty", "foreign"])
def test_a_damaged_cache_is_built_again_and_one_line_says_so(train, capsys, name, how):
    whole = np.array(build(train).z)
    damage(train / "cache" / name, how)
    np.testing.assert_array_equal(build(train).z, whole)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{train / 'cache'}: the latent cache is damaged (") and line.endswith("building it again")


@pytest.mark.parametrize("stop", [0, 1, 4, 7, 9])
def test_a_stopped_build_leaves_the_old_cache_and_goes_on_without_encoding_finished_rows(train, stop):
    build(train, weights="old")
    before = contents(train / "cache")
    first, second = Encoder(stop=stop), Encoder()
    with pytest.raises(ZeroDivisionError):
        build(train, first)
    assert contents(train / "cache") == before
    build(train, second)
    assert first.seen + second.seen == 2 * COUNT
    build(train, cache="uninterrupted")
    assert contents(train / "cache") == contents(train / "uninterrupted")


def test_a_killed_process_loses_only_what_was_not_recorded_yet(train):
    """Half a row lies behind the last record: it is cut off, and the result is the uninterrupted one, byte for byte."""
    script = textwrap.dedent(f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        import data.latents
        from tests.data.test_latents import Encoder, build
        from pathlib import Path
        data.latents.FLUSH_SECONDS = 0
        class Killed(Encoder):
            def __call__(self, images):
                if self.seen >= 8:
                    for path in Path({str(train)!r}).glob("cache.building-*/*.npy"):
                        with open(path, "ab") as file:
                            file.write(b"half a row")
                    os._exit(9)
                return super().__call__(images)
        build(Path({str(train)!r}), Killed())
    """)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert not (train / "cache").exists()
    encode = Encoder()
    build(train, encode)
    assert encode.seen == 2
    build(train, cache="uninterrupted")
    assert contents(train / "cache") == contents(train / "uninterrupted")


def test_a_stopped_build_is_not_continued_for_other_weights_and_is_cleared_away(train):
    with pytest.raises(ZeroDivisionError):
        build(train, Encoder(stop=6), weights="a")
    encode = Encoder(scale=2)
    found = build(train, encode, weights="b")
    assert encode.seen == 2 * COUNT and siblings(train) == ["cache"]
    np.testing.assert_array_equal(found.z, 2 * build(train, cache="other").z)


def test_a_record_that_promises_more_rows_than_there_are_is_not_believed(train):
    with pytest.raises(ZeroDivisionError):
        build(train, Encoder(stop=8))
    (building,) = train.glob("cache.building-*")
    damage(building / "labels.npy", "short")
    encode = Encoder()
    build(train, encode)
    assert encode.seen == 2 * COUNT


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_stop_between_the_renames_is_repaired(train, monkeypatch, renames):
    build(train, weights="old")
    before, done, replace = contents(train / "cache"), [], os.replace

    def stopped(source, target):
        if Path(target).name in ("cache", "cache.old"):
            if len(done) == renames:
                raise KeyboardInterrupt
            done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    if renames == 2:                                                   # both renamed, the old one not yet removed
        monkeypatch.setattr(data.latents.shutil, "rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(train)
    monkeypatch.undo()
    encode = Encoder()
    if renames < 2:                                                    # the old one can still be had ...
        found = build(train, Encoder(stop=0), weights="old")
        assert contents(train / "cache") == before and found.meta["weights"] == "old"
    found = build(train, encode)                                       # ... and the new one
    assert encode.seen in (0, 2 * COUNT) and found.meta["weights"] == "w" and siblings(train) == ["cache"]


def test_a_finished_build_that_was_not_renamed_yet_is_taken_as_it_is(train, monkeypatch):
    monkeypatch.setattr(data.latents, "_replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(train)
    monkeypatch.undo()
    assert len(build(train, Encoder(stop=0))) == 2 * COUNT


def test_a_folder_with_other_files_is_never_replaced(train):
    (train / "cache").mkdir()
    (train / "cache" / "my photos").mkdir()
    with pytest.raises(UserError, match="cache: found my photos, which belong to no latent cache, expected an empty"):
        build(train)
    assert siblings(train) == ["cache"] and (train / "cache" / "my photos").is_dir()
    (train / "file").write_text("x")
    with pytest.raises(UserError, match="file: found a file, expected a folder"):
        build(train, cache="file")


def test_a_disk_that_is_too_small_is_reported_before_anything_is_written(train, monkeypatch):
    monkeypatch.setattr(data.latents.shutil, "disk_usage", lambda _: type("Usage", (), dict(free=1000)))
    with pytest.raises(UserError, match=r"found 0.00 GB free on the disk, expected 0.00 GB for the latent cache"):
        build(train)
    assert not list(train.glob("cache.building-*/*.npy"))


@pytest.mark.parametrize(
    "answer, error, words",
    [
        (np.full((4, 3, 6, 8), np.nan, np.float32), RunError, "not finite"),
        (np.zeros((4, 3, 8, 6), np.float32), ValueError, "expected"),
        (np.zeros((4, 3, 6, 8)), ValueError, "float64"),
    ],
)
def test_latents_that_are_not_finite_or_misshapen_are_refused(train, answer, error, words):
    with pytest.raises(error, match=words):
        build(train, lambda images: answer)
    assert not (train / "cache").exists()


def test_wrong_inputs_are_named(train):
    with pytest.raises(UserError, match="found images of 32x24, expected multiples of 5"):
        build_or_open(
            find_train(train), DataConfig(height=H, width=W), 5, Encoder(), "w", train / "cache", progress=False
        )
    with pytest.raises(UserError, match="found no pairs"):
        build_or_open([], DataConfig(height=H, width=W), FACTOR, Encoder(), "w", train / "cache")
    with pytest.raises(UserError, match="found no whole latent cache"):
        open_latents(train / "nowhere")
    pairs = find_train(train)
    (train / "imgs" / "s3.png").unlink()
    with pytest.raises(UserError, match="s3.png: found no readable file"):
        build_or_open(pairs, DataConfig(height=H, width=W), FACTOR, Encoder(), "w", train / "cache", progress=False)


def test_the_meta_file_tells_what_the_rows_were_made_from(train):
    meta = json.loads((train / "cache" / "meta.json").read_text()) if build(train, exclude=["s0"]) is not None else None
    assert (meta["height"], meta["width"], meta["factor"], meta["flip"], meta["exclude"]) == (
        H,
        W,
        FACTOR,
        True,
        ["s0"],
    )
    assert meta["weights"] == "w" and meta["shape"] == [2 * COUNT - 2, 3, 6, 8] and len(meta["fingerprint"]) == 64
