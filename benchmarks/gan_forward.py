"""A 512x384 picture by each GAN of Table 1 at its published width: seconds, GFLOP and the share of convolution peak.

Generators of configs/gaugan.yaml, clade, sean and scgan with drawn weights; the style encoder is left out. The peak is what a
single 3x3 convolution reaches before and after them in the same run.
"""
import argparse
import gc
import json
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from baselines.networks import build_generator, initialise
from baselines.semantics import Semantics
from benchmarks.gan_flops import generator_flops
from benchmarks.guided_step import areas
from benchmarks.measure import conv_gflops, peak_mb, seconds
from configs.reading import load_config
from runtime.backend import DEVICE, jt

NAMES = ("gaugan", "clade", "sean", "scgan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", choices=NAMES, default=NAMES, help="which (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="timed pictures of each (default: 3)")
    args = parser.parse_args()
    peaks = [conv_gflops()]
    rows = {name: forward(load_config(name, whole=False), args.repeats) for name in args.names}
    peaks.append(conv_gflops())
    for name, (taken, flops) in rows.items():
        print(json.dumps({"name": name, "device": DEVICE, "seconds": taken, "GFLOP": flops / 1e9, "gflops": flops / taken / 1e9,
                          "share_of_conv_peak": flops / taken / 1e9 / max(peaks), "peak_mb": peak_mb()}))


def forward(config, repeats):
    """(median seconds, FLOPs) of one picture of a config's size."""
    size, given = (config.data.height, config.data.width), config.gan.generator
    generator = build_generator(given)
    initialise(generator, seed=0)
    rng = np.random.default_rng(0)
    labels = areas(rng, 1, *size, given.classes).astype(np.int32)
    distance = np.zeros((1, 2, *size), dtype=np.float32) if given.distance else None
    style = None
    if given.family == "sean":
        style = jt.array(rng.standard_normal((1, given.classes, 512), dtype=np.float32))
    elif given.vae:
        style = jt.array(rng.standard_normal((1, given.z_dim), dtype=np.float32))
    with jt.no_grad():
        taken = seconds(lambda: [first(generator(Semantics(labels, given.classes, None, distance), style))], repeats)
    flops = generator_flops(generator, size)
    gc.collect()
    return taken, flops


def first(out):
    """The picture of what a generator gives."""
    return out[0] if isinstance(out, (tuple, list)) else out


if __name__ == "__main__":
    main()
