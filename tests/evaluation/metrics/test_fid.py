"""evaluation/metrics/fid.py: the distance by its formula, by reference libraries, batch by batch, and its files."""
import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.fid import Statistics, fid, frechet_distance
from runtime.errors import UserError
from tests.drawn import feature_sets

LIBRARIES = np.load(Path(__file__).parents[2] / "data" / "metrics" / "libraries.npz")


def statistics(features, batch=7):
    found = Statistics()
    for first in range(0, len(features), batch):
        found.update(features[first:first + batch])
    return found


@pytest.mark.parametrize("library", ["pytorch-fid", "torch-fidelity"])
@pytest.mark.parametrize("name", feature_sets())
def test_the_distance_is_that_of_the_library(name, library):
    a, b = feature_sets()[name]
    assert fid(statistics(a), statistics(b)) == pytest.approx(float(LIBRARIES[f"fid_{library}_{name}"]), rel=1e-6, abs=1e-9)


def test_the_distance_of_diagonal_covariances_is_known_exactly():
    # |(1, 2, 2)|^2 + (1 - 2)^2 + (2 - 1)^2 + (3 - 3)^2
    found = frechet_distance(np.zeros(3), np.diag([1, 4, 9]), np.array([1, 2, 2]), np.diag([4, 1, 9]))
    assert found == pytest.approx(11, rel=1e-12)


def test_the_distance_is_symmetric_blind_to_rotations_and_grows_by_a_shifts_square(rng):
    a, b = rng.normal(size=(50, 6)), rng.normal(size=(40, 6)) * [1, 2, 3, 1, 2, 3]
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    first, second = statistics(a), statistics(b)
    assert fid(first, second) == pytest.approx(fid(second, first), rel=1e-9)
    assert fid(statistics(a @ turn), statistics(b @ turn)) == pytest.approx(fid(first, second), rel=1e-9)
    assert fid(first, statistics(a + 3)) == pytest.approx(6 * 3 ** 2, rel=1e-9)


def test_the_distance_is_never_negative_and_0_for_the_same_set(rng):
    for n in (2, 5, 40):            # singular and not
        a = rng.normal(size=(n, 12))
        assert 0 <= fid(statistics(a), statistics(a[::-1])) < 1e-6


def test_flat_features_have_a_distance():
    still, other = np.full((4, 5), 2.0), np.full((3, 5), 4.0)
    assert fid(statistics(still), statistics(other)) == 5 * 2 ** 2


@pytest.mark.parametrize("batch", [1, 7, 30, 100])
def test_statistics_do_not_depend_on_the_batches(rng, batch):
    features = rng.normal(size=(30, 5)).astype(np.float32) + 1e4          # far from 0: a sum of squares would lose digits
    found = statistics(features, batch)
    assert found.count == 30 and found.covariance.dtype == np.float64
    np.testing.assert_allclose(found.mean, features.astype(float).mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(features.astype(float), rowvar=False), rtol=1e-9, atol=1e-9)


def test_an_empty_batch_changes_nothing(rng):
    features = rng.normal(size=(6, 3))
    found = statistics(features)
    found.update(np.zeros((0, 3)))
    assert found.count == 6
    np.testing.assert_allclose(found.covariance, np.cov(features, rowvar=False))


