"""The same networks on the CPU and on the GPU. Where there is no GPU these are skipped."""
import numpy as np
import pytest

from ldm.guidance import guided
from ldm.losses import diffusion_loss
from ldm.schedule import make_schedule
from models.cached_unet import CachedUNet
from models.kernels.casting import to, to_float32
from models.kernels.conv import conv2d
from models.kernels.cudnn_conv import cudnn_conv
from models.kernels.turn import turn
from models.layers import parameters_of
from models.memory_format import arrange
from models.precision import compute_in
from runtime.backend import jt
from tests.helpers import latents_and_labels, needs_cuda, tiny_autoencoder, tiny_unet

TOLERANCE = 1e-2      # of the largest value: cuDNN may convolve in TF32, whose products keep 10 bits


def both(run):
    """run() -> arrays, on the CPU and then on the GPU."""
    found = []
    for use_cuda in (0, 1):
        with jt.flag_scope(use_cuda=use_cuda):
            found.append([np.asarray(array, np.float64) for array in run()])
    return found


def assert_close(found):
    for cpu, cuda in zip(*found):
        np.testing.assert_allclose(cuda, cpu, rtol=0, atol=TOLERANCE * max(abs(cpu).max(), 1e-6))


@needs_cuda
def test_the_unet_answers_the_same_on_both_devices(rng):
    z, labels = latents_and_labels(rng)

    def run():
        with jt.no_grad():
            return [tiny_unet()(jt.array(z), 500, jt.array(labels)).numpy()]
    assert_close(both(run))


@needs_cuda
def test_the_loss_and_every_gradient_are_the_same_on_both_devices(rng):
    z, labels = latents_and_labels(rng)
    eps, schedule = rng.standard_normal(z.shape, dtype=np.float32), make_schedule("linear", 1000)

    def run():
        model = tiny_unet()
        weights = list(parameters_of(model).values())
        loss = diffusion_loss(model, jt.array(z), jt.array(labels), np.array([3, 500]), jt.array(eps), schedule)["loss"].sum()
        return [loss.numpy(), *(gradient.numpy() for gradient in jt.grad(loss, weights))]
    assert_close(both(run))


@needs_cuda
@pytest.mark.parametrize("height, width", [(16, 24), (48, 32)])
def test_the_autoencoder_is_the_same_on_both_devices(rng, height, width):
    x = rng.uniform(-1, 1, (2, 3, height, width)).astype(np.float32)

    def run():
        model = tiny_autoencoder()
        with jt.no_grad():
            z = model.encode(jt.array(x))
            return [z.numpy(), model.decode(z, quantise=False).numpy()]     # a code next to a border may be another one
    assert_close(both(run))


@needs_cuda
@pytest.mark.parametrize("dtype, cost", [("float16", 4e-3), ("bfloat16", 3e-2)])
def test_the_unet_in_16_bits_on_the_gpu_is_near_float32_on_the_cpu(rng, dtype, cost):
    z, labels = latents_and_labels(rng)

    def run(precision):
        model = tiny_unet()
        compute_in(model, precision)
        weights = list(parameters_of(model).values())
        out = model(jt.array(z), 500, jt.array(labels))
        gradients = jt.grad((out * out).sum(), weights)
        return [np.asarray(array, np.float64) for array in (out.numpy(), *(gradient.numpy() for gradient in gradients))]

    with jt.flag_scope(use_cuda=0):
        exact = run("float32")
    with jt.flag_scope(use_cuda=1):
        found = run(dtype)
    assert np.sqrt(np.mean((found[0] - exact[0]) ** 2)) < cost * exact[0].std()
    a, b = (np.concatenate([array.reshape(-1) for array in arrays[1:]]) for arrays in (exact, found))
    assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.999


@needs_cuda
@pytest.mark.parametrize("dtype, cost", [("float32", TOLERANCE), ("float16", 4e-3), ("bfloat16", 3e-2)])
def test_with_channels_last_the_gpu_gives_the_unets_numbers_and_gradients(rng, dtype, cost):
    z, labels = latents_and_labels(rng)

    def run(memory_format):
        model = tiny_unet()
        compute_in(model, dtype)
        arrange(model, memory_format)
        out = model(jt.array(z), 500, jt.array(labels))
        with jt.no_grad():
            guidance = guided(CachedUNet(model), 3.5)(jt.array(z), 500, jt.array(labels))
        gradients = jt.grad((out * out).sum(), list(parameters_of(model).values()))
        return [np.asarray(array, np.float64) for array in (out.numpy(), guidance.numpy(), *(one.numpy() for one in gradients))]

    with jt.flag_scope(use_cuda=1):
        first, last = run("channels_first"), run("channels_last")
    for i in range(2):
        assert np.sqrt(np.mean((last[i] - first[i]) ** 2)) < (1, 6)[i] * cost * first[i].std()
    a, b = (np.concatenate([array.reshape(-1) for array in arrays[2:]]) for arrays in (first, last))
    assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.999


@needs_cuda
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_arrays_are_turned_on_the_gpu_as_they_are(rng, dtype):
    for shape in ((2, 33, 70), (3, 5, 9), (1, 256, 12288)):
        array = rng.standard_normal(shape, dtype=np.float32)
        with jt.flag_scope(use_cuda=1):
            given = to(jt.array(array), dtype)
            np.testing.assert_array_equal(to_float32(turn(given)).numpy(), to_float32(given).numpy().transpose(0, 2, 1))


@needs_cuda
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_cudnns_convolution_and_its_gradients_are_those_of_the_cpu(rng, dtype, last):
    order = (0, 2, 3, 1)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in ((2, 8, 6, 10), (16, 8, 3, 3), (2, 16, 6, 10))]
    with jt.flag_scope(use_cuda=0):
        exact_x, exact_w = map(jt.array, arrays[:2])
        y = conv2d(exact_x, exact_w, jt.zeros((16,)), 1, 1)
        exact = [one.numpy() for one in (y, *jt.grad((y * jt.array(arrays[2])).sum(), [exact_x, exact_w]))]
    turned = lambda array: np.ascontiguousarray(array.transpose(order)) if last else array
    with jt.flag_scope(use_cuda=1):
        x, w, weight = (to(jt.array(turned(array)), dtype) for array in arrays)
        y = cudnn_conv(x, w, stride=1, padding=1, last=last)
        found = [to_float32(one).numpy() for one in (y, *jt.grad(to_float32(y * weight).sum(), [x, w]))]
    for one, array in zip(found, exact):
        cost = TOLERANCE if dtype != "bfloat16" else 3 * TOLERANCE
        np.testing.assert_allclose(one, turned(array), rtol=0, atol=cost * np.abs(array).max())
