"""evaluate.py as a user runs it: synthetic masks and images, fabricated networks."""
import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import evaluate as script
from configs.reading import config_dict
from configs.schema import Config
from data.landscape import read_image, read_labels
from data.synthetic import write_dataset
from evaluation import scorers
from evaluation.measure import Features, find_rows
from evaluation.metrics.style import style_similarity
from evaluation.metrics.total import total_score
from evaluation.networks.segmenter import build_segmenter
from evaluation.sheets import busiest
from models.layers import parameters_of
from models.weights.checkpoint import Header, write_checkpoint
from runtime.errors import UserError
from tests.evaluation.networks.test_nima import keras_tensors
from tests.helpers import ROOT, TINY_SEGMENTER, on_cpu
from tests.published import GOLDEN, drawn, needs_golden, weights

SCORES = ["M", "A", "FID", "S", "T"]
STEMS = [f"test_{i:05d}" for i in range(5)]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with data (5 masks, 6 training pairs, 64x48), images in two folders, and weights of four networks."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_dataset(folder / "data", train=6, test=5, width=64, height=48, seed=3, progress=False)
    for name, noise in (("first", 0), ("second", 40)):
        (folder / name).mkdir()
        for i, stem in enumerate(STEMS):
            image = read_image(folder / f"data/test_images/{stem}.jpg", 48, 64).astype(int)
            image += np.random.default_rng(i).integers(-noise, noise + 1, image.shape)
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name / f"{stem}.jpg", quality=95)
    (folder / "first/contact_sheet.png").write_bytes((folder / "data/test/val_labels_resized/test_00000.png").read_bytes())

    config = Config(segmenter=TINY_SEGMENTER)
    config.data.height, config.data.width = 48, 64
    write_checkpoint(folder / "own.safetensors", parameters_of(build_segmenter(TINY_SEGMENTER, seed=0)),
                     Header("segmenter", config_dict(config), step=7, metrics={"val_accuracy": 0.5}))
    segformer = weights("segformer_narrow_4")
    segformer["decode_head.classifier.weight"] = drawn("decode_head.classifier.weight", (29, 24, 1, 1))
    segformer["decode_head.classifier.bias"] = drawn("decode_head.classifier.bias", (29,))
    deeplab = weights("deeplab_narrow")
    deeplab["logits.weight"], deeplab["logits.bias"] = drawn("logits.weight", (151, 20, 1, 1)), drawn("logits.bias", (151,))
    deeplab["logits.bias"][3] = 1e6                          # it sees sky everywhere
    for name, tensors in (("segformer", segformer), ("deeplab", deeplab), ("nima", keras_tensors(1 / 4))):
        np.savez(folder / f"{name}.npz", **tensors)
    return folder


@pytest.fixture
def small_inception(monkeypatch):
    """An Inception of 12 features, the means of each third of an image, that any file gives."""
    def open_inception(path, mode):
        measure = lambda images: np.stack([[part.mean((0, 1)) for part in np.array_split(image.astype(np.float32), 4)]
                                           for image in images]).reshape(len(images), 12)
        return scorers.Scorer("--inception", path, "means", measure)
    monkeypatch.setattr(scorers, "open_inception", open_inception)
    monkeypatch.setattr("evaluation.measure.WIDTH", 12)


def measured(work, output, *more, gen=("first",)):
    """The JSON of evaluate.py for some of the folders."""
    given = [word for name in gen for word in ("--gen", str(name) if "=" in str(name) else str(work / name))]
    script.main([*given, "--input_path", str(work / "data/test"), "--json", str(output / "out/scores.json"), *map(str, more)])
    return json.loads((output / "out/scores.json").read_text())


def with_references(work):
    return "--img_path", work / "data/train"


# ------------------------------------------------------------------------------------------------ what is measured

@on_cpu
def test_without_weights_only_style_similarity_has_a_value_and_the_others_a_reason(work, tmp_path, capsys):
    found = measured(work, tmp_path, *with_references(work))
    table = json.loads((work / "data/test/label_to_img.json").read_text())
    expected = [style_similarity(read_image(work / f"first/{stem}.jpg", 48, 64),
                                 read_image(work / f"data/train/imgs/{table[f'{stem}.png']}", 48, 64)) for stem in STEMS]
    assert found["S"]["value"] == pytest.approx(100 * np.mean(expected)) and found["S"]["reason"] is None
    printed = capsys.readouterr().out
    for score, reason in (("M", "no SegFormer weights (--segformer FILE)"), ("A", "no NIMA weights (--nima FILE)"),
                          ("FID", "no Inception weights (--inception FILE)"),
                          ("T", "M is not measured, A is not measured, FID is not measured")):
        assert (found[score]["value"], found[score]["reason"]) == (None, reason)
        assert f"{score} not measured: {reason}" in printed


