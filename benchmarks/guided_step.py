"""A guided denoising step: the plain way, two whole forwards, against ours (models/cached_unet.py), in one run.

Prints one line of JSON: seconds of both (medians of interleaved runs, after a warm-up that makes what depends on the mask),
their ratio, the greatest difference of their outputs, GFLOP of both as counted while they ran, the GFLOP/s reached, that of
a single 3x3 256-channel convolution at 96x128 in the same run, and what was kept. `cold_seconds` is the first step's.
"""
import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.flops import counting
from benchmarks.measure import conv_gflops, gpu_mb, peak_mb, seconds
from configs.reading import load_config
from configs.schema import PRECISIONS
from ldm.guidance import guided
from models.cached_unet import BYTES, CachedUNet
from models.layers import initialise, parameters_of
from models.memory_format import FORMATS, arrange
from models.precision import compute_in, resolve
from models.unet import build_unet
from runtime.backend import DEVICE, jt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the published size; else that of mini.yaml")
    parser.add_argument("--config", help="any other config's U-Net")
    parser.add_argument("--batch", type=int, default=1, help="pictures at a time (default: 1)")
    parser.add_argument("--cache_gb", type=float, default=4.0, help="bound on the kept gamma and beta (default: 4)")
    parser.add_argument("--precision", default="float32", choices=[*PRECISIONS, "auto"], help="of both (default: float32)")
    parser.add_argument("--memory_format", default=FORMATS[0], choices=FORMATS, help="of both (default: channels_first)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, taken in turns (default: 5)")
    args = parser.parse_args()

    config = load_config(args.config or ("iidm" if args.full else "mini"))
    model = build_unet(config.unet)
    initialise(model, seed=0)                               # no layer zero, so that every one shows in the outputs
    height, width = (n // config.autoencoder.factor for n in (config.data.height, config.data.width))
    rng = np.random.default_rng(0)
    z = jt.array(rng.standard_normal((args.batch, config.unet.latent_channels, height, width), dtype=np.float32))
    labels = jt.array(areas(rng, args.batch, height, width, config.unet.classes))
    jt.sync([z, labels, *parameters_of(model).values()])

    precision = resolve(args.precision)
    compute_in(model, precision, store=True)
    arrange(model, args.memory_format, store=True)
    prepared = CachedUNet(model, args.cache_gb)
    ways = {"plain": guided(model, 3.5), "ours": guided(prepared, 3.5)}
    with jt.no_grad():
        cold = seconds(lambda: [ways["ours"](z, 500, labels)], repeats=1, warmup=0)
        gflop = {}
        for name, way in ways.items():
            with counting(model) as found:
                way(z, 500, labels).sync()
            gflop[name] = sum(found.values()) / 1e9
        outputs = {name: way(z, 500, labels).numpy() for name, way in ways.items()}
        peaks, times = [conv_gflops()], {name: [] for name in ways}
        for _ in range(args.repeats):
            for name, way in ways.items():
                times[name].append(seconds(lambda: [way(z, 500, labels)], repeats=1, warmup=0))
        peaks.append(conv_gflops())
    taken = {name: statistics.median(values) for name, values in times.items()}
    kept = sum(BYTES[precision] * int(np.prod(var.shape)) for var in prepared.kept_maps)
    print(json.dumps({
        "device": DEVICE, "precision": precision, "memory_format": args.memory_format, "batch": args.batch,
        "plain_seconds": taken["plain"], "seconds": taken["ours"], "ratio": taken["ours"] / taken["plain"],
        "max_difference": float(np.abs(outputs["ours"] - outputs["plain"]).max()),
        "plain_gflop": gflop["plain"], "gflop": gflop["ours"], "gflop_ratio": gflop["ours"] / gflop["plain"],
        "plain_gflops": gflop["plain"] / taken["plain"], "gflops": gflop["ours"] / taken["ours"], "conv_gflops": max(peaks),
        "cold_seconds": cold, "kept_gb": kept / 1e9, "kept_layers": len(prepared.kept_maps),
        "layers": len(prepared.layers), "peak_mb": peak_mb(), **gpu_mb()}))


def areas(rng, batch, height, width, classes):
    """Label maps of a few rectangles each, int32 (B, height, width)."""
    coarse = rng.integers(classes, size=(batch, 4, 5))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 5 // width
    return coarse[:, rows][:, :, columns].astype(np.int32)


if __name__ == "__main__":
    main()
