"""Our numbers are the authors': every array of every case in a folder of golden arrays
(tests/data/baselines/README.md), whatever its sizes. GOLDEN_GAN_DIR names another folder of the same form.
"""
import json
import os
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from baselines.discriminator import build_discriminator
from baselines.layers import is_buffer, set_training
from baselines.losses import discriminator_hinge, feature_matching, generator_hinge, kl_divergence, l1
from baselines.networks import build_generator, settle
from baselines.published import infer_discriminator, infer_encoder, infer_generator, modern
from baselines.semantics import Semantics, instance_edges
from baselines.style_encoder import StyleEncoder, draw
from models.layers import parameters_of
from runtime.backend import jt
from tests.helpers import on_cpu

GOLDEN = Path(os.environ.get("GOLDEN_GAN_DIR", Path(__file__).parent.parent / "data" / "baselines"))
SAID = {"position": lambda o: o["pyr_rng"] if o["position"] and o["pyr_pos"] else 0, "temperature": lambda o: o["temperature"],
        "weighting": lambda o: o["weight_type"], "gaussian_size": lambda o: o["ig_sz"],
        "gaussian_sigma": lambda o: o["ig_sigma"], "gaussian_steps": lambda o: o["ig_iter"],
        "gaussian_relative": lambda o: o["ig_relative"]}


@lru_cache(None)
def read(folder):
    """config.json, keys.json and the arrays of one folder."""
    with np.load(GOLDEN / folder / "golden.npz") as found:
        arrays = dict(found)
    return *(json.loads((GOLDEN / folder / f"{name}.json").read_text()) for name in ("config", "keys")), arrays


def cases():
    """All (folder, case) of the golden folder."""
    return [(path.parent.name, case) for path in sorted(GOLDEN.glob("*/config.json"))
            for case in json.loads(path.read_text())["cases"]]


def drawn(name, shape, seed):
    """The value of a golden tensor but weight_v: it follows from its name and shape."""
    n = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()) & 0xffffffff).standard_normal(shape)
    last = name.rpartition(".")[2]
    if last == "bias":
        n = 0.05 * n
    elif last == "running_var":
        n = 1 + 0.1 * np.abs(n)
    elif last == "weight_u":
        n = n / np.linalg.norm(n)
    elif len(shape) == 1:
        n = 1 + 0.1 * n
    elif shape:
        n = n / np.sqrt(np.prod(shape[1:]))
    return np.asarray(n, dtype=np.float32)


def tensors_of(shapes, seed):
    """{name: array} of a golden network."""
    found = {name: drawn(name, tuple(shape), seed) for name, shape in shapes.items()}
    for name in found:
        if name.endswith(".weight_v"):
            owner = name.rpartition(".")[0]
            weight = found[f"{owner}.weight_orig"].astype(np.float64)
            v = weight.reshape(len(weight), -1).T @ found[f"{owner}.weight_u"].astype(np.float64)
            found[name] = (v / np.linalg.norm(v)).astype(np.float32)
    return found


def put(model, tensors):
    """Gives a network exactly these tensors; gradients go to parameters only."""
    own, tensors = parameters_of(model), modern(tensors)
    assert {name: tuple(var.shape) for name, var in own.items()} == {name: array.shape for name, array in tensors.items()}
    for name, var in own.items():
        array = jt.array(tensors[name])
        var.update(array.stop_grad() if is_buffer(name) else array)
    settle(model)
    return model


