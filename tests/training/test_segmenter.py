"""The trainable SegFormer, what it may begin with, and train.py --stage segmenter as a user runs it."""
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from configs.reading import config_dict, section_from
from configs.schema import Config, ConfigError, StageConfig
from data.landscape import CLASSES
from data.synthetic import write_dataset
from evaluation.metrics.classes import ADE20K
from evaluation.networks.segformer import build_segformer
from evaluation.networks.segmenter import build_segmenter, enlarge, load_segmenter, normalised, published
from models.kernels.bilinear import resize
from models.layers import parameters_of
from models.weights.checkpoint import Header, read_header, write_checkpoint
from models.weights.formats import open_weight_file
from runtime.backend import jt
from runtime.errors import UserError
from runtime.log import RunLog
from tests.helpers import ROOT, TINY_SEGMENTER, on_cpu
from tests.published import batch, drawn, photo, weights
from training.cross_entropy import cross_entropy
from training.segmenter import BEYOND, augment, initial_model
from training.state import TrainingState

STEPS = 4


def logits_of(model, *images):
    return model(jt.array(normalised(batch(*images))))


@on_cpu
def test_enlarging_interpolates_as_the_kernel_does(rng):
    x = jt.array(rng.standard_normal((2, 3, 3, 5), dtype=np.float32))
    for size in ((12, 20), (7, 5), (3, 5), (2, 3)):
        np.testing.assert_allclose(enlarge(x, size).numpy(), resize(x, size).numpy(), atol=1e-6)


@on_cpu
def test_every_weight_has_a_gradient():
    model = build_segmenter(TINY_SEGMENTER, seed=0)
    parameters = parameters_of(model)
    labels = jt.array(np.random.default_rng(0).integers(0, 29, (2, 32, 48)).astype(np.int32))
    loss = cross_entropy(enlarge(logits_of(model, photo(32, 48, 0), photo(32, 48, 1)), (32, 48)), labels)["loss"].sum()
    gradients = jt.grad(loss, list(parameters.values()))
    # A bias of the keys moves all scores of a query alike, which a softmax does not see.
    silent = [name for name, g in zip(parameters, gradients)
              if not abs(g.numpy()).max() > 1e-7 and not name.endswith("key.bias")]
    # At this size the last stages have few pixels, of which attention may see one only.
    assert [name for name in silent if ".query." not in name and ".key." not in name] == []


@on_cpu
def test_it_learns_to_tell_two_colours_apart():
    model = build_segmenter(TINY_SEGMENTER, seed=0)
    image, labels = np.zeros((32, 48, 3), np.uint8), np.zeros((32, 48), np.int32)
    image[:, 20:], labels[:, 20:] = (220, 40, 30), 7
    state = TrainingState(parameters_of(model), StageConfig(ema=0.5))
    for _ in range(30):
        loss = cross_entropy(enlarge(logits_of(model, image), (32, 48)), jt.array(labels[None]))["loss"].sum()
        state.optimizer.step(loss, 5e-3)
    found, = model.predict([image], (32, 48))
    assert (found == labels).mean() > 0.95 and set(np.unique(found)) >= {0, 7}


@on_cpu
def test_labels_are_the_largest_logits_at_the_size_of_the_image():
    model = build_segmenter(TINY_SEGMENTER, seed=1)
    images = [photo(32, 48, 0), photo(45, 70, 1)]
    together = model.predict(images, (32, 48))
    assert [labels.shape for labels in together] == [(32, 48), (45, 70)] and together[0].dtype == np.int32
    expected = enlarge(logits_of(model, images[0]), (32, 48)).numpy()[0].argmax(0)
    assert (together[0] == expected).mean() > 0.999 and len(np.unique(expected)) > 1
    np.testing.assert_array_equal(model.predict(images[1:], (32, 48))[0], together[1])


@pytest.mark.parametrize("field, value, message", [
    ("widths", [16, 32, 64, 128], "multiples of 1, 2, 5 and 8"), ("depths", [1, 1, 1], "expected 4"),
    ("decoder", 0, "expected 1 to 8192"), ("scale", 0.5, "expected 1 to 8")])
def test_an_impossible_architecture_is_refused(field, value, message):
    with pytest.raises(ConfigError, match=f"segmenter.{field} (is|has) .*{message}"):
        section_from("segmenter", {field: value}, "a test")


# ------------------------------------------------------------------------------------------------ augmentation

def test_image_and_labels_are_cut_at_the_same_place(rng):
    ids = np.kron(rng.integers(0, 29, (3, 4)), np.ones((16, 16))).astype(np.uint8)       # 48 x 64, squares of one class
    image = np.repeat(8 * ids[..., None], 3, axis=2)
    sizes = set()
    for seed in range(40):
        part, labels = augment(image, ids, np.random.default_rng(seed), (32, 48), 2.0, flip=True)
        assert part.shape == (32, 48, 3) and labels.shape == (32, 48) and labels.dtype == np.int32
        outside = labels < 0
        assert (part[outside] == BEYOND).all()
        agree = abs(part[..., 0].astype(int) - 8 * labels)[~outside] <= 4
        assert agree.mean() > 0.75                                   # but for the edges of squares, which are blurred
        sizes.add(int(outside.sum()))
    assert 0 in sizes and len(sizes) > 5                             # some are larger than the part, some smaller


