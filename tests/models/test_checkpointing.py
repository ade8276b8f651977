import hashlib

import numpy as np

from models.autoencoder_parts import AttnBlock, ResnetBlock
from models.checkpointing import CheckpointedUNet, checkpointed_layers
from models.layers import parameters_of
from runtime.backend import jt
from tests.helpers import latents_and_labels, on_cpu, tiny_autoencoder, tiny_unet
from training.adamw import AdamW


def digests(model, loss):
    """({name: SHA-256 of its gradient}, the loss)."""
    names = parameters_of(model)
    found = [(g * 1.0).stop_grad() for g in jt.grad(loss, list(names.values()), retain_graph=False)]
    jt.sync(found)
    return {name: hashlib.sha256(g.numpy().tobytes()).hexdigest() for name, g in zip(names, found)}, loss.item()


def unet_loss(model, inputs):
    """A loss of the U-Net's every output, at different timesteps."""
    z, labels = inputs
    out = model(jt.array(z), np.array([3, 700]), jt.array(labels))
    return ((out - jt.array(np.random.default_rng(5).standard_normal(out.shape, dtype=np.float32))) ** 2).sum()


@on_cpu
def test_all_gradients_of_the_u_net_are_bit_for_bit_those_of_the_plain_one(rng):
    model, inputs = tiny_unet(), latents_and_labels(rng)
    plain = digests(model, unet_loss(model, inputs))
    for exact in (True, False):
        assert digests(model, unet_loss(CheckpointedUNet(model, exact), inputs)) == plain


@on_cpu
def test_all_gradients_of_the_autoencoder_are_bit_for_bit_those_of_the_plain_one(rng):
    model = tiny_autoencoder()
    x = jt.array(rng.standard_normal((2, 3, 24, 40), dtype=np.float32))
    loss = lambda network: ((network(x)[0] - 0.3) ** 2).sum()
    twin = checkpointed_layers(model, (ResnetBlock, AttnBlock))
    assert digests(model, loss(twin)) == digests(model, loss(model))


@on_cpu
def test_three_steps_of_adamw_end_at_the_same_weights_and_leave_nothing_behind(rng):
    inputs, ends, living = latents_and_labels(rng), [], []
    for wrap in (lambda model: model, CheckpointedUNet):
        model = tiny_unet()
        network, optimizer = wrap(model), AdamW(parameters_of(model))
        for _ in range(4):
            optimizer.step(unet_loss(network, inputs), lr=1e-3)
            jt.sync_all()
            living.append(jt.liveness_info()["lived_vars"])
        ends.append({name: var.numpy() for name, var in parameters_of(model).items()})
        del network, optimizer, model
    for name in ends[0]:
        np.testing.assert_array_equal(*(end[name] for end in ends), err_msg=name)
    assert living[5] == living[6] == living[7], living
