"""Convolutions of 16-bit numbers on a GPU, channels first or last: what each layout takes, and whether turning round pays.

Our networks hold channels first, or last where models/memory_format.py says so. Tensor cores want them last, and cuDNN turns
arrays round by itself where they are not. Per size of the full U-Net, milliseconds of: Jittor's own call, ours with channels
first, ours with channels last as it lies, and ours with channels last from and to arrays that hold them first. Where `last` is
below `first`, channels last are the faster switch; where `turned` is, they would be in a network that holds them first. Then
bias and residual, either layout: by operators after the convolution, by our kernel in the same call, by cuDNN alone; where the
third is below the second, models/kernels/cudnn_conv.py had better take it.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.measure import seconds
from models.kernels.casting import to, to_float32
from models.kernels.cudnn_conv import cudnn_conv
from models.kernels.turn import to_first, to_last
from runtime.backend import DEVICE, jt, nn
from runtime.errors import RunError, run_script

SIZES = [(256, 256, 96, 128, 3), (512, 256, 96, 128, 3), (512, 256, 96, 128, 1), (512, 512, 24, 32, 3), (1280, 512, 24, 32, 3),
         (1536, 768, 12, 16, 3), (2048, 1024, 6, 8, 3), (128, 512, 96, 128, 3)]            # the last: gamma and beta of a mask


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conv_layouts", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="pictures at a time (default: 8)")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float16"], choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--repeats", type=int, default=9, help="timed runs, of which the median counts (default: 9)")
    args = parser.parse_args(argv)
    if DEVICE == "cpu":
        raise RunError("layouts are a GPU's matter: this machine's Jittor runs on the CPU")
    for dtype in args.dtypes:
        for sizes in SIZES:
            print(json.dumps(measure(*sizes, args.batch, dtype, args.repeats)), flush=True)


def measure(inputs, outputs, height, width, k, batch, dtype, repeats):
    """One row."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: to(jt.array(rng.standard_normal(shape, dtype=np.float32)), dtype)
    x, w = draw(batch, inputs, height, width), draw(outputs, inputs, k, k)
    x_last, w_last = to_last(x), to_last(w)
    jt.sync([x, w, x_last, w_last])
    pad = k // 2
    bias, residual = draw(outputs), draw(batch, outputs, height, width)
    residual_last = to_last(residual)
    jt.sync([bias, residual, residual_last])
    first = lambda *more, **options: cudnn_conv(x, w, *more, padding=pad, **options)
    last = lambda *more, **options: cudnn_conv(x_last, w_last, *more, padding=pad, last=True, **options)
    ways = {"jittor": lambda: nn.conv2d(x, w, None, 1, pad), "first": first, "last": last,
            "turned": lambda: to_first(cudnn_conv(to_last(x), w_last, padding=pad, last=True)),
            "first_added": lambda: to(to_float32(to(to_float32(first()) + to_float32(bias).reshape(1, -1, 1, 1), dtype))
                                      + to_float32(residual), dtype),
            "first_kernel": lambda: first(bias, residual), "first_cudnn": lambda: first(bias, residual, epilogue="cudnn"),
            "last_kernel": lambda: last(bias, residual_last),
            "last_cudnn": lambda: last(bias, residual_last, epilogue="cudnn")}
    with jt.no_grad():
        taken = {f"{name}_ms": 1000 * seconds(lambda: [way()], repeats, warmup=2, calls=10) for name, way in ways.items()}
        exact = to_float32(ways["first"]()).numpy()
        found = to_float32(ways["turned"]()).numpy()
    gflop = 2 * batch * inputs * outputs * k * k * height * width / 1e9
    return {"inputs": inputs, "outputs": outputs, "height": height, "width": width, "kernel": k, "batch": batch, "dtype": dtype,
            **taken, "tflops_first": gflop / taken["first_ms"], "tflops_last": gflop / taken["last_ms"],
            "max_difference": float(np.abs(found - exact).max() / np.abs(exact).max())}


if __name__ == "__main__":
    run_script(main)