def test_without_scale_and_mirror_a_whole_image_stays_as_it_is():
    image, ids = photo(32, 48, 0), np.arange(32 * 48).reshape(32, 48) % 29
    part, labels = augment(image, ids.astype(np.uint8), np.random.default_rng(0), (32, 48), 1.0, flip=False)
    np.testing.assert_array_equal(part, image)
    np.testing.assert_array_equal(labels, ids)


# ------------------------------------------------------------------------------------------------ what it begins with

def saved(folder, tensors):
    path = folder / "theirs.safetensors"
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path


def ade20k(classes=150):
    """A narrow published SegFormer of so many classes."""
    tensors = weights("segformer_narrow_4")
    tensors["decode_head.classifier.weight"] = drawn("decode_head.classifier.weight", (classes, 24, 1, 1))
    tensors["decode_head.classifier.bias"] = drawn("decode_head.classifier.bias", (classes,))
    return tensors


def starting_with(path):
    config = Config()
    config.train.segmenter.init_from = str(path)
    model, notes = initial_model(config)
    return config, model, notes


@on_cpu
def test_it_begins_with_published_weights_and_the_rows_of_classes_of_the_same_name(tmp_path):
    path = saved(tmp_path, ade20k())
    config, model, notes = starting_with(path)
    assert config.segmenter.widths == [8, 16, 40, 64] and config.segmenter.depths == [1, 2, 1, 1] and "of its own" in notes[0]
    theirs = build_segformer(open_weight_file(path).tensors, "theirs")
    image = photo(45, 70, 3)
    ours, expected = logits_of(model, image).numpy(), theirs(jt.array(normalised(batch(image)))).numpy()
    for name in CLASSES[:-1]:
        np.testing.assert_allclose(ours[:, CLASSES.index(name)], expected[:, ADE20K.index(name)], atol=1e-4)
    # It can be trained: nothing of the file's network, which only runs forwards, is left in it.
    gradient = jt.grad(logits_of(model, image).sum(), parameters_of(model)["stage.0.patch.weight"])
    assert abs(gradient.numpy()).max() > 0


NVLABS = (("segformer.encoder.patch_embeddings.{i}.", "patch_embed{k}."), ("segformer.encoder.layer_norm.{i}.", "norm{k}."),
          ("segformer.encoder.block.{i}.", "block{k}."))


def encoder(style):
    """The tensors of an encoder trained on ImageNet, with its classifier of 1,000 classes."""
    theirs = {name: tensor for name, tensor in weights("segformer_narrow_4").items() if not name.startswith("decode_head")}
    if style == "hugging face":
        return {**theirs, "classifier.weight": np.zeros((1000, 64), np.float32), "classifier.bias": np.zeros(1000, np.float32)}
    if style == "bare":
        return {name.partition(".")[2]: tensor for name, tensor in theirs.items()}
    found = {"head.weight": np.zeros((1000, 64), np.float32), "head.bias": np.zeros(1000, np.float32)}
    for name, tensor in theirs.items():
        for i in range(4):
            for old, new in NVLABS:
                name = name.replace(old.format(i=i), new.format(k=i + 1))
        if "self.value" in name:
            continue
        if "self.key" in name:
            other = [t for n, t in theirs.items() if n.endswith(name.partition(".")[2].replace("key", "value"))
                     and n.split(".block.")[-1][0] == str(int(name[5]) - 1)]
            tensor, name = np.concatenate([tensor, other[0]]), name.replace("attention.self.key", "attn.kv")
        for old, new in (("layer_norm_1", "norm1"), ("layer_norm_2", "norm2"), ("attention.self.query", "attn.q"),
                         ("attention.self.sr", "attn.sr"), ("attention.self.layer_norm", "attn.norm"),
                         ("attention.output.dense", "attn.proj"), ("mlp.dense1", "mlp.fc1"), ("mlp.dense2", "mlp.fc2"),
                         (".layer_norm.", ".norm.")):
            name = name.replace(old, new)
        found[name] = tensor
    return found


@pytest.mark.parametrize("style", ["hugging face", "bare", "nvlabs"])
@on_cpu
def test_it_begins_with_an_encoder_alone_and_a_drawn_head(style, tmp_path):
    path = saved(tmp_path, encoder(style))
    config, model, notes = starting_with(path)
    whole = published(saved(tmp_path, ade20k()), 1)[1]
    found = {name: var.numpy() for name, var in parameters_of(model).items()}
    assert config.segmenter.widths == [8, 16, 40, 64] and config.segmenter.decoder == 256 and "head drawn" in notes[0]
    for name, array in found.items():
        if name.startswith("stage."):
            np.testing.assert_array_equal(array, whole[name])
        elif name.endswith("weight"):
            assert abs(array).max() > 0, name


