import numpy as np
import pytest

from configs.reading import config_from
from configs.schema import ConfigError
from ldm.guidance import guided
from ldm.losses import diffusion_loss
from ldm.schedule import make_schedule
from models import precision
from models.cached_unet import CachedUNet
from models.layers import parameters_of
from models.precision import compute_in, resolve
from runtime.backend import jt
from tests.helpers import latents_and_labels, on_cpu, tiny_autoencoder, tiny_unet

# Root mean square of what rounding every array costs, of the output's deviation.
COSTS = {"float16": 2e-3, "bfloat16": 1.5e-2}


def rms(a):
    return float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


def dtypes(model):
    """{type: how many parameters}."""
    found = {}
    for var in parameters_of(model).values():
        found[str(var.dtype)] = found.get(str(var.dtype), 0) + 1
    return found


@pytest.fixture
def inputs(rng):
    """z (2, 3, 8, 12) and labels (2, 8, 12), Vars."""
    z, labels = latents_and_labels(rng)
    return jt.array(z), jt.array(labels)


@pytest.mark.parametrize("dtype", COSTS)
@on_cpu
def test_a_unet_in_16_bits_answers_nearly_as_in_float32_and_in_float32_numbers(inputs, dtype):
    z, labels = inputs
    model = tiny_unet()
    with jt.no_grad():
        exact = model(z, 500, labels).numpy()
        compute_in(model, dtype)
        found = model(z, 500, labels)
    assert str(found.dtype) == "float32"
    error = rms(found.numpy() - exact) / exact.std()
    assert COSTS[dtype] / 50 < error < COSTS[dtype], error    # and it is really rounded


@pytest.mark.parametrize("dtype", COSTS)
@on_cpu
def test_between_the_edges_every_activation_has_the_type(inputs, dtype, monkeypatch):
    z, labels = inputs
    model, seen = tiny_unet(), []
    compute_in(model, dtype)
    run = type(model).run
    noted = lambda block, h, *rest: seen.append(str(h.dtype)) or run(block, h, *rest)
    monkeypatch.setattr(type(model), "run", staticmethod(noted))
    with jt.no_grad():
        model(z, 500, labels).sync()
    assert seen[0] == "float32" and set(seen[1:]) == {dtype}


@pytest.mark.parametrize("dtype", COSTS)
@on_cpu
def test_weights_stored_in_16_bits_give_the_same_numbers_but_for_the_edges(inputs, dtype):
    z, labels = inputs
    converted, stored = tiny_unet(), tiny_unet()
    compute_in(converted, dtype)
    compute_in(stored, dtype, store=True)
    with jt.no_grad():
        np.testing.assert_array_equal(stored(z, 500, labels).numpy(), converted(z, 500, labels).numpy())
    assert dtypes(converted) == {"float32": len(parameters_of(converted))}
    for layer in (stored.input_blocks[0][0], stored.out[2]):
        assert str(layer.weight.dtype) == "float32"
    assert dtypes(stored)[dtype] > 40 and str(stored.time_embed[0].weight.dtype) == "float32"


@pytest.mark.parametrize("dtype", COSTS)
@on_cpu
def test_guidance_prepared_in_16_bits_is_that_of_two_forwards_and_keeps_half_the_bytes(inputs, dtype):
    z, labels = inputs
    model = tiny_unet()
    whole = CachedUNet(model, 4.0)
    whole.prepare(labels)
    compute_in(model, dtype)
    with jt.no_grad():
        expected = guided(model, 3.5)(z, 640, labels).numpy()
        prepared = CachedUNet(model, 4.0)
        found = guided(prepared, 3.5)(z, 640, labels)
    assert str(found.dtype) == "float32" and {str(var.dtype) for var in prepared.kept_maps} == {dtype}
    assert rms(found.numpy() - expected) / expected.std() < 6 * COSTS[dtype]      # guidance multiplies by up to 2 s - 1
    budget = sum(4 * int(np.prod(var.shape)) for var in whole.kept_maps) / 2 / 1e9
    assert len(CachedUNet(model, budget).kept_layers(labels.shape)) == len(prepared.layers)


@pytest.mark.parametrize("dtype", COSTS)
@on_cpu
def test_training_gives_float32_gradients_near_those_of_float32(inputs, dtype, rng):
    z, labels = inputs
    eps, schedule = jt.array(rng.standard_normal(z.shape, dtype=np.float32)), make_schedule("linear", 1000)
    found = {}
    for kind in ("float32", dtype):
        model = tiny_unet()
        compute_in(model, kind)
        weights = parameters_of(model)
        loss = diffusion_loss(model, z, labels, np.array([30, 500]), eps, schedule)["loss"].sum()
        assert str(loss.dtype) == "float32"
        gradients = jt.grad(loss, list(weights.values()))
        assert {str(g.dtype) for g in gradients} == {"float32"}
        found[kind] = np.concatenate([g.numpy().reshape(-1).astype(np.float64) for g in gradients])
    a, b = found["float32"], found[dtype]
    assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.999
    assert 1e-5 < rms(a - b) / rms(a) < 0.05


@pytest.mark.parametrize("dtype", COSTS)
@on_cpu
def test_an_autoencoder_in_16_bits_encodes_and_decodes_nearly_as_in_float32(dtype, rng):
    x = jt.array(rng.uniform(-1, 1, (2, 3, 32, 48)).astype(np.float32))
    model = tiny_autoencoder()
    with jt.no_grad():
        z = model.encode(x)
        exact = [array.numpy() for array in (z, model.decode(z, quantise=False))]
        compute_in(model, dtype, store=True)
        found = [model.encode(x), model.decode(z, quantise=False)]
    assert dtypes(model)[dtype] > 20
    for one, array in zip(found, exact):
        assert str(one.dtype) == "float32"
        assert 0 < rms(one.numpy() - array) / array.std() < COSTS[dtype]


@pytest.mark.parametrize("cuda, archs, expected", [
    (0, [90], "float32"), (1, [90], "bfloat16"), (1, [80], "bfloat16"), (1, [75], "float16"), (1, [90, 75], "float16")])
def test_auto_is_bfloat16_where_every_gpu_has_it(monkeypatch, cuda, archs, expected):
    class Flags:
        use_cuda, cuda_archs = cuda, archs

    class Jittor:
        flags = Flags

    monkeypatch.setattr(precision, "jt", Jittor)
    assert resolve("auto") == expected
    assert resolve("float16") == "float16"


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("wanted", ["float32", "float16", "bfloat16"])
def test_a_user_is_told_where_16_bits_are_imitated(monkeypatch, wanted, native):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: native)
    with jt.flag_scope(use_cuda=0):
        said = precision.imitated(wanted)
    assert bool(said) == (wanted != "float32" and not (wanted == "bfloat16" and native))


@pytest.mark.parametrize("section", ["train", "sampling"])
def test_another_precision_is_an_error_that_lists_those_there_are(section):
    with pytest.raises(ConfigError, match=f"{section}.precision is 'half', expected float32, bfloat16, float16 or auto"):
        config_from({section: {"precision": "half"}})
