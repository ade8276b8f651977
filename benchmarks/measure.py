"""Timing and memory: medians over runs, the machine's own convolution speed to compare with, peak resident memory."""
import json
import statistics
import time

import numpy as np

from runtime.backend import DEVICE, jt, nn
from runtime.memory import peak_memory


def seconds(run, repeats, warmup=1, calls=1):
    """Median seconds of run(), which must return Vars; they are waited for, those of so many calls at once."""
    times = []
    for i in range(warmup + repeats):
        jt.sync_all(True)
        start = time.perf_counter()
        jt.sync([var for _ in range(calls) for var in run()])
        jt.sync_all(True)
        if i >= warmup:
            times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)


def conv_gflops(channels=256, height=96, width=128, repeats=7):
    """What this machine's convolution reaches: 3x3, `channels` to `channels`, at height x width, GFLOP/s."""
    rng = np.random.default_rng(0)
    x = jt.array(rng.standard_normal((1, channels, height, width), dtype=np.float32))
    w = jt.array(rng.standard_normal((channels, channels, 3, 3), dtype=np.float32))
    jt.sync([x, w])
    with jt.no_grad():
        taken = seconds(lambda: [nn.conv2d(x, w, None, 1, 1)], repeats, warmup=2)
    return 2 * channels * channels * 9 * height * width / taken / 1e9


def copy_gb_per_second(dtype="float32", megabytes=256, repeats=7):
    """The bandwidth of an array of a type copied: bytes read and bytes written, GB/s."""
    x = jt.zeros((megabytes * 10 ** 6 // (4 if dtype == "float32" else 2),)).cast(dtype)
    x.sync()
    with jt.no_grad():
        taken = seconds(lambda: [x + x], repeats, warmup=2)
    return 2 * megabytes / 1e3 / taken


def product_gflops(dtype, size=4096, repeats=7):
    """What a square matrix product of a type reaches, GFLOP/s."""
    a, b = (jt.random((size, size)).cast(dtype) for _ in range(2))
    jt.sync([a, b])
    with jt.no_grad():
        taken = seconds(lambda: [nn.matmul(a, b)], repeats, warmup=2, calls=5)
    return 2 * size ** 3 / taken / 1e9


def peak_mb():
    """Peak resident memory of this process in MB, 10^6 bytes (on a GPU: of the host)."""
    return peak_memory() / 1e6


def gpu_mb():
    """{"gpu_mb": memory of the GPU that Jittor holds, in MB}; nothing on a CPU. It keeps what it has once taken."""
    return {"gpu_mb": jt.get_mem_info().total_cuda_used / 1e6} if DEVICE == "cuda" else {}


def report(result, as_json):
    """Prints {name: value} as one line of JSON, or a line each."""
    result = {"device": DEVICE, **result, **gpu_mb()}
    if as_json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:22} {value:.4g}" if isinstance(value, float) else f"{name:22} {value}")
