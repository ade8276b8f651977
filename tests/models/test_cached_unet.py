import numpy as np
import pytest

from ldm.guidance import guided
from models.cached_unet import CachedUNet, spade_layers
from models.layers import Linear, parameters_of
from models.spade import SPADE
from runtime.backend import jt
from tests.helpers import latents_and_labels, on_cpu, tiny_unet

MAPS = 4 * 2 * 8 * 12                                        # bytes of a channel's gamma and beta for one mask


@pytest.fixture
def inputs(rng):
    """z (3, 3, 8, 12) and labels (3, 8, 12), Vars."""
    z, labels = latents_and_labels(rng, 3)
    return jt.array(z), jt.array(labels)


@pytest.mark.parametrize("cache_gb", [4.0, 1e-4, 0.0])
@on_cpu
def test_guidance_is_exactly_that_of_two_forwards_whatever_the_cache_holds(inputs, cache_gb):
    z, labels = inputs
    model = tiny_unet()
    prepared = CachedUNet(model, cache_gb)
    with jt.no_grad():
        plain = guided(model, 3.5)
        for t in (640, 20, 640):
            expected = plain(z, t, labels).numpy()
            np.testing.assert_allclose(guided(prepared, 3.5)(z, t, labels).numpy(), expected, atol=1e-4)
            np.testing.assert_allclose(prepared(z, t, labels).numpy(), model(z, t, labels).numpy(), atol=2e-5)


@on_cpu
def test_other_masks_are_noticed_and_a_row_does_not_depend_on_the_others(inputs):
    z, labels = inputs
    prepared = CachedUNet(tiny_unet())
    together = guided(prepared, 2.0)(z, 640, labels).numpy()
    other = jt.array(np.roll(labels.numpy(), 1, 0))
    assert np.abs(guided(prepared, 2.0)(z, 640, other).numpy() - together).max() > 1e-2
    for i in range(3):
        alone = guided(prepared, 2.0)(z[i:i + 1], 640, labels[i:i + 1]).numpy()
        np.testing.assert_array_equal(alone[0], together[i])


@on_cpu
def test_the_network_that_is_wrapped_stays_as_it_is_and_shares_its_weights(inputs):
    z, labels = inputs
    model = tiny_unet()
    with jt.no_grad():
        before = model(z, 640, labels).numpy()
        prepared = CachedUNet(model)
        guided(prepared, 2.0)(z, 640, labels).sync()
        np.testing.assert_array_equal(model(z, 640, labels).numpy(), before)
        assert all(isinstance(spade, SPADE) for spade, _ in spade_layers(model))
        for var in parameters_of(model).values():
            var.update(0.5 * var)
        after = model(z, 640, labels).numpy()
        assert np.abs(after - before).max() > 1e-2
        np.testing.assert_allclose(CachedUNet(model)(z, 640, labels).numpy(), after, atol=2e-5)


@on_cpu
def test_masks_are_convolved_once_and_the_encoder_runs_once_a_step(inputs, monkeypatch):
    z, labels = inputs
    made, ran = [], []
    maps, encode = SPADE.maps, type(tiny_unet()).encode
    monkeypatch.setattr(SPADE, "maps", lambda self, mask: made.append(tuple(mask.shape)) or maps(self, mask))
    model = tiny_unet()
    monkeypatch.setattr(type(model), "encode", lambda self, z, emb: ran.append(z.shape[0]) or encode(self, z, emb))
    prepared = CachedUNet(model)
    for t in (640, 20, 640):
        guided(prepared, 2.0)(z, t, labels).sync()
    layers = len(spade_layers(model))
    assert ran == [3, 3, 3]
    assert sum(shape[0] == 3 for shape in made) == layers and sum(shape[2:] == (3, 3) for shape in made) == layers
    other = jt.array(labels.numpy())
    guided(prepared, 2.0)(z, 20, other).sync()
    assert len(made) == 3 * layers                           # other masks: theirs once, those of no mask never again


@on_cpu
def test_what_every_block_makes_of_the_timestep_is_one_product(inputs, monkeypatch):
    z, labels = inputs
    model, called = tiny_unet(), []
    with jt.no_grad():
        emb = model.embed(640)
        prepared = CachedUNet(model)
        every = prepared.projections(emb)
        layers = [module.emb_layers[1] for module in model.modules() if hasattr(module, "emb_layers")]
        assert len(layers) == len(prepared.projections.slices) > 3
        for layer in layers:
            np.testing.assert_allclose(prepared.projections.slices[id(layer)](every).numpy(), layer(emb).numpy(), atol=1e-6)
        linear = Linear.execute
        monkeypatch.setattr(Linear, "execute", lambda self, x: called.append(self) or linear(self, x))
        guided(prepared, 2.0)(z, 640, labels).sync()
    assert len(called) == 2                                  # the embedding's own


@on_cpu
def test_the_bound_holds_and_the_narrow_layers_are_kept_first(inputs):
    _, labels = inputs
    model = tiny_unet()
    layers = spade_layers(model)
    sizes = {id(spade): spade.channels * MAPS // factor ** 2 * 3 for spade, factor in layers}
    for budget in (0, min(sizes.values()) - 1, sum(sizes.values()) // 2, sum(sizes.values())):
        prepared = CachedUNet(model, budget / 1e9)
        prepared.prepare(labels)
        kept = [layer.spade for layer, _ in prepared.layers if layer.kept is not None]
        left = [layer.spade for layer, _ in prepared.layers if layer.kept is None]
        held = sum(4 * int(np.prod(var.shape)) for var in prepared.kept_maps)
        assert held == sum(sizes[id(spade)] for spade in kept) <= budget
        if kept and left:
            assert min(spade.channels for spade in kept) <= min(spade.channels for spade in left)
    assert len(kept) == len(layers)