def test_parts_of_several_processes_add_up_to_the_whole(rng):
    features = rng.normal(size=(20, 4))
    whole, first = statistics(features), Statistics()
    for part in (features[:3], features[3:4], features[:0], features[4:]):
        first.merge(statistics(part))
    assert first.count == 20
    np.testing.assert_allclose(first.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(first.covariance, whole.covariance, rtol=1e-12)


def test_merging_leaves_the_other_as_it_was(rng):
    part, whole = statistics(rng.normal(size=(5, 3))), Statistics()
    before = part.covariance.copy()
    whole.merge(part)
    whole.update(rng.normal(size=(5, 3)))
    np.testing.assert_array_equal(part.covariance, before)


def test_memory_does_not_grow_with_the_number_of_images(rng):
    def peak(batches):
        found = Statistics()
        tracemalloc.start()
        for _ in range(batches):
            found.update(rng.normal(size=(16, 64)))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(200) < 1.2 * peak(4)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_images_are_an_error(rng, n):
    few, many = statistics(rng.normal(size=(n, 4))), statistics(rng.normal(size=(9, 4)))
    for pair in ((few, many), (many, few)):
        with pytest.raises(ValueError, match=f"found {n} images, expected at least 2"):
            fid(*pair)


def test_a_remark_says_that_few_images_bias_the_distance(rng):
    assert statistics(rng.normal(size=(5, 4))).remark() is None
    assert "FID from 4 images is biased upwards: 4 features" in statistics(rng.normal(size=(4, 4))).remark()


@pytest.mark.parametrize("bad, message", [
    (np.zeros(4), r"shape \(4,\), expected \(batch, width\)"), (np.zeros((2, 5)), "5 values each, expected 4"),
    (np.array([[0, 1, np.nan, 2]]), "not finite"), (np.array([[0, np.inf, 1, 2]]), "not finite")])
def test_a_bad_batch_is_an_error_and_changes_nothing(rng, bad, message):
    found = statistics(rng.normal(size=(6, 4)))
    before = found.covariance
    with pytest.raises(ValueError, match=message):
        found.update(bad)
    assert found.count == 6
    np.testing.assert_array_equal(found.covariance, before)


def test_what_is_no_pair_of_statistics_is_an_error():
    eye = np.eye(3)
    with pytest.raises(ValueError, match=r"expected two of \(D,\)"):
        frechet_distance(np.zeros(3), eye, np.zeros(4), np.eye(4))
    with pytest.raises(ValueError, match=r"expected two of \(D,\)"):
        frechet_distance(np.zeros(3), eye, np.zeros(3), np.ones((3, 1)))
    with pytest.raises(ValueError, match="negative eigenvalues"):
        frechet_distance(np.zeros(3), eye, np.zeros(3), np.diag([1, 1, -1]))


# ------------------------------------------------------------------------------------------------ files

def test_statistics_are_read_back_and_can_go_on(tmp_path, rng):
    features = rng.normal(size=(12, 4))
    kept = statistics(features[:8])
    kept.made_with = {"resize": "clean", "weights": "abc"}
    kept.save(tmp_path / "real.npz")
    found = Statistics.load(tmp_path / "real.npz")
    assert found.count == 8 and found.made_with == kept.made_with
    np.testing.assert_array_equal(found.mean, kept.mean)
    np.testing.assert_allclose(found.covariance, kept.covariance, rtol=1e-14)
    found.update(features[8:])
    np.testing.assert_allclose(found.covariance, np.cov(features, rowvar=False), rtol=1e-12)


def test_a_written_file_has_the_two_keys_that_pytorch_fid_reads(tmp_path, rng):
    features = rng.normal(size=(9, 4))
    statistics(features).save(tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as file:
        mu, sigma = file["mu"][:], file["sigma"][:]
    np.testing.assert_allclose(mu, features.mean(0))
    np.testing.assert_allclose(sigma, np.cov(features, rowvar=False))


def test_a_file_of_pytorch_fid_gives_the_distance_but_cannot_go_on(tmp_path, rng):
    a, b = rng.normal(size=(9, 4)), rng.normal(size=(7, 4)) + 1
    np.savez_compressed(tmp_path / "theirs.npz", mu=a.mean(0), sigma=np.cov(a, rowvar=False))
    theirs = Statistics.load(tmp_path / "theirs.npz")
    assert theirs.count is None and theirs.remark() is None and theirs.made_with == {}
    assert fid(theirs, statistics(b)) == pytest.approx(fid(statistics(a), statistics(b)), rel=1e-9)
    with pytest.raises(ValueError, match="number of images"):
        theirs.update(b)
    with pytest.raises(ValueError, match="number of images"):
        statistics(b).merge(theirs)


def test_no_file_is_left_of_statistics_that_do_not_exist(tmp_path):
    with pytest.raises(ValueError, match="at least 2"):
        Statistics().save(tmp_path / "none.npz")
    assert list(tmp_path.iterdir()) == []


EYE = np.eye(3)


@pytest.mark.parametrize("arrays, message", [
    ({"sigma": EYE}, "found no mu"), ({"a": EYE}, "found no mu and no sigma"),
    ({"mu": np.zeros(4), "sigma": EYE}, "symmetric"), ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "symmetric"),
    ({"mu": np.zeros((1, 3)), "sigma": EYE}, "1 dimensions"), ({"mu": np.array(["a", "b", "c"]), "sigma": EYE}, "found mu <U1"),
    ({"mu": np.zeros(3), "sigma": EYE * np.nan}, "finite"), ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "found mu"),
    ({"mu": np.array([None] * 3), "sigma": EYE}, "no whole .npz"),
    ({"mu": np.zeros(3), "sigma": EYE, "n": np.array("many")}, "unreadable n"),
    ({"mu": np.zeros(3), "sigma": EYE, "n": np.array(1)}, "of 1 images"),
    ({"mu": np.zeros(3), "sigma": EYE, "made_with": np.array("{")}, "made_with"),
    ({"mu": np.zeros(3), "sigma": EYE, "made_with": np.array("[1]")}, "made_with")])