class Case:
    """One golden case: its networks, inputs and expected arrays."""

    def __init__(self, folder, name):
        config, keys, arrays = read(folder)
        self.case, self.keys, self.seed = config["cases"][name], keys[name], config["weights_seed"]
        self.arrays = {key[len(name) + 1:]: array for key, array in arrays.items() if key.startswith(f"{name}/")}
        self.options, self.unread = self.case["options"], set(self.arrays)
        self.size = self.case["height"], self.case["width"]
        self.g = self.build("netG")
        self.d = self.build("netD") if any("/D/" in key or "D_Fake" in key for key in self.arrays) else None
        self.e = self.build("netE") if "netE" in self.keys else None
        labels = self.input("labels").astype(np.int32)
        edges = None
        if "instance" in self.arrays:
            edges = instance_edges(self.input("instance"))
        classes = self.options["label_nc"] + self.options["contain_dontcare_label"]
        self.semantics = Semantics(labels, classes, edges, self.input("dist") if "dist" in self.arrays else None)
        self.real = jt.array((self.input("image_u8").astype(np.float32) / 255 - 0.5) / 0.5)

    def build(self, net):
        """A network of the published shapes."""
        shapes = {key: tuple(shape) for key, shape in self.keys[net].items()}
        if net == "netD":
            sean = self.g.config.family == "sean"                # its inner layers have stride 2, all of them
            config = infer_discriminator(shapes, last_stride=2 if sean else 1)
            model = build_discriminator(config)
        elif net == "netE":
            model = StyleEncoder(infer_encoder(shapes))
        else:
            said = {"upsampling": self.options["num_upsampling_layers"]}
            if self.options.get("norm_mode") != "clade":
                said["edges"] = not self.options["no_instance"]
            if "temperature" in self.options:
                said.update({key: value(self.options) for key, value in SAID.items()})
            model = build_generator(infer_generator(shapes, size=self.size, **said)[0])
        return put(model, tensors_of(self.keys[net], self.seed))

    def reset(self):
        """All networks as they were at first, in training mode."""
        for net, model in {"netG": self.g, "netD": self.d, "netE": self.e}.items():
            if model is not None:
                put(model, tensors_of(self.keys[net], self.seed))
                set_training(model, True)

    def input(self, name):
        """A stored input."""
        self.unread.discard(name)
        return self.arrays[name]

    def noise(self, name, shape):
        """SEAN's noise of one layer."""
        return np.random.RandomState(zlib.crc32(f"{self.seed}:noise:{name}".encode()) & 0xffffffff).standard_normal(
            shape).astype(np.float32)

    def check(self, name, found, limit=1e-4, absolute=0.0):
        """Compares an array with the golden one of that name, relative to its largest value."""
        expected = self.arrays[name]
        self.unread.discard(name)
        found = np.asarray(found.numpy() if isinstance(found, jt.Var) else found, dtype=np.float64)
        found = found.reshape(expected.shape) if expected.ndim == 0 else found
        assert found.shape == expected.shape, (name, found.shape, expected.shape)
        worst = np.abs(found - expected).max() if found.size else 0
        scale = max(np.abs(expected).max(), 1e-3)
        assert worst <= max(limit * scale, absolute), f"{name}: off by {worst / scale:.2g} of {scale:.3g}"

    def style(self):
        """What the generator starts from beside the mask, and mu and logvar of an encoder."""
        if self.e is not None:
            mu, logvar = self.e(self.real)
            return draw(mu, logvar, jt.array(self.input("eps"))), mu, logvar
        if hasattr(self.g, "Zencoder"):
            if "style_codes" in self.arrays:
                return jt.array(np.repeat(self.input("style_codes")[None], self.case["batch"], 0)), None, None
            return self.g.Zencoder(self.real, self.semantics), None, None
        return None, None, None

    def generate(self, recorded):
        """Images, side images, style, mu, logvar; the outputs of the generator's children are put into
        `recorded`."""
        style, mu, logvar = self.style()
        for name, child in self.g.__dict__.items():
            if name in ("fc", "conv_img") or name.startswith(("head_", "G_middle", "up_")):
                child.execute = remembering(type(child).execute.__get__(child), recorded, name)
        image, side = self.g.images(self.semantics, style, self.noise)
        return image, side, style, mu, logvar

    def losses(self, image, side, mu, logvar, features, predictions):
        """{name: Var} of the generator step."""
        found = {"GAN": generator_hinge(predictions),
                 "GAN_Feat": self.options["lambda_feat"] * feature_matching(features, self.d.shared)}
        if mu is not None:
            found["KLD"] = self.options["lambda_kld"] * kl_divergence(mu, logvar)
        if side is not None:
            found["W_Recon_l1"] = self.options["lambda_w_recon"] * l1(side, self.real)
        return found


def remembering(execute, recorded, name):
    """A child's execute that keeps its output."""
    def run(*args):
        recorded[name] = execute(*args)
        return recorded[name]
    return run


def check_losses(case, mode, losses):
    """GAN is near zero: within 1e-5."""
    for name, loss in losses.items():
        case.check(f"{mode}/loss/{name}", loss, 1e-4, absolute=1e-5 if name == "GAN" else 0)


