import numpy as np
import pytest

from models.blocks import AttentionBlock, ResBlock, SDMResBlock
from models.layers import Down, Up, parameters_of, same
from models.spade import SegmentationMaps, one_hot
from runtime.backend import jt
from tests.helpers import on_cpu, with_drawn_weights

EMB = 128


class Doubled(SegmentationMaps):
    """SegmentationMaps that are there at twice their size too, for a block that goes up from it."""

    def at(self, height):
        if height == 16:
            return one_hot(jt.array(self.labels.numpy().repeat(2, 1).repeat(2, 2)), 29, 1)
        return super().at(height)


def arrays(rng, channels=32):
    """x (2, C, 8, 12), emb (2, EMB), and random masks."""
    labels = jt.array(rng.integers(-1, 29, (2, 8, 12)).astype(np.int32))
    return (jt.array(rng.standard_normal((2, channels, 8, 12), dtype=np.float32)),
            jt.array(rng.standard_normal((2, EMB), dtype=np.float32)), Doubled(labels, 29))


def zero(layer):
    """Makes a layer's weights and bias zero."""
    for var in parameters_of(layer).values():
        var.update(jt.zeros(var.shape))


@pytest.mark.parametrize("resample, size", [(same, (8, 12)), (Down(), (4, 6)), (Up(), (16, 24))])
@pytest.mark.parametrize("outputs", [32, 64])
@pytest.mark.parametrize("kind", [ResBlock, SDMResBlock])
@on_cpu
def test_a_residual_block_without_its_branch_resamples_its_input(rng, kind, outputs, resample, size):
    x, emb, segmentation = arrays(rng)
    spade = kind is SDMResBlock
    block = with_drawn_weights(kind(32, outputs, EMB, *((29, 8) if spade else ()), resample=resample))
    run = lambda: block(x, emb, *((segmentation,) if spade else ())).numpy()
    whole = run()
    assert whole.shape == (2, outputs, *size)
    zero(block.out_layers[2 if spade else 3])
    np.testing.assert_allclose(run(), block.skip_connection(resample(x)).numpy(), atol=1e-6)
    assert np.abs(whole - run()).max() > 0.1
    assert (block.skip_connection is same) == (outputs == 32)


@pytest.mark.parametrize("kind", [ResBlock, SDMResBlock])
@on_cpu
def test_the_gradient_reaches_every_weight_the_input_and_the_timestep(rng, kind):
    x, emb, segmentation = arrays(rng)
    spade = kind is SDMResBlock
    block = with_drawn_weights(kind(32, 64, EMB, *((29, 8) if spade else ())))
    y = block(x, emb, *((segmentation,) if spade else ()))
    named = {**parameters_of(block), "x": x, "emb": emb}
    for name, gradient in zip(named, jt.grad((y * y).sum(), list(named.values()))):
        assert np.abs(gradient.numpy()).max() > 1e-3, name


@on_cpu
def test_attention_knows_no_places_and_adds_to_its_input(rng):
    x, _, _ = arrays(rng, 64)
    block = with_drawn_weights(AttentionBlock(64, 32))
    y, order = block(x).numpy(), rng.permutation(96)
    shuffle = lambda a: a.reshape(2, 64, 96)[:, :, order].reshape(a.shape)
    np.testing.assert_allclose(block(jt.array(shuffle(x.numpy()))).numpy(), shuffle(y), atol=1e-5)
    zero(block.proj_out)
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())
    assert np.abs(y - x.numpy()).max() > 0.1


@on_cpu
def test_a_change_at_one_place_is_felt_everywhere_through_attention(rng):
    x, _, _ = arrays(rng, 64)
    block = with_drawn_weights(AttentionBlock(64, 32))
    moved = x.numpy()
    moved[:, :, 2, 3] += 5
    difference = np.abs(block(jt.array(moved)).numpy() - block(x).numpy()).max(1)
    assert (difference > 1e-4).all()
