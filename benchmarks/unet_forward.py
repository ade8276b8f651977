"""How near the full-size U-Net comes to the machine's own convolution speed: a forward, or with --train a step.

A forward costs 690 GFLOP a picture, nearly all of it in convolutions; share_of_conv_peak is its speed over that of a single
3x3 256-channel convolution at 96x128 in float32, measured in the same run.
"""
import argparse
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.flops import counting, unet_parts
from benchmarks.measure import conv_gflops, peak_mb, report, seconds
from configs.reading import load_config
from configs.schema import PRECISIONS
from ldm.losses import diffusion_loss
from ldm.schedule import make_schedule
from models.layers import parameters_of
from models.memory_format import FORMATS, arrange
from models.precision import compute_in, resolve
from models.unet import build_unet
from runtime.backend import jt
from training.state import TrainingState


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="iidm", help="whose U-Net (default: iidm, the published size)")
    parser.add_argument("--train", action="store_true", help="a training step: loss, gradients, AdamW, moving average")
    parser.add_argument("--batch", type=int, default=1, help="pictures at a time (default: 1)")
    parser.add_argument("--precision", default="float32", choices=[*PRECISIONS, "auto"], help="(default: float32)")
    parser.add_argument("--memory_format", default=FORMATS[0], choices=FORMATS, help="(default: channels_first)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, of which the median counts (default: 3)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args()

    config = load_config(args.config)
    model = build_unet(config.unet, seed=0)
    parameters = parameters_of(model)
    height, width = (n // config.autoencoder.factor for n in (config.data.height, config.data.width))
    rng = np.random.default_rng(0)
    z = rng.standard_normal((args.batch, config.unet.latent_channels, height, width), dtype=np.float32)
    labels = rng.integers(config.unet.classes, size=(args.batch, height, width)).astype(np.int32)
    precision = resolve(args.precision)
    compute_in(model, precision, store=not args.train)
    arrange(model, args.memory_format, store=not args.train)
    jt.sync(list(parameters.values()))
    with counting(model) as found, jt.no_grad():
        model(jt.array(z), 500, jt.array(labels))
    gflop = unet_parts(found)
    result = {"precision": precision, "memory_format": args.memory_format, "batch": args.batch,
              "parameters": sum(int(np.prod(p.shape)) for p in parameters.values()), "tensors": len(parameters), "gflop": gflop}

    if args.train:
        schedule, state = make_schedule("linear", 1000), TrainingState(parameters, config.train.unet)

        def step():
            loss = diffusion_loss(model, jt.array(z), jt.array(labels), np.full(args.batch, 500), jt.array(z), schedule)["loss"]
            state.step(loss.sum())
            return [loss]
        result["step_seconds"] = seconds(step, args.repeats)
    else:
        peaks = [conv_gflops()]
        with jt.no_grad():
            taken = seconds(lambda: [model(jt.array(z), 500, jt.array(labels))], args.repeats)
        peaks.append(conv_gflops())
        total = sum(gflop.values())
        result.update(seconds=taken, gflops=total / taken, conv_gflops=max(peaks),
                      share_of_conv_peak=total / taken / max(peaks))
    report({**result, "peak_mb": peak_mb()}, args.json)


if __name__ == "__main__":
    main()
