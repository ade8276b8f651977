"""test.py as a user runs it: tiny networks with drawn weights, synthetic masks."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

import test as script
from configs.reading import config_dict
from configs.schema import Config, RoundConfig, SamplingConfig
from data.synthetic import write_dataset
from models.layers import parameters_of
from models.weights.checkpoint import Header, weights_hash, write_checkpoint
from runtime.errors import UserError
from sampling import merge
from tests.helpers import ROOT, TINY_AUTOENCODER, TINY_UNET, tiny_autoencoder, tiny_unet


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with data (23 masks of 64x48), an autoencoder and a U-Net checkpoint."""
    folder = tmp_path_factory.mktemp("sampling")
    write_dataset(folder / "data", train=4, test=23, width=64, height=48, seed=3, progress=False)
    config = Config(autoencoder=TINY_AUTOENCODER, unet=TINY_UNET, sampling=SamplingConfig(
        rounds=[RoundConfig(t_start=20, steps=2, guidance=2.0), RoundConfig(t_start=0, steps=1, guidance=1.0)]))
    config.data.height, config.data.width = 48, 64
    config.autoencoder.path = str(folder / "autoencoder.safetensors")
    autoencoder = tiny_autoencoder()
    write_checkpoint(config.autoencoder.path, parameters_of(autoencoder), Header("autoencoder", config_dict(config)))
    write_checkpoint(folder / "unet.safetensors", parameters_of(tiny_unet()),
                     Header("unet", config_dict(config), step=7, extra={"autoencoder": weights_hash(autoencoder)}))
    return folder


def arguments(work, output, *more):
    """test.py's command line."""
    return ["--input_path", str(work / "data/test"), "--img_path", str(work / "data/train"), "--output_path", str(output),
            "--checkpoint", str(work / "unet.safetensors"), *map(str, more)]


