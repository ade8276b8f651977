"""The attempts that need no process of their own, family by family. Each yields Attempt."""
import dataclasses
import json
import math
import os
import shutil
import typing
from pathlib import Path

import numpy as np

import ensemble
import evaluate
import test as sampling
import train
from configs import schema
from models.weights import convert
from tests.torture import hostile
from tests.torture.attempts import Attempt, folder_of, script


class Bench:
    """Data, networks and a whole results folder that all attempts share, and a scratch folder for each of them."""

    def __init__(self, root):
        from configs.reading import config_dict
        from configs.schema import Config, RoundConfig, SamplingConfig
        from data.synthetic import write_dataset
        from models.layers import parameters_of
        from models.weights.checkpoint import Header, weights_hash, write_checkpoint
        from tests.helpers import TINY_AUTOENCODER, TINY_UNET, tiny_autoencoder, tiny_unet
        self.root, self.count = Path(root), 0
        self.data, self.weights = self.root / "data", folder_of(root, "weights")
        write_dataset(self.data, train=6, test=4, width=64, height=48, seed=3, progress=False)
        config = Config(autoencoder=TINY_AUTOENCODER, unet=TINY_UNET, sampling=SamplingConfig(
            rounds=[RoundConfig(t_start=20, steps=2, guidance=2.0)], batch_size=1))
        config.data.height, config.data.width = 48, 64
        config.autoencoder.path = str(self.weights / "autoencoder.safetensors")
        autoencoder = tiny_autoencoder()
        write_checkpoint(config.autoencoder.path, parameters_of(autoencoder), Header("autoencoder", config_dict(config)))
        self.unet, self.other = self.weights / "unet.safetensors", self.weights / "other.safetensors"
        for name in ("unet", "other"):
            write_checkpoint(self.weights / f"{name}.safetensors", parameters_of(tiny_unet()),
                             Header("unet", config_dict(config), step=7, metrics={"val_loss": 0.5},
                                    extra={"autoencoder": weights_hash(autoencoder)}))

    def scratch(self):
        """A new empty folder."""
        self.count += 1
        return folder_of(self.root, "scratch", f"{self.count:05d}")

    def copy(self, part="test"):
        """A copy of the training or the test data, to spoil."""
        target = self.scratch() / part
        shutil.copytree(self.data / part, target)
        return target

    def test(self, output, *more, input_path=None, img_path=None):
        """test.py's command line."""
        return ["--input_path", input_path or self.data / "test", "--img_path", img_path or self.data / "train",
                "--output_path", output, "--checkpoint", self.unet, "--limit", 2, *more]

    def train(self, folder, *more, input_path=None):
        """train.py's command line; no attempt comes as far as a step."""
        return ["--config", "mini", "--input_path", input_path or self.data / "train", "--stage", "segmenter", "--set",
                f"train.run={folder}/run", "--set", f"data.cache={folder}/latents", "--set", "data.height=48", "--set",
                "data.width=64", *more]

    def one_step(self):
        """A whole training, of one step."""
        return script(train.main, *self.train(self.scratch(), "--set", "train.segmenter.steps=1", "--set",
                                              "train.segmenter.batch_size=1", "--set", "train.segmenter.crop=0"))

    @property
    def kept(self):
        """What no attempt may change."""
        return self.data, self.weights


def controls(bench):
    """What is right and has to work: else the refusals below would mean nothing."""
    images = bench.scratch() / "gen"
    shutil.copytree(bench.data / "test_images", images)
    yield Attempt("controls", "test.py", script(sampling.main, *bench.test(bench.scratch() / "r")), (0,), kept=bench.kept,
                  paints=True)
    yield Attempt("controls", "evaluate.py", script(evaluate.main, "--gen", images, "--input_path", bench.data / "test",
                  "--img_path", bench.data / "train", "--json", bench.scratch() / "s.json"), (0,), kept=bench.kept)
    yield Attempt("controls", "ensemble.py", script(ensemble.main, bench.unet, bench.other, "--output",
                  bench.scratch() / "e.safetensors"), (0,), kept=bench.kept)
    yield Attempt("controls", "models.convert", script(convert.main, bench.unet, bench.scratch() / "c.safetensors"), (0,))
    yield Attempt("controls", "train.py", bench.one_step(), (0,), kept=bench.kept, paints=True)


