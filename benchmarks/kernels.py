"""Every kernel against its plain Jittor reference and against what the machine allows, at sizes the full networks use.

ratio: kernel seconds over reference seconds, both in this run; below 1 the kernel is faster. of floor: the least time that its
bytes need at the bandwidth of a copy, or its arithmetic at the speed of a large product, over the kernel's time; both are
measured in this run, in the same numbers. 0.7 and more is a kernel that memory alone could make faster.
"""
import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.measure import conv_gflops, copy_gb_per_second, product_gflops, seconds
from models.kernels.adamw_ema import NUMBERS, adamw_ema
from models.kernels.add_moments import add_moments
from models.kernels.attention import attention
from models.kernels.casting import to, to_float32
from models.kernels.conv import conv2d
from models.kernels.nearest_code import nearest_code
from models.kernels.norm_branches import norm_branches
from models.kernels.norm_modulate import norm_modulate, norm_modulate_maps
from models.kernels.pool import pool
from models.kernels.turn import turn
from runtime.backend import DEVICE, jt


@dataclass
class Case:
    """A kernel at one size. call(impl, *arrays); moved: arrays of the first one's size that a forward, and a forward with
    gradient, have to read or write; gflop: of the same two."""
    name: str
    call: Callable
    shapes: list
    gradient: bool = True
    moved: Optional[tuple] = None
    gflop: Optional[tuple] = None
    float32_only: bool = False


