"""What 16 bits cost a picture: one guided round of Algorithm 2 from the same noised start in every precision, decoded without
quantisation, against float32.

On a CPU 16 bits are imitated: every array between operators is rounded as a GPU rounds it, sums are float32's. The demo's
weights unless others are named. One line of JSON: the PSNR of each picture and the median, in dB, and with --sheet a picture.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.solver_convergence import load, psnr
from configs.schema import PRECISIONS
from data.landscape import read_image, read_labels
from ldm.algorithm2 import noised
from ldm.guidance import guided_in
from ldm.noise import normal
from ldm.pixels import to_uint8
from ldm.sample import denoise
from ldm.schedule import points_of
from runtime import pictures
from runtime.backend import DEVICE, jt
from runtime.errors import run_script


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="iidm_fast", help="whose first round (default: iidm_fast)")
    parser.add_argument("--checkpoint", help="U-Net weights (default: those of mini.yaml)")
    parser.add_argument("--autoencoder", metavar="FILE", help="its weights (default: those the checkpoint's config names)")
    parser.add_argument("--input_path", metavar="TEST", help="masks, as for test.py (default: synthetic landscapes)")
    parser.add_argument("--img_path", metavar="TRAIN", help="the reference images, as for test.py")
    parser.add_argument("--pictures", type=int, default=8, help="only the first so many masks (default: 8)")
    parser.add_argument("--sheet", help="a file for the pictures of every precision, side by side")
    return parser.parse_args(argv)


def main(argv):
    args = parse(argv)
    found, start = {}, None
    for precision in PRECISIONS:                             # float32 first: its noised start is everyone's
        config, (encode, decode, model), cases, schedule = load(args, precision)
        size, factor = (config.data.height, config.data.width), config.autoencoder.factor
        photos = np.stack([read_image(case.reference, *size) for case in cases])
        labels = np.stack([read_labels(case.mask, *(n // factor for n in size)) for case in cases]).astype(np.int32)
        names, shape = [case.stem for case in cases], (config.unet.latent_channels, *labels.shape[1:])
        round_, sampling = config.sampling.rounds[0], config.sampling
        with jt.no_grad():
            if start is None:
                eps = jt.array(normal(sampling.seed, names, 0, shape, "start"))
                start = noised(encode, photos, round_, schedule, eps).numpy()
            eps_model = guided_in(model, round_)
            z = denoise(eps_model, jt.array(start), jt.array(labels), points_of(round_, schedule), round_.sampler, round_.eta,
                        lambda i: normal(sampling.seed, names, 0, shape, i))                # noqa: B023
            found[precision] = np.clip(decode(z, quantise=False).numpy(), -1, 1)
    exact = found["float32"]
    decibels = {name: psnr(((images - exact) ** 2).mean((1, 2, 3))).tolist() for name, images in found.items()
                if name != "float32"}
    print(json.dumps({"device": DEVICE, "checkpoint": str(args.checkpoint or "mini"), "config": args.config,
                      "pictures": len(exact), "steps": round_.steps,
                      **{f"{name}_median_psnr": float(np.median(values)) for name, values in decibels.items()},
                      **{f"{name}_psnr": values for name, values in decibels.items()}}))
    if args.sheet:
        rows = [[to_uint8(jt.array(images[i:i + 1]))[0] for images in found.values()] for i in range(min(4, len(exact)))]
        pictures.save(args.sheet, pictures.grid(rows, captions=list(found)))


if __name__ == "__main__":
    run_script(main)