@on_cpu
def test_it_goes_on_from_a_checkpoint_of_its_own(tmp_path):
    before = build_segmenter(TINY_SEGMENTER, seed=3)
    path = tmp_path / "segmenter.safetensors"
    write_checkpoint(path, parameters_of(before), Header("segmenter", config_dict(Config(segmenter=TINY_SEGMENTER))))
    config, model, _ = starting_with(path)
    assert config.segmenter.widths == TINY_SEGMENTER.widths
    for name, var in parameters_of(model).items():
        np.testing.assert_array_equal(var.numpy(), parameters_of(before)[name].numpy())


def test_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(UserError, match="no SegFormer's names"):
        starting_with(saved(tmp_path, weights("deeplab_narrow")))
    with pytest.raises(UserError, match="7 classes, expected one of 29"):
        starting_with(saved(tmp_path, ade20k(7)))


# ------------------------------------------------------------------------------------------------ train.py

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, train=12, test=0, width=64, height=48, progress=False)
    return folder / "train"


def train(data, folder, *arguments, steps=STEPS):
    """Runs train.py --stage segmenter in a process of its own: exit status, stdout, stderr."""
    values = {"data.height": 48, "data.width": 64, "train.run": folder / "run", "train.segmenter.steps": steps,
              "train.segmenter.batch_size": 2, "train.segmenter.save_every": 2, "train.segmenter.sample_every": 2,
              "train.segmenter.decay": False, "train.segmenter.lr": 1.0e-3, "segmenter.widths": TINY_SEGMENTER.widths,
              "segmenter.decoder": TINY_SEGMENTER.decoder, "train.segmenter.keep": 9}
    words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    done = subprocess.run([sys.executable, "train.py", "--config", "mini", "--stage", "segmenter", "--input_path", str(data),
                           *words, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    status, stdout, stderr = train(data, folder)
    assert status == 0, stderr
    return folder, stdout


def test_a_run_reports_its_accuracy_on_held_out_pixels_and_leaves_checkpoints_and_pictures(trained):
    folder, stdout = trained
    checkpoints = sorted((folder / "run/checkpoints").glob("segmenter-*.safetensors"))
    assert [path.name for path in checkpoints] == ["segmenter-00000002.safetensors", "segmenter-00000004.safetensors"]
    headers = [read_header(path, "segmenter") for path in checkpoints]
    assert all(0 <= header.metrics["val_accuracy"] <= 1 and header.metrics["val_loss"] > 0 for header in headers)
    best = min(zip(checkpoints, headers), key=lambda item: item[1].metrics["val_loss"])
    accuracy = 100 * best[1].metrics["val_accuracy"]
    assert f"{best[0]}: step {best[1].step}, pixel accuracy {accuracy:.2f} % on 1 held-out" in stdout
    assert (folder / "run/segmenter/samples/00000004.png").is_file() and (folder / "run/segmenter/loss.png").is_file()


def test_the_weights_of_a_run_load_and_have_moved(trained):
    path = trained[0] / "run/checkpoints/segmenter-00000004.safetensors"
    averages, raw = (load_segmenter(path, TINY_SEGMENTER, which) for which in ("ema", "raw"))
    begun = build_segmenter(TINY_SEGMENTER, read_header(path).config["train"]["seed"])
    arrays = [parameters_of(model)["classifier.weight"].numpy() for model in (averages, raw, begun)]
    assert not np.array_equal(arrays[0], arrays[1]) and not np.array_equal(arrays[1], arrays[2])


def test_a_run_resumed_ends_with_the_same_tensors(data, trained, tmp_path):
    assert train(data, tmp_path, steps=2)[0] == 0
    status, _, stderr = train(data, tmp_path, "--resume")
    assert status == 0, stderr
    name = "run/segmenter/state.safetensors"
    found, expected = load_file(tmp_path / name), load_file(trained[0] / name)
    assert found.keys() == expected.keys()
    assert all(found[key].tobytes() == expected[key].tobytes() for key in expected)
    assert [entry["step"] for entry in RunLog(tmp_path / "run/segmenter").history("validate")] == [2, 4]


@pytest.mark.parametrize("arguments, expected", [
    (["--resume", "--set", "segmenter.scale=1.5"], "segmenter.scale was 1.2, now 1.5; expected the same to resume"),
    (["--set", "train.segmenter.crop=16"], "cut to 16x16, expected at least 32"),
    (["--set", "train.segmenter.init_from=none.pth"], "none.pth")])
def test_a_mistake_is_one_line(data, trained, tmp_path, arguments, expected):
    folder = trained[0] if "--resume" in arguments else tmp_path
    status, _, stderr = train(data, folder, *arguments)
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(lines) == 1 and expected in lines[0] and "Traceback" not in stderr, stderr