def test_a_file_that_holds_no_statistics_is_an_error_of_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message) as error:
        Statistics.load(tmp_path / "bad.npz")
    (line,) = error.value.problems
    assert line.startswith(f"{tmp_path / 'bad.npz'}: ") and "\n" not in line


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut", "npy", "folder"])
def test_a_file_that_is_no_npz_is_an_error_of_one_line(tmp_path, rng, kind):
    path = tmp_path / "bad.npz"
    statistics(rng.normal(size=(60, 30))).save(path)
    whole = path.read_bytes()
    path.unlink()
    if kind == "npy":
        with open(path, "wb") as stream:
            np.save(stream, EYE)
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes({"empty": b"", "text": b"mu sigma\n", "cut": whole[:len(whole) // 2]}[kind])
    with pytest.raises(UserError, match="no such file" if kind == "missing" else "no whole .npz"):
        Statistics.load(path)


def test_a_damaged_array_inside_a_file_is_an_error(tmp_path, rng):
    path = tmp_path / "bad.npz"
    statistics(rng.normal(size=(60, 30))).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xff
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="no whole .npz"):
        Statistics.load(path)


def statistics_file(path, **values):
    """A file of statistics of two features, with some values replaced."""
    np.savez(path, **{"mu": np.zeros(2), "sigma": np.eye(2), "n": 5, **values})


@pytest.mark.parametrize("values, words", [
    ({"sigma": np.diag([1.0, -0.5])}, "the negative eigenvalue -0.5"), ({"n": np.inf}, "an unreadable n"),
    ({"n": np.nan}, "an unreadable n"), ({"n": 1e300}, "statistics of"), ({"n": -1}, "statistics of -1 images"),
    ({"n": 1}, "statistics of 1 images"), ({"n": np.array([1, 2])}, "an unreadable n"), ({"mu": np.array([0, np.nan])}, "mu"),
    ({"sigma": np.array([[1, np.inf], [np.inf, 1]])}, "sigma"), ({"made_with": "[" * 9999}, "made_with"),
    ({"made_with": "3"}, "made_with"), ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "mu"),
    ({"mu": np.array(["a", "b"])}, "mu")])
def test_statistics_of_no_sense_are_a_line_when_they_are_opened(values, words, tmp_path):
    statistics_file(tmp_path / "a.npz", **values)
    with pytest.raises(UserError, match=words) as caught:
        Statistics.load(tmp_path / "a.npz")
    assert len(caught.value.report()) == 1


def test_a_header_that_claims_more_than_there_is_takes_no_memory(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10 ** 6, 10 ** 6)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("mu.npy", header.getvalue())
        archive.writestr("sigma.npy", header.getvalue())
    with pytest.raises(UserError, match="mu has a header of 8,000,000,000,000 bytes"):
        Statistics.load(tmp_path / "a.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UserError, match="no ordinary file"):
        Statistics.load(tmp_path / "pipe.npz")
    for data in (b"", b"PK", b"PK\x05\x06" + b"\0" * 18, b"x" * 1000):
        (tmp_path / "b.npz").write_bytes(data)
        with pytest.raises(UserError):
            Statistics.load(tmp_path / "b.npz")