@pytest.mark.parametrize("folder, name", cases())
@on_cpu
def test_evaluation_gives_the_authors_arrays(folder, name):
    case = Case(folder, name)
    np.testing.assert_array_equal(case.semantics.one_hot(case.size).numpy(), case.input("semantics"))
    for model in (case.g, case.d, case.e):
        if model is not None:
            set_training(model, False)
    stride, recorded = case.case["generated_stride"], {}
    with jt.no_grad():
        image, side, style, mu, logvar = case.generate(recorded)
        case.check("eval/generated", image[:, :, ::stride, ::stride])
        case.check("eval/pre_activation", recorded["conv_img"][:, :, ::4 * stride, ::4 * stride])
        for key in sorted(case.unread):
            if key.startswith("eval/trace/"):
                x = recorded[key.rpartition("/")[2]].numpy().astype(np.float64)
                case.check(key, np.stack([x.mean((0, 2, 3)), x.std((0, 2, 3))]))
        if mu is not None:
            for key, value in {"mu": mu, "logvar": logvar, "z": style}.items():
                case.check(f"eval/{key}", value)
        if "eval/style_codes" in case.arrays:
            case.check("eval/style_codes", style)
        if side is not None:
            case.check("eval/w_image", side[:, :, ::4, ::4], 1e-3)
            levels, _ = case.g.pyramid_spaital_routing(case.semantics.one_hot(case.size))
            for i, (logits, _) in enumerate(levels):
                step = max(1, 2 ** i // 4)
                case.check(f"eval/routing_{i}", logits[:, :, ::step, ::step])
        if case.d is not None:
            features, predictions = case.d(case.semantics.repeated(2), jt.concat([image, case.real]))
            check_discriminator(case, features, predictions)
            fake, real = discriminator_hinge(predictions)
            check_losses(case, "eval", {**case.losses(image, side, mu, logvar, features, predictions),
                                        "D_Fake": fake, "D_real": real})
    left = {key for key in case.unread if not key.startswith("train/")}
    assert left <= {"eps", "image_u8", "dist", "instance", "style_codes"}, left


def check_discriminator(case, features, predictions):
    """All stored layers of either discriminator."""
    both = [0, case.case["batch"]]
    if len(features) == 1 and "eval/D/feature_0" in case.arrays:
        for j, feature in enumerate(features[0]):
            case.check(f"eval/D/feature_{j}", feature.numpy()[both][:, :, ::2, ::2])
        for j, prediction in enumerate(predictions):
            case.check(f"eval/D/prediction_{j}", prediction)
        return
    for i, (found, prediction) in enumerate(zip(features, predictions)):
        for j, feature in enumerate(found):
            case.check(f"eval/D/scale_{i}/layer_{j}", feature.numpy()[both][:, :, ::4, ::4])
        case.check(f"eval/D/scale_{i}/layer_{len(found)}", prediction)


def check_gradients(case, nets, loss):
    """The norm of the gradient of each parameter of some networks; one backward pass is all that a graph has."""
    asked = []
    for net in nets:
        own = parameters_of({"netG": case.g, "netD": case.d, "netE": case.e}[net])
        asked += [(net, own[name]) for name in case.keys[net] if name in own and not is_buffer(name)]
    gradients = jt.grad(loss, [var for _, var in asked])
    for net in nets:
        found = [np.linalg.norm(g.numpy().astype(np.float64)) for (owner, _), g in zip(asked, gradients) if owner == net]
        case.check(f"train/grad_norm/{net}", np.array(found), 1e-2)


def check_buffers(case, net):
    """Norm and sum of every statistic after the step."""
    own = parameters_of({"netG": case.g, "netD": case.d, "netE": case.e}[net])
    arrays = [own[name].numpy().astype(np.float64) for name in case.keys[net] if is_buffer(name)]
    case.check(f"train/buffer_norm/{net}", np.array([np.linalg.norm(a) for a in arrays]))
    case.check(f"train/buffer_sum/{net}", np.array([a.sum() for a in arrays]))


@pytest.mark.parametrize("folder, name", cases())
@on_cpu
def test_a_training_step_gives_the_authors_losses_gradients_and_statistics(folder, name):
    case = Case(folder, name)
    if not any(key.startswith("train/") for key in case.arrays):
        pytest.skip("has no training arrays")
    case.reset()
    recorded, stride = {}, case.case["generated_stride"]
    image, side, _, mu, logvar = case.generate(recorded)
    features, predictions = case.d(case.semantics.repeated(2), jt.concat([image, case.real]))
    losses = case.losses(image, side, mu, logvar, features, predictions)
    case.check("train/pre_activation", recorded["conv_img"][:, :, ::4 * stride, ::4 * stride], 1e-3)
    check_losses(case, "train", losses)
    check_gradients(case, [net for net in ("netG", "netE") if f"train/grad_norm/{net}" in case.arrays], sum(losses.values()))
    for net in ("netG", "netD", "netE"):
        if f"train/buffer_norm/{net}" in case.arrays:
            check_buffers(case, net)

    case.reset()
    with jt.no_grad():
        image = case.generate({})[0]
    _, predictions = case.d(case.semantics.repeated(2), jt.concat([image, case.real]))
    fake, real = discriminator_hinge(predictions)
    check_losses(case, "train", {"D_Fake": fake, "D_real": real})
    check_gradients(case, ["netD"], fake + real)
    assert not {key for key in case.unread if key.startswith("train/")}