def pictures(folder):
    """{name: bytes} of the images in a results folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jpg"))}


@pytest.mark.parametrize("count", [3, 7, 23])
def test_every_mask_gives_one_image_whatever_their_number(count, work, tmp_path):
    script.main(arguments(work, tmp_path, "--limit", count, "--batch_size", 5, "--rounds", 1))
    found = pictures(tmp_path)
    assert list(found) == [f"test_{i:05d}.jpg" for i in range(count)]
    with zipfile.ZipFile(tmp_path / "result.zip") as stream:
        assert sorted(stream.namelist()) == sorted(found)
    assert all(Image.open(tmp_path / name).size == (64, 48) for name in found)
    assert Image.open(tmp_path / "contact_sheet.png").size[0] > 3 * 64


def test_images_do_not_depend_on_the_batch_size_nor_on_their_company(work, tmp_path):
    script.main(arguments(work, tmp_path / "one", "--limit", 6, "--batch_size", 1))
    script.main(arguments(work, tmp_path / "five", "--limit", 7, "--batch_size", 5))
    one, five = pictures(tmp_path / "one"), pictures(tmp_path / "five")
    assert len(one) == 6 and one.items() <= five.items()


def test_in_bfloat16_the_pictures_are_alike_whatever_the_batch_and_the_folder_says_so(work, tmp_path, capsys):
    for name, more in (("exact", ()), ("three", ("--set", "sampling.precision=bfloat16", "--batch_size", 3)),
                       ("one", ("--set", "sampling.precision=bfloat16", "--batch_size", 1))):
        script.main(arguments(work, tmp_path / name, "--limit", 3, "--rounds", 1, *more))
    assert " in bfloat16: " in capsys.readouterr().out
    assert pictures(tmp_path / "three") == pictures(tmp_path / "one")
    # The weights are drawn: where rounding finds another code of the drawn codebook, the pixel is quite another.
    images = lambda name: np.concatenate([np.asarray(Image.open(path), np.float64).reshape(-1)
                                          for path in sorted((tmp_path / name).glob("*.jpg"))])
    assert 0.85 < np.corrcoef(images("one"), images("exact"))[0, 1] < 0.9999
    manifest = lambda name: json.loads((tmp_path / name / "manifest.json").read_text())["settings"]
    assert manifest("one")["precision"] == "bfloat16" and manifest("exact")["precision"] == "float32"
    with pytest.raises(UserError, match='precision was "bfloat16", now "float32"'):
        script.main(arguments(work, tmp_path / "one", "--limit", 3, "--rounds", 1))


def test_images_follow_mask_reference_and_seed(work, tmp_path):
    script.main(arguments(work, tmp_path / "a", "--limit", 2))
    script.main(arguments(work, tmp_path / "b", "--limit", 2, "--seed", 1))
    a, b = pictures(tmp_path / "a"), pictures(tmp_path / "b")
    assert a.keys() == b.keys() and all(a[name] != b[name] for name in a) and len(set(a.values())) == 2


def test_a_killed_run_goes_on_to_the_same_images(work, tmp_path):
    script.main(arguments(work, tmp_path / "whole", "--batch_size", 5))
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "test.py", *arguments(work, killed, "--batch_size", 1)], cwd=ROOT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 600
    while len(list(killed.glob("[!.]*.jpg"))) < 4 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = {path: path.stat().st_mtime_ns for path in killed.glob("[!.]*.jpg")}
    assert 4 <= len(begun) < 23 and not (killed / "result.zip").exists()
    script.main(arguments(work, killed, "--batch_size", 5))
    assert pictures(killed) == pictures(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in begun.items()), "valid images were painted again"


def test_of_several_candidates_the_one_nearest_in_style_is_kept(work, tmp_path, capsys):
    script.main(arguments(work, tmp_path / "one", "--limit", 3, "--rounds", 1))
    script.main(arguments(work, tmp_path / "three", "--limit", 3, "--rounds", 1, "--candidates", 3))
    assert "best of 3 by S: +" in capsys.readouterr().out
    lines = (tmp_path / "three/candidates.csv").read_text().splitlines()[1:]
    one, three = pictures(tmp_path / "one"), pictures(tmp_path / "three")
    assert len(lines) == 3
    for line in lines:
        stem, kept, *scores = line.split(",")
        assert int(kept) == np.argmax(list(map(float, scores)))
        assert (kept == "0") == (one[f"{stem}.jpg"] == three[f"{stem}.jpg"])
    with pytest.raises(UserError, match="candidates was"):
        script.main(arguments(work, tmp_path / "three", "--limit", 3, "--rounds", 1))


def test_processes_share_the_masks_and_paint_the_same_images(work, tmp_path):
    script.main(arguments(work, tmp_path / "one", "--limit", 7, "--rounds", 1))
    several = tmp_path / "several"
    command = [sys.executable, "test.py", *arguments(work, several, "--limit", 7, "--rounds", 1, "--batch_size", 2)]
    running = [subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={**os.environ, "OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": "3"})
               for rank in range(3)]
    ended = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], ended
    assert sorted(int(out.split(" images in ")[0].split()[-1]) for out, _ in ended) == [2, 2, 3]
    assert pictures(several) == pictures(tmp_path / "one")
    assert (several / "result.zip").read_bytes() == (tmp_path / "one/result.zip").read_bytes()


def test_processes_may_not_overwrite_each_others_work(work, tmp_path, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="--overwrite with 2 processes"):
        script.main(arguments(work, tmp_path, "--overwrite"))


def test_the_autoencoder_takes_as_many_images_as_its_memory_holds():
    from configs.schema import AutoencoderConfig, DataConfig
    from sampling.networks import rows_at_once
    published = AutoencoderConfig(), DataConfig()
    assert [rows_at_once(*published, gigabytes) for gigabytes in (0, 0.6, 1.3, 2.0, 6.1)] == [1, 1, 2, 3, 10]


def test_colours_by_class_follow_the_references_own_mask_which_has_to_be_there(work, tmp_path):
    """The second round of the config starts at t = 0: what it is given shows in what it leaves."""
    shutil.copytree(work / "data", tmp_path / "data")
    by_class = [*arguments(tmp_path, tmp_path / "r", "--checkpoint", work / "unet.safetensors", "--limit", 2),
                "--set", "sampling.colour_transfer=class_cielab"]
    script.main(by_class)
    before = (tmp_path / "r" / "manifest.json").read_text()
    masks = sorted((tmp_path / "data/train/labels").iterdir())
    for path in masks:
        Image.fromarray(np.asarray(Image.open(path))[::-1]).save(path)
    with pytest.raises(UserError, match="its reference is not the one this folder was made with"):
        script.main(by_class)
    script.main([*by_class, "--overwrite"])
    assert (tmp_path / "r" / "manifest.json").read_text() != before
    for path in masks:
        path.unlink()
    with pytest.raises(UserError, match="labels.*no such file"):
        script.main(by_class)


def test_other_settings_in_the_same_folder_are_refused_unless_told_to_overwrite(work, tmp_path):
    script.main(arguments(work, tmp_path, "--limit", 1))
    before = pictures(tmp_path)
    with pytest.raises(UserError, match="sampling was"):
        script.main(arguments(work, tmp_path, "--limit", 1, "--seed", 5))
    assert pictures(tmp_path) == before
    script.main(arguments(work, tmp_path, "--limit", 1, "--seed", 5, "--overwrite"))
    assert pictures(tmp_path) != before


def test_a_config_beside_a_checkpoint_may_change_how_to_sample_and_nothing_else(work, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("sampling: {rounds: [{t_start: 0, steps: 1, guidance: 1.0}]}\noutput: {jpeg_quality: 60}")
    script.main(arguments(work, tmp_path / "r", "--limit", 1, "--config", config))
    settings = json.loads((tmp_path / "r/manifest.json").read_text())["settings"]
    assert settings["sampling"]["rounds"][0]["steps"] == 1 and settings["jpeg_quality"] == 60
    config.write_text("unet: {channels: 64}\nsampling: {rounds: [{t_start: 0, steps: 1, guidance: 1.0}]}")
    with pytest.raises(UserError, match="unet.channels is 64, the checkpoint has 32"):
        script.main(arguments(work, tmp_path / "s", "--config", config))


def wrong(work, tmp_path, kind):
    """A command line with one mistake in it, and the words of its answer."""
    if kind == "checkpoint":
        return [*arguments(work, tmp_path), "--checkpoint", "none.safetensors"], "none.safetensors: no such file"
    if kind == "autoencoder":
        return [*arguments(work, tmp_path), "--autoencoder", "none.safetensors"], "none.safetensors: no such file"
    if kind == "kind":
        return [*arguments(work, tmp_path), "--checkpoint", str(work / "autoencoder.safetensors")], "expected unet"
    if kind == "option":
        return [*arguments(work, tmp_path), "--set", "unet.channels=64"], "only sampling and output may change"
    if kind == "limit":
        return [*arguments(work, tmp_path), "--limit", "0"], "expected at least 1"
    if kind == "input":
        return ["--input_path", str(tmp_path / "none"), "--img_path", str(work / "data/train")], "none"
    return ["--input_path", str(work / "data/test"), "--img_path", str(tmp_path / "none")], "none"


@pytest.mark.parametrize("kind", ["checkpoint", "autoencoder", "kind", "option", "limit", "input", "img"])
def test_a_mistake_is_answered_in_one_line_with_status_2(kind, work, tmp_path):
    command, words = wrong(work, tmp_path, kind)
    done = subprocess.run([sys.executable, "test.py", *command], cwd=ROOT, capture_output=True, text=True, timeout=600)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith("error: ") and words in lines[0], done.stderr


def test_weights_of_another_autoencoder_are_refused(work, tmp_path):
    from models.autoencoder import build_autoencoder
    other = build_autoencoder(TINY_AUTOENCODER, seed=5)
    write_checkpoint(tmp_path / "other.safetensors", parameters_of(other),
                     Header("autoencoder", config_dict(Config(autoencoder=TINY_AUTOENCODER))))
    with pytest.raises(UserError, match="not the weights whose latents"):
        script.main(arguments(work, tmp_path / "r", "--autoencoder", tmp_path / "other.safetensors"))


def test_without_weights_it_says_where_they_come_from(tmp_path, monkeypatch):
    from sampling.networks import find_checkpoint
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="train.py makes them, --checkpoint names them"):
        find_checkpoint()


def test_bare_commands_take_the_released_weights_then_the_newest_ensemble_then_the_best(tmp_path, monkeypatch):
    from sampling.networks import find_checkpoint
    monkeypatch.chdir(tmp_path)

    def write(path, loss, age):
        write_checkpoint(path, {"a": np.zeros(1, np.float32)}, Header("unet", {}, metrics={"val_loss": loss}))
        os.utime(path, (age, age))

    for name, loss, age in (("old/checkpoints/unet-00000001", 0.1, 100), ("new/checkpoints/unet-00000001", 0.2, 300),
                            ("new/checkpoints/unet-00000002", 0.3, 400)):
        write(tmp_path / "runs" / f"{name}.safetensors", loss, age)
    assert find_checkpoint().name == "unet-00000001.safetensors" and "new" in str(find_checkpoint())
    write(tmp_path / "runs/new/checkpoints/ensemble.safetensors", 1, 350)
    assert find_checkpoint().name == "ensemble.safetensors"
    write(tmp_path / "checkpoints/iidm.safetensors", 1, 1)
    assert find_checkpoint().name == "iidm.safetensors"


@pytest.mark.parametrize("size, windows, says", [
    ("128x96", "auto", "at 128x96"), ("128x96", "always", "at 128x96 in 9 windows"),
    ("96x64", "auto", "at 96x64"), ("160x128", "auto", "at 160x128 in 12 windows")])
def test_larger_pictures_take_a_second_pass_whole_or_in_windows(size, windows, says, work, tmp_path, capsys):
    few = "--set", "sampling.large.round.steps=2", "--set", f"sampling.large.windows={windows}", "--rounds", 1
    script.main(arguments(work, tmp_path, "--limit", 1, "--size", size, *few))
    assert says in capsys.readouterr().out
    (image,) = tmp_path.glob("test_*.jpg")
    assert "{}x{}".format(*Image.open(image).size) == size
    with pytest.raises(UserError, match="sampling was .*, now "):       # a folder holds one size
        script.main(arguments(work, tmp_path, "--limit", 1, *few))


@pytest.mark.parametrize("size, line", [("100x96", "sampling.large: the size is 100x96, expected multiples of 32"),
                                        ("32x96", "expected at least the trained 64x48")])
def test_sizes_that_cannot_be_painted_are_refused(size, line, work, tmp_path):
    with pytest.raises(UserError, match=line):
        script.main(arguments(work, tmp_path, "--size", size))


def test_shards_paint_the_images_of_one_process_and_hold_one_run(work, tmp_path, capsys):
    script.main(arguments(work, tmp_path / "one", "--rounds", 1))
    few = "--rounds", 1, "--unit", 9, "--tar"
    script.main(arguments(work, tmp_path / "shards", "--shard", "1/2", *few))
    assert "all 3 units are done, 3 of them here" in capsys.readouterr().out
    merge.main([str(tmp_path / "shards"), "--zip"])
    with zipfile.ZipFile(tmp_path / "shards/result.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == pictures(tmp_path / "one")
    for more, line in ((("--rounds", 2, "--tar"), "sampling was"), (("--rounds", 1), "tar was true, now false"),
                       (("--rounds", 1, "--unit", 8, "--tar"), "--unit is 8, expected 9"),
                       ((*few, "--limit", 3), "--shard: goes with neither")):
        with pytest.raises(UserError, match=line):
            script.main(arguments(work, tmp_path / "shards", "--shard", "0/2", *more))
    with pytest.raises(UserError, match="holds .* and no plan/"):
        script.main(arguments(work, tmp_path / "one", "--shard", "0/2", "--rounds", 1))