def pictures(bench):
    """Files that are no pictures, in every place where a picture is read."""
    bad, masks = hostile.bad_pictures(), hostile.bad_masks()
    mask, photo = "val_labels_resized/test_00000.png", "imgs/train_00000.jpg"

    def spoiled(part, name, data):
        folder = bench.copy(part)
        (folder / name).write_bytes(data)
        return folder

    for what, data in {**bad, **masks}.items():
        folder = spoiled("test", mask, data)
        yield Attempt("pictures", f"mask: {what}", script(sampling.main, *bench.test(bench.scratch() / "r", input_path=folder)),
                      kept=bench.kept)
        yield Attempt("pictures", f"mask in evaluate.py: {what}", script(evaluate.main, "--gen", bench.data / "train/imgs",
                      "--input_path", folder, "--json", bench.scratch() / "s.json"), kept=bench.kept)
        folder = spoiled("train", "labels/train_00000.png", data)
        yield Attempt("pictures", f"label: {what}", script(train.main, *bench.train(bench.scratch(), input_path=folder)))
    for what, data in bad.items():
        folder = spoiled("train", photo, data)
        yield Attempt("pictures", f"photo: {what}", script(train.main, *bench.train(bench.scratch(), input_path=folder)))
        for i in range(1, 6):
            (folder / f"imgs/train_{i:05d}.jpg").write_bytes(data)
        yield Attempt("pictures", f"reference: {what}", script(sampling.main, *bench.test(
            bench.scratch() / "r", img_path=folder)))
    for what, make in (("pipe", os.mkfifo), ("folder", os.mkdir), ("link to nothing", lambda path: os.symlink("none", path)),
                       ("link to itself", hostile.link_loop), ("device", lambda path: os.symlink("/dev/zero", path))):
        for part, name, run in (("test", mask, lambda folder: script(sampling.main, *bench.test(
                                    bench.scratch() / "r", input_path=folder))),
                                ("train", photo, lambda folder: script(train.main, *bench.train(
                                    bench.scratch(), input_path=folder)))):
            folder = bench.copy(part)
            (folder / name).unlink()
            make(folder / name)
            yield Attempt("pictures", f"{what} as {name}", run(folder))


def tables(bench):
    """label_to_img.json that is none; configs that are none."""
    for what, data in hostile.bad_tables().items():
        folder = bench.copy()
        (folder / "label_to_img.json").write_bytes(data)
        yield Attempt("tables", what, script(sampling.main, *bench.test(bench.scratch() / "r", input_path=folder)))
        yield Attempt("tables", f"{what}, evaluate.py", script(evaluate.main, "--gen", bench.data / "train/imgs",
                      "--input_path", folder, "--json", bench.scratch() / "s.json"))
    for what, text in hostile.bad_yaml().items():
        path = bench.scratch() / "a.yaml"
        path.write_text(text)
        for name, main, line in (("train.py", train.main, ["--config", path, "--input_path", bench.data / "train"]),
                                 ("test.py", sampling.main, bench.test(bench.scratch() / "r", "--config", path))):
            allowed = (0, 2) if what == "none" else (2,)
            if what != "none":
                yield Attempt("tables", f"yaml: {what}, {name}", script(main, *line), allowed)


