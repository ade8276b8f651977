import gc
import math

import numpy as np
import pytest

from configs.schema import UNetConfig
from models.layers import parameters_of
from models.unet import UNet, build_unet
from runtime.backend import jt
from tests.helpers import (
    TINY_UNET,
    latents_and_labels,
    on_cpu,
    tiny_unet,
    with_drawn_weights,
)
from training.adamw import AdamW


def run(model, z, t, labels):
    """The model's answer to arrays, an array."""
    with jt.no_grad():
        return model(jt.array(z), t, jt.array(labels)).numpy()


@pytest.fixture
def inputs(rng):
    """z (3, 3, 8, 12) and labels (3, 8, 12)."""
    return latents_and_labels(rng, 3)


def test_the_published_size_is_501540358_parameters_in_660_tensors():
    shapes = [tuple(var.shape) for var in parameters_of(UNet(UNetConfig())).values()]
    gc.collect()                                             # its 2 GB were never computed; nothing may come to do it
    assert len(shapes) == 660 and sum(map(math.prod, shapes)) == 501_540_358


@on_cpu
def test_a_new_network_predicts_zero_and_after_two_steps_every_tensor_learns(inputs):
    z, labels = inputs
    model = build_unet(TINY_UNET, seed=0)
    assert not run(model, z, 500, labels).any()
    parameters = parameters_of(model)
    optimizer = AdamW(parameters)
    loss = lambda: ((model(jt.array(z), 500, jt.array(labels)) - 1) ** 2).sum()
    for _ in range(2):              # the first moves the head, the second the ends of the branches; then all is joined
        optimizer.step(loss(), lr=1e-3)
    for name, gradient in zip(parameters, jt.grad(loss(), list(parameters.values()))):
        assert gradient.numpy().any(), name


@on_cpu
def test_without_learn_sigma_there_is_the_noise_alone(inputs):
    z, labels = inputs
    config = UNetConfig(**{**TINY_UNET.__dict__, "learn_sigma": False})
    assert run(with_drawn_weights(UNet(config)), z, 10, labels).shape == (3, 3, 8, 12)
    assert run(tiny_unet(), z, 10, labels).shape == (3, 6, 8, 12)


@on_cpu
def test_a_row_does_not_depend_on_the_others(inputs):
    z, labels = inputs
    model = tiny_unet()
    together = run(model, z, 640, labels)
    assert np.abs(together[0] - together[1]).max() > 0.1
    for i in range(3):
        np.testing.assert_array_equal(run(model, z[i:i + 1], 640, labels[i:i + 1]), together[i:i + 1])


@on_cpu
def test_one_number_as_t_is_the_same_as_an_array_of_it_and_different_ones_differ(inputs):
    z, labels = inputs
    model = tiny_unet()
    once = run(model, z, 640, labels)
    np.testing.assert_allclose(run(model, z, np.array([640, 640, 640]), labels), once, atol=1e-5)
    np.testing.assert_allclose(run(model, z, jt.array([640, 640, 640]), labels), once, atol=1e-5)
    mixed = run(model, z, np.array([640, 20, 640]), labels)
    np.testing.assert_allclose(mixed[[0, 2]], once[[0, 2]], atol=1e-5)
    assert np.abs(mixed[1] - once[1]).max() > 1e-2


@on_cpu
def test_no_mask_is_not_a_class_and_is_the_same_whatever_was_masked(inputs):
    z, labels = inputs
    model = tiny_unet()
    nothing = run(model, z, 640, np.full_like(labels, -1))
    # An id beyond the classes is no class either: the same zero vector.
    np.testing.assert_array_equal(run(model, z, 640, np.full_like(labels, 29)), nothing)
    for label in (0, 28):
        assert np.abs(run(model, z, 640, np.full_like(labels, label)) - nothing).max() > 1e-2


@on_cpu
def test_the_encoder_never_sees_the_mask(inputs):
    z, labels = inputs
    model = tiny_unet()
    seen = {True: [], False: []}

    def record(block, h, emb, segmentation=None):
        out = UNet.run(block, h, emb, segmentation)
        seen[any(block is b for b in model.input_blocks)].append(out.numpy())
        return out

    model.run = record
    run(model, z, 640, labels)
    run(model, z, 640, np.full_like(labels, -1))
    assert len(seen[True]) == 2 * 4 and len(seen[False]) == 2 * 5
    for one, other in zip(seen[True][:4], seen[True][4:]):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(seen[False][:5], seen[False][5:]):
        assert np.abs(one - other).max() > 1e-2


@on_cpu
def test_the_gradient_agrees_with_small_steps_in_every_part_of_the_network(rng):
    z, labels = latents_and_labels(rng)
    model, weight = tiny_unet(), rng.standard_normal((2, 6, 8, 12))
    t = np.array([17, 640])
    parameters, given = parameters_of(model), jt.array(z)
    output = (model(given, t, jt.array(labels)) * jt.array(weight.astype(np.float32))).sum()
    gradients = dict(zip([*parameters, "z"], (g.numpy() for g in jt.grad(output, [*parameters.values(), given]))))
    start = {**{name: var.numpy() for name, var in parameters.items()}, "z": z}

    def value(direction, h):
        for name, d in direction.items():
            if name != "z":
                parameters[name].update(jt.array(start[name] + np.float32(h) * d))
        moved = start["z"] + np.float32(h) * direction.get("z", np.float32(0))
        return (run(model, moved, t, labels).astype(np.float64) * weight).sum()

    for part in ("z", "time_embed", "input_blocks", "middle_block", "output_blocks", "out.2", "mlp_", "emb_layers",
                 "qkv", ".weight", ".bias"):
        # A random direction that leans towards the gradient, so that the slope is not a small remainder.
        direction = {name: (gradients[name] / np.abs(gradients[name]).max()
                            * (1 + rng.standard_normal(array.shape)) * np.abs(array).mean()).astype(np.float32)
                     for name, array in start.items() if (name == part if part == "z" else part in name)}
        expected = sum((gradients[name].astype(np.float64) * d).sum() for name, d in direction.items())
        found = (value(direction, 2e-3) - value(direction, -2e-3)) / 4e-3
        value(direction, 0)                                  # the weights as they were
        assert found == pytest.approx(expected, rel=1e-2), part