@on_cpu
def test_without_training_images_there_is_no_style_similarity_and_no_fid(work, tmp_path, small_inception):
    found = measured(work, tmp_path, "--inception", work / "nima.npz")
    assert found["S"]["reason"] == "no references (--img_path TRAIN)" and found["S"]["value"] is None
    assert found["FID"]["reason"] == "no training images (--img_path TRAIN), nor their statistics (--fid_stats FILE)"
    assert found["T"]["reason"].endswith("S is not measured") and found["n"] == 5


@pytest.mark.parametrize("file, name", [("own.safetensors", "own-segformer"), ("deeplab.npz", "deeplab-mnv2")])
@on_cpu
def test_a_stand_in_is_named_and_never_passes_for_the_score(file, name, work, tmp_path, small_inception, capsys):
    found = measured(work, tmp_path, *with_references(work), "--segmenter", work / file, "--nima", work / "nima.npz",
                     "--inception", work / "nima.npz")
    assert 0 < found[f"M({name})"]["value"] < 100 and found["M"]["value"] is None
    if name == "deeplab-mnv2":
        sky = [(read_labels(work / f"data/test/val_labels_resized/{stem}.png", 48, 64) == 1).mean() for stem in STEMS]
        assert found[f"M({name})"]["value"] == pytest.approx(100 * np.mean(sky))
    assert found["M"]["reason"] == f"no SegFormer weights (--segformer FILE); M({name}) is of a stand-in"
    assert found["T"] == {"value": None, "reason": f"M is by {name}"}
    printed = capsys.readouterr().out
    assert f"M({name})  M" not in printed and f"M  M({name})" in printed


@on_cpu
def test_the_segmentation_that_is_compared_is_the_networks_own(work, tmp_path):
    found = measured(work, tmp_path, "--segmenter", work / "own.safetensors", "--per_image", tmp_path / "images.csv")
    model = build_segmenter(TINY_SEGMENTER, seed=0)
    shares = [(model.predict([read_image(work / f"first/{stem}.jpg", 48, 64)], (48, 64))[0]
               == read_labels(work / f"data/test/val_labels_resized/{stem}.png", 48, 64)).mean() for stem in STEMS]
    assert found["M(own-segformer)"]["value"] == pytest.approx(100 * np.mean(shares))
    with open(tmp_path / "images.csv", newline="") as stream:
        assert [float(row["M(own-segformer)"]) for row in csv.DictReader(stream)] == pytest.approx(list(100 * np.array(shares)))


@on_cpu
def test_with_all_four_measured_there_is_a_total(work, tmp_path):
    inception = tmp_path / "inception.npz"
    np.savez(inception, **weights("inception"))
    found = measured(work, tmp_path, *with_references(work), "--segformer", work / "segformer.npz", "--segmenter",
                     work / "own.safetensors", "--nima", work / "nima.npz", "--inception", inception)
    values = [found[score]["value"] for score in SCORES]
    assert all(found[score]["reason"] is None for score in SCORES)
    assert values[4] == pytest.approx(total_score(*values[:4])) and 10 <= values[1] <= 100 and values[2] > 0
    assert found["FID"]["n_real"] == 6 and "biased" in found["FID"]["remark"]
    assert "M(own-segformer)" in found and found["instruments"]["M"]["class_map"]["rule"] == "same classes"


@on_cpu
def test_the_references_themselves_have_a_style_similarity_of_100(work, tmp_path):
    table = json.loads((work / "data/test/label_to_img.json").read_text())
    (tmp_path / "copies").mkdir()
    for name, reference in table.items():
        shutil.copy(work / "data/train/imgs" / reference, tmp_path / "copies" / name.replace(".png", ".jpg"))
    assert measured(tmp_path, tmp_path, *with_references(work), "--input_path", work / "data/test",
                    gen=["copies"])["S"]["value"] == pytest.approx(100)


# ------------------------------------------------------------------------------------------------ what is written