def options(bench):
    """Every number of every section beyond its range, and texts where numbers are expected."""
    def walk(kind, prefix):
        hints = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            hint = hints[item.name]
            if dataclasses.is_dataclass(hint):
                yield from walk(hint, f"{prefix}{item.name}.")
            elif hint in (int, float, list[int], list[float]):
                yield f"{prefix}{item.name}", hint, item.metadata["range"], (item.metadata.get("length") or (0, 0))[0]
    for name, hint, (low, high), least in walk(schema.Config, ""):
        whole, many = hint in (int, list[int]), typing.get_origin(hint) is list
        values = [low - 1, high + 1, "''", "a", "{}", "true", "1e400"] + ([-10 ** 30, 10 ** 30] if whole else [
            ".nan", ".inf", "-.inf", "1.0e+308"])
        for value in values + [[]] * (many and least > 0):
            text = f"{name}=[{value}]" if many and value != [] else f"{name}={value}"
            yield Attempt("options", text[:60], script(train.main, *bench.train(bench.scratch(), "--set", text)),
                          words=name.split(".")[-1])
    for text in ("guidance: .nan", "guidance: .inf", "guidance: 1.0e+308", "guidance: 0", "steps: 0", "steps: 100000000000",
                 "t_start: -1", "eta: .nan", "guidance_rescale: .nan", "guidance_interval: [.nan, 3]", "t_noise: -5",
                 "timesteps: [.nan]", "sampler: x", "spacing: x"):
        yield Attempt("options", f"rounds: {text}", script(sampling.main, *bench.test(
            bench.scratch() / "r", "--set", f"sampling.rounds=[{{{text}}}]")))
    for words in (["--rounds", 0], ["--limit", -1], ["--candidates", 0], ["--candidates", 10 ** 9], ["--seed", -1],
                  ["--batch_size", 0], ["--batch_size", 10 ** 9], ["--set", "x"], ["--set", "unet.channels=1"], ["--set", "="],
                  ["--set", "sampling.seed=[" * 50], ["--seed", "x"], ["--select", "m", "--candidates", 2], ["--nothing"]):
        yield Attempt("options", " ".join(map(str, words))[:50], script(sampling.main, *bench.test(
            bench.scratch() / "r", *words)))


def checkpoints(bench):
    """Checkpoints of ours that somebody changed, in every script that reads one."""
    data, harmless = bench.unet.read_bytes(), ("parents", "metrics", "step")
    for what, spoiled in hostile.tampered_checkpoints(data).items():
        path = bench.scratch() / "a.safetensors"
        path.write_bytes(spoiled)
        # Bytes of a name or of a number may change and still say something.
        free = what.startswith(("header bytes", *harmless)) or what in (
            "extra = '{}'", "config = '{}'", "extra = '{\"unet\": 3}'")
        expected = (0, 1, 2) if free else (2,)
        yield Attempt("checkpoints", f"test.py: {what}", script(sampling.main, *bench.test(
            path.parent / "r", "--checkpoint", path)), expected, kept=bench.kept, paints=0 in expected)
        if "unet." in what or "data." in what or "diffusion." in what or "sampling." in what or "autoencoder." in what:
            continue
        free = free or what.startswith(("config", "extra"))
        yield Attempt("checkpoints", f"ensemble.py: {what}", script(ensemble.main, bench.unet, path, "--output",
                      path.parent / "e.safetensors"), (0, 2) if free else (2,), kept=bench.kept)
        yield Attempt("checkpoints", f"models.convert: {what}", script(convert.main, path, path.parent / "c.safetensors"),
                      (0, 2), kept=bench.kept)
    for ratios in (["inf", 1], ["nan", 1], [1e308, 1e308], [0, 1], [-1, 1], [1], [1, 1, 1], ["x", 1]):
        yield Attempt("checkpoints", f"--ratios {ratios}", script(ensemble.main, bench.unet, bench.other, "--output",
                      bench.scratch() / "e.safetensors", "--ratios", *ratios), kept=bench.kept)
    for path in (bench.unet, bench.weights / "../weights/unet.safetensors"):
        yield Attempt("checkpoints", f"over itself: {path.name}", script(convert.main, bench.unet, path), kept=bench.kept)
        yield Attempt("checkpoints", f"ensemble over itself: {path.name}", script(
            ensemble.main, bench.unet, bench.other, "--output", path), kept=bench.kept)
    for top in (-1, 0, 1, 10 ** 9):
        yield Attempt("checkpoints", f"--top {top}", script(ensemble.main, "--run", bench.scratch(), "--top", top))


