"""The full-size autoencoder at 512x384, batch 1: seconds to encode an image and to decode its latents."""
import argparse
import sys
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.measure import peak_mb, report, seconds
from configs.reading import load_config
from models.autoencoder import build_autoencoder
from runtime.backend import jt


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="iidm", help="whose autoencoder (default: iidm, the published size)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs, of which the median counts (default: 5)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args()

    config = load_config(args.config)
    model = build_autoencoder(config.autoencoder, seed=0)
    rng = np.random.default_rng(0)
    x = jt.array(rng.uniform(-1, 1, (1, 3, config.data.height, config.data.width)).astype(np.float32))
    with jt.no_grad():
        z = jt.array(model.encode(x).numpy())                                            # (1, 3, 96, 128)
        encode = seconds(lambda: [model.encode(x)], args.repeats)
        decode = seconds(lambda: [model.decode(z)], args.repeats)
    report({"encode_seconds": encode, "decode_seconds": decode, "peak_mb": peak_mb()}, args.json)


if __name__ == "__main__":
    main()
