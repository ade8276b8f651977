"""Marks, small networks, oracles and tools for tests."""
import functools
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from configs.schema import AutoencoderConfig, SegmenterConfig, UNetConfig

ROOT = Path(__file__).resolve().parent.parent


needs_cuda = pytest.mark.cuda    # conftest.py skips it, with the reason, where Jittor runs on the CPU


def run_python(code, *args, **environ):
    """Runs Python source in a process of its own, in the repository; environ: variables to set, None removes one."""
    values = {**os.environ, **environ}
    values = {name: value for name, value in values.items() if value is not None}
    return subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, env=values, capture_output=True, text=True,
                          timeout=1800)


def on_cpu(test):
    """Runs a test on the CPU even where there is a GPU, where the same numbers may round differently."""
    @functools.wraps(test)
    def run(*args, **kwargs):
        from runtime.backend import jt
        with jt.flag_scope(use_cuda=0):
            return test(*args, **kwargs)
    return run


# ------------------------------------------------------------------------------------------------ small networks

# The same for every test, so that Jittor compiles their operators once. Latents are 8 x 12: height is not width.
TINY_UNET = UNetConfig(channels=32, channel_mult=[1, 2], res_blocks=1, attention_factors=[2], head_channels=32,
                       spade_channels=8)
TINY_AUTOENCODER = AutoencoderConfig(channels=32, channel_mult=[1, 1, 2], res_blocks=1, codes=64)
TINY_SEGMENTER = SegmenterConfig(widths=[8, 16, 40, 64], depths=[1, 1, 1, 1], decoder=24)


def drawn(shape, name, seed=0):
    """The weights of a golden network (tests/data/golden/README.md): they follow from a tensor's name and shape."""
    rng = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()) & 0xffffffff)
    n = rng.standard_normal(tuple(shape))
    if name.split(".")[-1] == "bias":
        n = 0.05 * n
    elif len(shape) == 1:
        n = 1 + 0.1 * n
    elif "embedding" in name:
        n = 0.5 * n
    else:
        n = n / np.sqrt(np.prod(shape[1:]))
    return n.astype(np.float32)


def with_drawn_weights(model, seed=0):
    """A model whose every tensor is drawn: none is zero, so that each of them matters."""
    from models.layers import parameters_of
    from models.weights.checkpoint import fill
    fill(model, {name: drawn(var.shape, name, seed) for name, var in parameters_of(model).items()}, "drawn")
    return model


def tiny_unet():
    """A U-Net of TINY_UNET with drawn weights."""
    from models.unet import UNet
    return with_drawn_weights(UNet(TINY_UNET))


def tiny_autoencoder():
    """An autoencoder of TINY_AUTOENCODER with drawn weights."""
    from models.autoencoder import VQAutoencoder
    return with_drawn_weights(VQAutoencoder(TINY_AUTOENCODER))


def latents_and_labels(rng, batch=2):
    """z (B, 3, 8, 12) float32 and labels (B, 8, 12) int32, some of them -1."""
    return (rng.standard_normal((batch, 3, 8, 12), dtype=np.float32),
            rng.integers(-1, 29, (batch, 8, 12)).astype(np.int32))


# ------------------------------------------------------------------------------------------------ float64 oracles

def convolve(x, weight, bias, stride=1, padding=0):
    """A convolution by its definition: x (B, Cin, H, W), weight (Cout, Cin, k, k), bias (Cout,)."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = weight.shape[2]
    height, width = ((n - k) // stride + 1 for n in x.shape[2:])
    y = np.zeros((len(x), len(weight), height, width)) + bias.astype(np.float64)[:, None, None]
    for i in range(k):
        for j in range(k):
            part = x[:, :, i:i + stride * height:stride, j:j + stride * width:stride]
            y += np.einsum("bchw,oc->bohw", part, weight[:, :, i, j].astype(np.float64))
    return y


def normalise(x, groups, eps):
    """Group normalisation without weights, x (B, C, H, W)."""
    h = x.astype(np.float64).reshape(len(x), groups, -1)
    return ((h - h.mean(2, keepdims=True)) / np.sqrt(h.var(2, keepdims=True) + eps)).reshape(x.shape)


def silu(x):
    """x * sigmoid(x)."""
    return x / (1 + np.exp(-x))


def slopes(f, array, positions, h=1e-5):
    """Central differences of f() at flat positions of a float64 array that it reads."""
    flat, found = array.reshape(-1), []
    assert array.dtype == np.float64 and np.shares_memory(flat, array)
    for i in positions:
        kept = flat[i]
        flat[i] = kept + h
        above = f()
        flat[i] = kept - h
        found.append((above - f()) / (2 * h))
        flat[i] = kept
    return np.array(found)