def names(bench):
    """Names of files and paths that nobody types."""
    bad = [b"a\xff.png", b"a\nb.png", b"a\x1b[2Jb.png", b"a\rb.png", b"a\\b.png", b"a" * 240 + b".png", b"\xe2\x80\xae.png",
           "é".encode() * 120 + b".png", b"a\x7f.png", b"a\tb.png"]
    for name in bad:
        folder = bench.copy()
        labels = os.fsencode(folder / "val_labels_resized")
        os.rename(labels + b"/test_00000.png", labels + b"/" + name)
        yield Attempt("names", f"mask {name[:20]!r}", script(sampling.main, *bench.test(
            bench.scratch() / "r", input_path=folder)), words="found a name")
        folder = bench.copy("train")
        os.rename(os.fsencode(folder / "imgs/train_00000.jpg"), os.fsencode(folder / "imgs") + b"/" + name[:-4] + b".jpg")
        yield Attempt("names", f"photo {name[:20]!r}", script(train.main, *bench.train(bench.scratch(), input_path=folder)))
    for path in ("x" * 5000, "/" + "x/" * 2500, "none", "\x1b[2J", "a\nb", "/dev/null", "/dev/null/x", "/proc/1/mem", ""):
        for main, line in ((sampling.main, bench.test(bench.scratch() / "r", input_path=path)),
                           (sampling.main, bench.test(bench.scratch() / "r", img_path=path)),
                           (sampling.main, bench.test(bench.scratch() / "r", "--checkpoint", path)),
                           (sampling.main, bench.test(bench.scratch() / "r", "--autoencoder", path)),
                           (sampling.main, bench.test(bench.scratch() / "r", "--config", path)),
                           (train.main, bench.train(bench.scratch(), input_path=path)),
                           (train.main, ["--config", path, "--input_path", bench.data / "train"]),
                           (convert.main, [path, bench.scratch() / "c.safetensors"]),
                           (ensemble.main, [bench.unet, path, "--output", bench.scratch() / "e.safetensors"]),
                           (evaluate.main, ["--gen", path, "--input_path", bench.data / "test"])):
            if not path and (line[0] == "--config" or "--checkpoint" in line[-2:] or "--config" in line[-2:]
                             or (main is sampling.main and line[1] != "" and line[3] != "")):
                continue
            yield Attempt("names", f"path {path[:12]!r} for {line[0]} {str(line[-2])[:20]}", script(main, *line), (1, 2),
                          kept=bench.kept)


def outputs(bench):
    """Places where nothing can be written, and places where something of the user's lies."""
    def places(folder):
        (folder / "file").write_text("mine")
        (folder / "dangling").symlink_to(folder / "none/none")
        hostile.link_loop(folder / "loop")
        return ["file", "file/inside", "loop", "loop/inside", "/dev/null", "/dev/null/x", "/proc/nothing", "/dev/full/x",
                "x" * 300]
    for place in places(bench.scratch()):
        folder = bench.scratch()
        places(folder)
        at = folder / place
        for name, run in (("test.py", script(sampling.main, *bench.test(at))),
                          ("train.run", script(train.main, *bench.train(folder, "--set", f"train.run={at}"))),
                          ("data.cache", script(train.main, *bench.train(folder, "--stage", "unet", "--set",
                                                                         f"data.cache={at}/x/x"))),
                          ("ensemble.py", script(ensemble.main, bench.unet, bench.other, "--output",
                                                 at / "e.safetensors")),
                          ("convert", script(convert.main, bench.unet, at / "c.safetensors")),
                          ("evaluate.py", script(evaluate.main, "--gen", bench.data / "train/imgs", "--input_path",
                                                 bench.data / "test", "--json", at / "s.json"))):
            yield Attempt("outputs", f"{name} to {place[:20]}", run, (1, 2), kept=(*bench.kept, folder))
    folder = bench.scratch()
    for name in ("c.safetensors", "e.safetensors"):
        (folder / name).mkdir()
    yield Attempt("outputs", "a folder where a file goes", script(convert.main, bench.unet, folder / "c.safetensors"), (1, 2))
    for overwrite in ([], ["--overwrite"]):
        for what in ("photos", "documents", "another manifest", "references", "masks", "link to the references",
                     "training data"):
            mine = bench.scratch() / "mine"
            if what in ("references", "link to the references"):
                output = bench.data / "train/imgs"
                if "link" in what:
                    mine.symlink_to(output)
                    output = mine
            elif what == "masks":
                output = bench.data / "test/val_labels_resized"
            elif what == "training data":
                output = bench.data / "train"
            else:
                output = folder_of(mine)
                files = {"photos": ("a.jpg", "test_00000.jpg"), "documents": ("a.txt",)}
                for file in files.get(what, ("manifest.json", "a.jpg")):
                    (output / file).write_bytes(b"{}" if file.endswith("json") else b"mine")
            yield Attempt("outputs", f"{what} {' '.join(overwrite)}", script(sampling.main, *bench.test(output, *overwrite)),
                          kept=(*bench.kept, output))