@on_cpu
def test_the_json_says_what_the_scores_were_made_with(work, tmp_path, small_inception):
    found = measured(work, tmp_path, *with_references(work), "--segmenter", work / "deeplab.npz", "--inception",
                     work / "nima.npz", "--hist", "hsv72", "--fid_resize", "clean", "--class_map", "lenient")
    assert found["rows"][0]["name"] == "first" and found["rows"][0]["n"] == found["n"] == found["masks"] == 5
    for score in SCORES:
        assert {"value", "reason"} <= set(found[score]) and found[score] == found["rows"][0][score]
    stand_in = found["instruments"]["M(deeplab-mnv2)"]
    assert len(stand_in["sha256"]) == 64 and stand_in["file"] == str(work / "deeplab.npz")
    assert stand_in["class_map"] == {"source": "ade20k+unlabelled", "rule": "lenient", "classes": 151, "mapped": 39}
    assert (found["histogram"], found["fid_resize"], found["class_map"]) == ("hsv72", "clean", "lenient")
    assert found["size"] == {"height": 48, "width": 64} and found["unit"] == "percent"
    assert found["fid_real"]["n"] == 6 and found["fid_real"]["resize"] == "clean"
    assert {"python", "jittor", "numpy", "pillow", "opencv", "device"} <= set(found["versions"])
    assert set(found["M(deeplab-mnv2)"]["classes"]["sky"]) == {"share", "accuracy", "iou"}