def cases():
    """Every Case."""
    conv = lambda k: lambda impl, x, w, b: conv2d(x, w, b, 1, k // 2, impl=impl)
    spade = lambda impl, x, m, t: norm_modulate_maps(x, m, 32, 1e-5, t, impl=impl)
    affine = lambda impl, x, g, b: norm_modulate(x, g, b, 32, 1e-5, impl=impl)
    for k, channels, height, width in ((3, 1024, 6, 8), (3, 768, 12, 16), (1, 1024, 6, 8)):
        gflop = 2 * channels ** 2 * k * k * height * width / 1e9
        yield Case(f"conv {k}x{k}, {channels} to {channels}, {height}x{width}", conv(k),
                   [(1, channels, height, width), (channels, channels, k, k), (channels,)], gflop=(gflop, 3 * gflop))
    gflop = 2 * 512 * 256 * 96 * 128 / 1e9
    yield Case("conv 1x1, 512 to 256, 96x128", conv(1), [(1, 512, 96, 128), (256, 512, 1, 1), (256,)],
               gflop=(gflop, 3 * gflop))
    if DEVICE == "cpu":
        yield from cases_cpu()
    image = (1, 256, 96, 128)
    maps = (1, 512, 96, 128)
    # x, gamma, beta, y; with the gradient also dy, x, gamma, beta again and dx, dgamma, dbeta.
    yield Case("SPADE norm + time + SiLU, 256, 96x128", spade, [image, maps, (1, 512)], moved=(4, 11))
    yield Case("group norm + SiLU, 256, 96x128", affine, [image, (256,), (256,)], moved=(2, 5))
    yield Case("SPADE of kept maps, two branches, 256, 96x128",
               lambda impl, x, m, e, t: norm_branches(x, m, e, 32, timestep=t, impl=impl),
               [(2, 256, 96, 128), maps, (512, 3, 3), (1, 512)], gradient=False, moved=(3, 0))
    # Here "plain" is the same kernel of the norm after a sum by operators.
    yield Case("bias, residual, then SPADE norm, 256, 96x128", with_sum, [image, (256,), image, maps, (1, 512)], moved=(7, 16))
    if DEVICE == "cuda":                                    # on a CPU arrays are turned round: nothing to compare
        yield from cases_last()
    for heads, positions in ((8, 768), (12, 192), (16, 48)):
        gflop = 4 * heads * 64 * positions ** 2 / 1e9
        yield Case(f"attention, {heads} heads of 64, {positions} positions",
                   lambda impl, x, heads=heads: attention(x, heads, impl), [(1, heads * 3 * 64, positions)],
                   gflop=(gflop, 3.5 * gflop))
    yield Case("attention, 1 head of 512, 48x64", lambda impl, x: attention(x, 1, impl), [(1, 3 * 512, 3072)],
               gradient=False, gflop=(4 * 512 * 3072 ** 2 / 1e9, 0))
    yield Case("nearest of 8192 codes, 96x128", lambda impl, z, c: nearest_code(z, c, impl), [(12288, 3), (8192, 3)],
               gradient=False, float32_only=True)
    numbers = dict.fromkeys(NUMBERS, 0.5)
    yield Case("AdamW with average, 9 M weights", lambda impl, p, g, m, v, e: adamw_ema(p, g, m, v, e, numbers, impl),
               [(3000, 3000)] * 5, gradient=False, moved=(9, 0), float32_only=True)


def cases_cpu():
    """The Cases of what has kernels on a CPU only."""
    ours = lambda impl, x, w, b: conv2d(x, w, b, 1, 1, impl="auto" if impl == "kernel" else impl)       # conv_onednn.py
    for outputs, inputs, height, width in ((128, 128, 384, 512), (256, 256, 96, 128), (64, 64, 96, 128), (128, 3, 384, 512)):
        gflop = 2 * outputs * inputs * 9 * height * width / 1e9
        yield Case(f"conv 3x3, {inputs} to {outputs}, {height}x{width}", ours,
                   [(1, inputs, height, width), (outputs, inputs, 3, 3), (outputs,)], gflop=(gflop, 3 * gflop))
    yield Case("maximum of 3x3, 64, 147x147", lambda impl, x: pool(x, "max", 2, impl=impl), [(1, 147, 147, 64)],
               gradient=False, moved=(1.25, 0), float32_only=True)


def with_sum(impl, y, bias, residual, maps, timestep):
    """y + bias + residual and its norm: with the moments found while adding, or one after the other."""
    if impl == "kernel":
        total, moments = add_moments(y, bias, residual, 32, 1e-5)
        return norm_modulate_maps(total, maps, 32, 1e-5, timestep, moments=moments), total
    total = to(to_float32(y) + bias.reshape(1, -1, 1, 1) + to_float32(residual), y.dtype)
    return norm_modulate_maps(total, maps, 32, 1e-5, timestep), total


def cases_last():
    """The Cases of channels last, and of an image turned round."""
    image, maps = (1, 96, 128, 256), (1, 96, 128, 512)
    norm = {"last": True, "eps": 1e-5, "groups": 32}
    yield Case("the same SPADE norm, channels last",
               lambda impl, x, m, t: norm_modulate_maps(x, m, timestep=t, impl=impl, **norm), [image, maps, (1, 512)],
               moved=(4, 11))
    yield Case("the same group norm, channels last",
               lambda impl, x, g, b: norm_modulate(x, g, b, impl=impl, **norm), [image, (256,), (256,)], moved=(2, 5))
    yield Case("the same of kept maps, channels last",
               lambda impl, x, m, e, t: norm_branches(x, m, e, timestep=t, impl=impl, **norm),
               [(2, 96, 128, 256), maps, (3, 3, 512), (1, 512)], gradient=False, moved=(3, 0))
    gflop = 4 * 8 * 64 * 768 ** 2 / 1e9
    yield Case("attention, 8 heads of 64, 768, channels last", lambda impl, x: attention(x, 8, impl, last=True),
               [(1, 768, 8 * 3 * 64)], gflop=(gflop, 3.5 * gflop))
    yield Case("256 channels of 96x128 turned round", lambda impl, x: turn(x, impl), [(1, 256, 12288)], moved=(2, 4))
    yield Case("a weight of 1024 to 1024 turned round", lambda impl, x: turn(x, impl), [(1024, 1024, 9)], moved=(2, 4))


def measure(case, dtype, repeats, calls):
    """{"kernel": (forward, forward and backward), "reference": ...} seconds; None where the kernel does not run here."""
    rng = np.random.default_rng(0)
    arrays = [rng.random(shape, dtype=np.float32) - 0.5 * (case.name[:5] != "AdamW") for shape in case.shapes]
    found = {}
    for impl in ("kernel", "reference"):
        # Rows and weights of a channel stay float32, as in the networks.
        variables = [to(jt.array(array), dtype if array.ndim > 2 else "float32") for array in arrays]
        jt.sync(variables)
        outputs = lambda: listed(case.call(impl, *variables))
        with jt.no_grad():
            try:
                forward = seconds(outputs, repeats, warmup=2, calls=calls)
            except ValueError:                                       # no CUDA version: on a GPU there is nothing to compare
                return None
        both = None
        if case.gradient:
            total = lambda: to_float32(outputs()[0]).sum()
            both = seconds(lambda: jt.grad(total(), variables), repeats, warmup=2, calls=calls)
        found[impl] = forward, both
    return found


def listed(result):
    """One Var or several as a list."""
    return [var for var in result if var is not None] if isinstance(result, (tuple, list)) else [result]


def of_floor(case, taken, dtype, speeds):
    """[share of the floor of a forward, and with gradient], None where there is no count."""
    size, shares = math.prod(case.shapes[0]) * (2 if dtype != "float32" else 4), []
    for i, time in enumerate(taken):
        least = None
        if case.moved and case.moved[i]:
            least = case.moved[i] * size / (speeds["copy"] * 1e9)
        elif case.gflop and case.gflop[i]:
            least = case.gflop[i] / speeds["product"]
        shares.append(least / time if least and time else None)
    return shares


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="timed runs, of which the median counts (default: 9)")
    parser.add_argument("--dtypes", nargs="+", default=["float32"] if DEVICE == "cpu" else ["float32", "float16", "bfloat16"],
                        choices=["float32", "float16", "bfloat16"], help="(default: float32; on a GPU all three)")
    parser.add_argument("--json", action="store_true", help="one line of JSON per kernel")
    args = parser.parse_args()
    calls = 1 if DEVICE == "cpu" else 20                             # a launch takes as long as a small kernel
    for dtype in args.dtypes:
        speeds = {"copy": copy_gb_per_second(dtype),
                  "product": conv_gflops() if DEVICE == "cpu" else product_gflops(dtype)}
        if not args.json:
            print(heading(dtype, speeds))
        for case in cases():
            if case.float32_only and dtype != "float32":
                continue
            found = measure(case, dtype, args.repeats, calls)
            if found is None:
                print(json.dumps({"name": case.name, "dtype": dtype, "kernel": None}) if args.json
                      else f"{case.name:{WIDTH}} no kernel on the {DEVICE}")
                continue
            shares = of_floor(case, found["kernel"], dtype, speeds)
            columns = [(found["kernel"][i], found["reference"][i], shares[i]) for i in range(2 if case.gradient else 1)]
            print(json.dumps(record(case, dtype, columns)) if args.json else line(case, columns), flush=True)


WIDTH = 46  # of a name


def heading(dtype, speeds):
    """The lines above a type's."""
    columns = f" {'kernel':>9} {'plain':>9} {'ratio':>7} {'of floor':>9}  "
    return (f"{dtype} on the {DEVICE}, milliseconds: forward, and with the gradient; copies {speeds['copy']:.0f} GB/s, "
            f"products {speeds['product']:.0f} GFLOP/s\n{'':{WIDTH}}{columns}{columns}")


def line(case, columns):
    """A case as a person reads it."""
    return f"{case.name:{WIDTH}}" + "".join(
        f" {1000 * kernel:9.3f} {1000 * plain:9.3f} {kernel / plain:7.3f} {'' if share is None else f'{share:.2f}':>9}  "
        for kernel, plain, share in columns)


def record(case, dtype, columns):
    """A case as JSON holds it."""
    found = {"name": case.name, "dtype": dtype}
    for what, (kernel, plain, share) in zip(("forward", "backward"), columns):
        found.update({f"{what}_kernel_ms": 1000 * kernel, f"{what}_plain_ms": 1000 * plain, f"{what}_of_floor": share})
    return found


if __name__ == "__main__":
    main()
