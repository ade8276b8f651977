"""What an autoencoder keeps of photos: PSNR of each reconstruction, their mean, and a picture of some beside the photos.

Also the latents' mean and deviation over all photos: diffusion wants them near 0 and 1 (autoencoder.latent_scale).
"""
import argparse
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.measure import peak_mb, report, seconds
from configs.schema import AutoencoderConfig
from data.landscape import read_image
from ldm.pixels import from_uint8, to_uint8
from models.weights.loading import load_autoencoder
from runtime import pictures
from runtime.backend import jt
from runtime.errors import UserError, run_script
from runtime.log import progress_bar

SHOWN = 6


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconstruct", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autoencoder", help="a checkpoint of ours or a foreign one")
    parser.add_argument("images", help="a folder of photos")
    parser.add_argument("--picture", default="reconstructions.png", help="where to draw (default: reconstructions.png)")
    parser.add_argument("--width", type=int, default=512, help="of the images (default: 512)")
    parser.add_argument("--height", type=int, default=384, help="of the images (default: 384)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args(argv)
    paths = sorted(path for path in Path(args.images).glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        raise UserError(f"{args.images}: found no .jpg or .png, expected photos")
    model, config, notes = load_autoencoder(AutoencoderConfig(path=args.autoencoder))
    values, rows, total, squares, count = {}, [], 0.0, 0.0, 0
    for path in progress_bar(paths, label="reconstructing", unit="image"):
        image = read_image(path, args.height, args.width)
        with jt.no_grad():
            z = model.encode(from_uint8(image[None]))
            found = to_uint8(model.decode(z))[0]
        error = ((found.astype(np.float64) - image) ** 2).mean()
        values[path.name] = float(10 * np.log10(255 ** 2 / error)) if error else float("inf")
        z = z.numpy().astype(np.float64)
        total, squares, count = total + z.sum(), squares + (z ** 2).sum(), count + z.size
        if len(rows) < SHOWN and len(values) % max(1, len(paths) // SHOWN) == 0:
            rows.append([image, found])
    pictures.save(args.picture, pictures.grid(rows, captions=["photo", "reconstruction"]))
    x = from_uint8(image[None])
    with jt.no_grad():
        z = model.encode(x)
        z.sync()
        times = {"encode_seconds": seconds(lambda: [model.encode(x)], 3),
                 "decode_seconds": seconds(lambda: [model.decode(z)], 3)}
    worst = min(values, key=values.get)
    mean = total / count
    report({"kind": config.kind, "factor": config.factor, "channels": config.embed_dim, "images": len(values),
            "mean_psnr": float(np.mean(list(values.values()))), "least_psnr": values[worst], "least": worst,
            "latent_mean": mean, "latent_deviation": float(np.sqrt(squares / count - mean ** 2)), **times, "peak_mb": peak_mb(),
            "notes": notes}, args.json)


if __name__ == "__main__":
    run_script(main)
