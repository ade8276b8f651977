"""Every kernel against its plain Jittor reference, forward and backward, at sizes the full networks use.

ratio: kernel seconds over reference seconds, both in this run; below 1 the kernel is faster.
"""
import argparse
import json

import numpy as np

from benchmarks.measure import seconds
from models.kernels.attention import attention
from models.kernels.conv import conv2d
from models.kernels.nearest_code import nearest_code
from models.kernels.norm_modulate import norm_modulate
from runtime.backend import DEVICE, jt


def cases():
    """(name, call(impl, *arrays), shapes of its arrays, whether it has a gradient)."""
    conv = lambda k: lambda impl, x, w, b: conv2d(x, w, b, 1, k // 2, impl=impl)
    spade = lambda impl, x, g, b, s, t: norm_modulate(x, g, b, 32, 1e-5, s, t, impl=impl)
    affine = lambda impl, x, g, b: norm_modulate(x, g, b, 32, 1e-5, impl=impl)
    yield "conv 3x3, 1024 to 1024, 6x8", conv(3), [(1, 1024, 6, 8), (1024, 1024, 3, 3), (1024,)], True
    yield "conv 3x3, 768 to 768, 12x16", conv(3), [(1, 768, 12, 16), (768, 768, 3, 3), (768,)], True
    yield "conv 1x1, 1024 to 1024, 6x8", conv(1), [(1, 1024, 6, 8), (1024, 1024, 1, 1), (1024,)], True
    yield "conv 1x1, 512 to 256, 96x128", conv(1), [(1, 512, 96, 128), (256, 512, 1, 1), (256,)], True
    image = (1, 256, 96, 128)
    yield "SPADE norm + time + SiLU, 256, 96x128", spade, [image, image, image, (1, 256), (1, 256)], True
    yield "group norm + SiLU, 256, 96x128", affine, [image, (256,), (256,)], True
    yield "attention, 8 heads of 64, 24x32", lambda impl, x: attention(x, 8, impl), [(1, 8 * 3 * 64, 768)], True
    yield "attention, 1 head of 512, 48x64", lambda impl, x: attention(x, 1, impl), [(1, 3 * 512, 3072)], False
    yield "nearest of 8192 codes, 96x128", lambda impl, z, c: nearest_code(z, c, impl), [(12288, 3), (8192, 3)], False


def measure(call, shapes, gradient, repeats):
    """{"kernel": (forward, forward and backward), "reference": ...} seconds."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    found = {}
    for impl in ("kernel", "reference"):
        variables = [jt.array(array) for array in arrays]
        jt.sync(variables)
        with jt.no_grad():
            try:
                forward = seconds(lambda: [call(impl, *variables)], repeats, warmup=2)
            except ValueError:                                       # no CUDA version: on a GPU there is nothing to compare
                return None
        both = seconds(lambda: jt.grad(call(impl, *variables).sum(), variables), repeats, warmup=2) if gradient else None
        found[impl] = forward, both
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="timed runs, of which the median counts (default: 9)")
    parser.add_argument("--json", action="store_true", help="one line of JSON per kernel")
    args = parser.parse_args()
    if not args.json:
        print(f"on the {DEVICE}, milliseconds: forward, and with the gradient\n"
              f"{'':40} {'kernel':>9} {'plain':>9} {'ratio':>7}   {'kernel':>9} {'plain':>9} {'ratio':>7}")
    for name, call, shapes, gradient in cases():
        found = measure(call, shapes, gradient, args.repeats)
        if found is None:
            print(json.dumps({"name": name, "kernel": None}) if args.json else f"{name:40} no kernel on the {DEVICE}")
            continue
        columns = [(found["kernel"][i], found["reference"][i]) for i in range(2 if gradient else 1)]
        if args.json:
            print(json.dumps({"name": name, **{f"{what}_{impl}_ms": 1000 * value for what, pair in
                                               zip(("forward", "backward"), columns)
                                               for impl, value in zip(("kernel", "plain"), pair)}}))
        else:
            print(f"{name:40} " + "   ".join(f"{1000 * a:9.2f} {1000 * b:9.2f} {a / b:7.3f}" for a, b in columns))


if __name__ == "__main__":
    main()