def evaluations(bench):
    """evaluate.py's doors."""
    images = bench.scratch() / "gen"
    shutil.copytree(bench.data / "test_images", images)
    good = ["--gen", images, "--input_path", bench.data / "test", "--img_path", bench.data / "train"]
    statistics = {"n inf": dict(n=np.inf), "n nan": dict(n=np.nan), "negative": dict(sigma=-np.eye(2)), "width": {},
                  "nan": dict(mu=np.array([0, np.nan])), "shape": dict(sigma=np.eye(3)), "text": dict(mu=np.array(["a", "b"])),
                  "object": dict(mu=np.array([{}], object)), "deep": dict(made_with="[" * 9999)}
    from evaluation.measure import Features
    for what, values in statistics.items():
        path = bench.scratch() / "a.npz"
        np.savez(path, **{"mu": np.zeros(2), "sigma": np.eye(2), "n": 5, **values})
        yield Attempt("evaluations", f"--fid_stats: {what}", script(lambda argv: Features.load(argv[0], {}), path))
        yield Attempt("evaluations", f"--fid_stats alone: {what}", script(evaluate.main, *good, "--fid_stats", path))
    lines = [["--size", size] for size in ("0x0", "x", "1e9x1", "99999x99999", "-4x3", "512", "³x3", "4x3x2", "64x48x")]
    lines += [["--batch_size", size] for size in (0, -1, 10 ** 9)]
    lines += [["--gen", f"{name}={images}"] for name in ("training", "Training", "a" * 200, "a\nb", "gen", "\x1b[2J")]
    lines += [["--segformer", bench.unet], ["--segmenter", bench.unet], ["--nima", bench.unet], ["--inception", bench.unet],
              ["--save_stats"], ["--kid"], ["--json", "."], ["--json", "/dev/null/x"], ["--per_image", bench.data],
              ["--hist", "x"]]
    for line in lines:
        extra = [] if "--json" in line else ["--json", bench.scratch() / "s.json"]
        yield Attempt("evaluations", " ".join(map(str, line))[:40], script(evaluate.main, *good, *line, *extra), (1, 2),
                      kept=(*bench.kept, images))
    for what, data in hostile.bad_pictures().items():
        spoiled = bench.scratch() / "gen"
        shutil.copytree(images, spoiled)
        (spoiled / "test_00000.jpg").write_bytes(data)
        yield Attempt("evaluations", f"an image: {what}", script(evaluate.main, "--gen", spoiled, *good[2:], "--json",
                      bench.scratch() / "s.json"), kept=(*bench.kept, spoiled))
    inside = bench.scratch() / "gen"
    shutil.copytree(images, inside)
    for time in ("first", "second", "third"):
        yield Attempt("evaluations", f"its JSON beside the images, the {time} time", script(
            evaluate.main, "--gen", inside, *good[2:], "--json", inside / "s.json"), (0,), kept=(*bench.kept, images))


def manifests(bench):
    """A results folder whose manifest somebody changed."""
    values = [None, [], {}, 3, math.inf, {"settings": 1, "inputs": {}}, {"settings": {}, "inputs": []},
              {"settings": {"sampling": 3}, "inputs": {}}, {"settings": {}, "inputs": {"../x.png": "1"}},
              {"settings": {"sampling": {"rounds": 3}}, "inputs": {}}]
    for value in values:
        for overwrite in ([], ["--overwrite"]):
            folder = folder_of(bench.scratch(), "r")
            (folder / "manifest.json").write_text(json.dumps(value))
            (folder.parent / "x.jpg").write_text("mine")
            (folder / "mine.jpg").write_text("mine")
            # With --overwrite a manifest that is one is replaced, and what it does not list stays.
            yield Attempt("manifests", f"{json.dumps(value)[:40]} {' '.join(overwrite)}", script(
                sampling.main, *bench.test(folder, *overwrite)),
                (0, 2) if overwrite else (2,), kept=bench.kept, paints=bool(overwrite), after=lambda folder=folder: None if (
                    (folder / "mine.jpg").exists() and (folder.parent / "x.jpg").exists()) else "a file of the user's is gone")


FAMILIES = {"controls": controls, "pictures": pictures,
            "tables": tables, "options": options, "checkpoints": checkpoints, "names": names,
            "outputs": outputs, "evaluations": evaluations, "manifests": manifests}