@on_cpu
def test_the_scores_of_the_images_add_up_to_the_rows(work, tmp_path):
    found = measured(work, tmp_path, *with_references(work), "--segmenter", work / "own.safetensors", "--nima",
                     work / "nima.npz", "--per_image", tmp_path / "images.csv", gen=["first", "second"])
    with open(tmp_path / "images.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["row"] for line in lines] == 5 * ["first"] + 5 * ["second"]
    for row in found["rows"]:
        for score in ("M(own-segformer)", "A", "S"):
            values = [float(line[score]) for line in lines if line["row"] == row["name"]]
            assert np.mean(values) == pytest.approx(row[score]["value"], abs=1e-9) and len(set(values)) > 1


@on_cpu
def test_the_scores_do_not_depend_on_the_batch_size(work, tmp_path, small_inception):
    options = [*with_references(work), "--segmenter", work / "own.safetensors", "--nima", work / "nima.npz", "--inception",
               work / "nima.npz", "--kid"]
    rows = [measured(work, tmp_path, *options, "--batch_size", size)["rows"][0] for size in (1, 3, 16)]
    for row in rows:
        row.pop("seconds")
    assert rows[0] == rows[1] == rows[2] and rows[0]["FID"]["KID"]["mean"] > 0


def test_features_in_any_batches_give_the_same_statistics(rng):
    features = rng.standard_normal((150, 4)).astype(np.float32)
    found = []
    for size in (1, 7, 150):
        gathered = Features()
        for i in range(0, 150, size):
            gathered.add(features[i:i + size])
        found.append(gathered.close().statistics)
    assert all(statistics.count == 150 for statistics in found)
    for statistics in found[1:]:
        np.testing.assert_array_equal(statistics.covariance, found[0].covariance)
    np.testing.assert_allclose(found[0].covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-12)


@on_cpu
def test_statistics_saved_and_read_back_give_a_distance_of_zero_to_the_same_images(work, tmp_path, small_inception):
    options = ["--inception", work / "nima.npz", "--save_stats"]
    whole = measured(work, tmp_path, *with_references(work), *options)["FID"]["value"]
    saved = {name: tmp_path / f"out/statistics-{name}.npz" for name in ("first", "training")}
    assert measured(work, tmp_path, *options, "--fid_stats", saved["first"])["FID"]["value"] == pytest.approx(0, abs=1e-6)
    assert measured(work, tmp_path, *options, "--fid_stats", saved["training"])["FID"]["value"] == pytest.approx(whole)
    assert whole > 1
    with pytest.raises(UserError, match="was made with resize pytorch, expected clean"):
        measured(work, tmp_path, *options, "--fid_stats", saved["training"], "--fid_resize", "clean")
    with pytest.raises(UserError, match="was made with network [0-9a-f]{64}, expected"):
        measured(work, tmp_path, "--inception", work / "deeplab.npz", "--fid_stats", saved["training"])


@on_cpu
def test_several_folders_have_a_row_each_and_lie_side_by_side(work, tmp_path, capsys):
    found = measured(work, tmp_path, *with_references(work), "--segmenter", work / "own.safetensors",
                     gen=["first", f"Noisy one={work / 'second'}"])
    assert [row["name"] for row in found["rows"]] == ["first", "Noisy one"] and "S" not in found
    assert found["rows"][0]["S"] != found["rows"][1]["S"]
    printed = capsys.readouterr().out
    assert all(any(line.startswith(name) for line in printed.splitlines()) for name in ("first", "Noisy one"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"scores.json", "side-by-side.png", "first-worst-S.png", "Noisy-one-worst-S.png",
                     "first-worst-M-own-segformer.png", "Noisy-one-worst-M-own-segformer.png"}
    with Image.open(tmp_path / "out/side-by-side.png") as picture:       # 5 masks, each with a row of close-ups
        assert picture.width > 4 * 64 and picture.height > 10 * 48
    with Image.open(tmp_path / "out/first-worst-S.png") as picture:
        assert picture.width > 4 * 64 and 5 * 48 < picture.height < 10 * 48


def test_the_close_up_is_where_the_images_differ_most():
    images = [np.full((48, 64, 3), 90, np.uint8) for _ in range(3)]
    images[1][30:40, 44:56] = 250
    top, left, height, width = busiest(images)
    assert (height, width) == (12, 16) and top <= 30 and top + height >= 40 and left <= 44 and left + width >= 56


# ------------------------------------------------------------------------------------------------ what is refused

@on_cpu
def test_everything_that_is_wrong_with_the_images_is_listed(work, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(work / name, tmp_path / name)
    (tmp_path / "first/test_00001.jpg").unlink()
    shutil.copy(tmp_path / "first/test_00000.jpg", tmp_path / "first/test_00009.jpg")
    Image.new("RGB", (48, 64)).save(tmp_path / "first/test_00002.jpg")
    broken = tmp_path / "second/test_00003.jpg"
    broken.write_bytes(broken.read_bytes()[:500])
    Image.new("RGB", (64, 48)).save(tmp_path / "second/test_00004.png")
    with pytest.raises(UserError) as caught:
        measured(tmp_path, tmp_path, "--input_path", work / "data/test", gen=["first"])
    lines = sorted(caught.value.problems)
    assert len(lines) == 3
    assert lines[0].startswith(f"{tmp_path}/first/test_00001.jpg: found no image of the mask test_00001.png")
    assert lines[1] == f"{tmp_path}/first/test_00002.jpg: found 48x64 pixels, expected 64x48"
    assert lines[2].startswith(f"{tmp_path}/first/test_00009.jpg: found an image of no mask")
    with pytest.raises(UserError) as caught:
        measured(tmp_path, tmp_path, "--input_path", work / "data/test", gen=["first", "second"])
    assert len(caught.value.problems) == 4 and "test_00004.png: found a second image of this stem" in caught.value.problems[3]
    (tmp_path / "second/test_00004.png").unlink()
    with pytest.raises(UserError) as caught:
        measured(tmp_path, tmp_path, "--input_path", work / "data/test", gen=["first", "second"])
    assert len(caught.value.problems) == 4
    assert caught.value.problems[3].startswith(f"{broken}: found a file that cannot be read")
    assert not list(tmp_path.glob("out/*"))


@on_cpu
def test_a_folder_with_half_of_the_images_is_refused_with_their_number(work, tmp_path):
    (tmp_path / "few").mkdir()
    table = {f"m{i}.png": "train_00000.jpg" for i in range(30)}
    (tmp_path / "T/labels").mkdir(parents=True)
    (tmp_path / "T/label_to_img.json").write_text(json.dumps(table))
    for name in table:
        Image.new("L", (64, 48)).save(tmp_path / "T/labels" / name)
    with pytest.raises(UserError) as caught:
        measured(tmp_path, tmp_path, *with_references(work), "--input_path", tmp_path / "T", gen=["few"])
    assert len(caught.value.problems) == 30 and caught.value.report()[-1] == "... 30 problems in all, the first 20 shown"


@on_cpu
def test_images_of_another_size_than_the_masks_need_to_be_told(work, tmp_path):
    (tmp_path / "large").mkdir()
    for stem in STEMS:
        Image.open(work / f"first/{stem}.jpg").resize((128, 96)).save(tmp_path / f"large/{stem}.jpg")
    with pytest.raises(UserError, match="found 128x96 pixels, expected 64x48"):
        measured(tmp_path, tmp_path, "--input_path", work / "data/test", gen=["large"])
    found = measured(tmp_path, tmp_path, "--input_path", work / "data/test", "--size", "128x96", "--segmenter",
                     work / "own.safetensors", gen=["large"])
    assert found["size"] == {"height": 96, "width": 128} and found["M(own-segformer)"]["value"] > 0


@pytest.mark.parametrize("option, file, message", [
    ("--segformer", "own.safetensors", "holds the weights of segmenter trained here.*--segmenter takes"),
    ("--segformer", "deeplab.npz", "holds a DeepLab.*--segmenter takes it, as a stand-in"),
    ("--segmenter", "segformer.npz", "holds a SegFormer as published.*--segformer takes it"),
    ("--segmenter", "nima.npz", "tensors of an unknown network"),
    ("--nima", "segformer.npz", "not Keras' MobileNet"),
    ("--inception", "nima.npz", "no tensor Conv2d_1a_3x3.conv.weight"),
    ("--segformer", "none.pth", "--segformer .*none.pth: no such file"),
    ("--batch_size", "0", "expected at least 1"),
    ("--size", "512", "expected WIDTHxHEIGHT"),
    ("--fid_stats", "nima.npz", "--fid_stats without --inception"),
    ("--size", "9999999x8", "expected WIDTHxHEIGHT"), ("--size", "0x8", "expected WIDTHxHEIGHT"),
    ("--size", "³x8", "expected WIDTHxHEIGHT"), ("--batch_size", "9999999", "expected at most 4096"),
    ("--json", ".", "found a folder"), ("--per_image", "/dev/null/x", "cannot be written to")])
@on_cpu
def test_a_wrong_option_is_refused(option, file, message, work, tmp_path):
    value = work / file if "." in file else file
    more = ["--save_stats"] if file == "nima.npz" and option == "--fid_stats" else []
    with pytest.raises(UserError, match=message):
        measured(work, tmp_path, *with_references(work), option, value, *more)


def test_rows_have_names_of_their_own(tmp_path):
    for name in ("a", "x=b", "c/a"):
        (tmp_path / name).mkdir(parents=True)
    assert find_rows([str(tmp_path / "a"), f"B={tmp_path}/a"]) == [("a", str(tmp_path / "a")), ("B", f"{tmp_path}/a")]
    assert find_rows([str(tmp_path / "x=b")])[0][0] == "x=b"
    with pytest.raises(UserError, match="found the name 'a' twice.*--gen NAME=DIR gives one"):
        find_rows([str(tmp_path / "a"), str(tmp_path / "c/a")])
    with pytest.raises(UserError, match="found no folder .*none"):
        find_rows([f"B={tmp_path}/none"])


def test_a_mistake_is_answered_in_one_line_with_status_2(work, tmp_path):
    done = subprocess.run([sys.executable, "evaluate.py", "--gen", str(tmp_path / "none"), "--input_path",
                           str(work / "data/test")], cwd=ROOT, capture_output=True, text=True, timeout=600,
                          env={**os.environ, "log_silent": "1"})
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith("error: --gen"), done.stderr


@needs_golden
@on_cpu
def test_the_real_stand_in_gives_the_mask_accuracy_that_its_rebuild_gave(tmp_path):
    expected = json.loads((GOLDEN / "mask_accuracy_real.json").read_text())["iidm_cases"]["513x513"][:3]
    cases, table = GOLDEN.parent / "iidm_cases", {}
    for folder in ("gen", "T/labels", "imgs"):
        (tmp_path / folder).mkdir(parents=True)
    for i in (1, 2, 3):
        shutil.copy(cases / f"case{i}_gen.jpg", tmp_path / f"gen/case{i}.jpg")
        shutil.copy(cases / f"case{i}_label.png", tmp_path / f"T/labels/case{i}.png")
        shutil.copy(cases / f"case{i}_ref.png", tmp_path / f"imgs/case{i}.png")
        table[f"case{i}.png"] = f"case{i}.png"
    (tmp_path / "T/label_to_img.json").write_text(json.dumps(table))
    found = measured(tmp_path, tmp_path, "--input_path", tmp_path / "T", "--img_path", tmp_path, "--segmenter",
                     GOLDEN.parent / "weights/ade20k_deeplabv3_mnv2/ade20k_deeplabv3_mnv2_f16.npz", gen=["gen"])
    assert found["M(deeplab-mnv2)"]["value"] == pytest.approx(100 * np.mean(expected), abs=0.1)
