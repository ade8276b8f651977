"""Reading published checkpoints at full size: seconds and peak memory to convert a file, and to load it as test.py does.

Writes the U-Net's 660 and the autoencoder's 205 tensors with random weights in the published form: a Jittor pickle of float32
with its trailer, or with --float64 the bare one that the published averaging tool leaves. Then, each in a process of its
own: `python -m models.convert`, and loading into the network, strictly.
"""
import argparse
import hashlib
import json
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from configs.schema import Config
from models.autoencoder import build_autoencoder
from models.layers import parameters_of
from models.unet import build_unet

LOAD = """
import sys, time
from models.autoencoder import build_autoencoder
from models.layers import parameters_of
from models.unet import build_unet
from models.weights.loading import load_weights
from configs.schema import Config
from runtime.backend import jt
from runtime.memory import peak_memory
kind, path = sys.argv[1:]
config = Config()
model = build_unet(config.unet) if kind == "unet" else build_autoencoder(config.autoencoder)
start = time.perf_counter()
load_weights(model, path, kind)
jt.sync(list(parameters_of(model).values()))
print("RESULT", time.perf_counter() - start, peak_memory() / 1e9)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--float64", action="store_true", help="as the published averaging tool writes")
    parser.add_argument("--folder", help="where to write the files, 12 GB with --float64 (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for kind in ("autoencoder", "unet"):
            path, converted = Path(folder) / f"{kind}.pkl", Path(folder) / f"{kind}.safetensors"
            write(path, kind, np.float64 if args.float64 else np.float32)
            start = time.perf_counter()
            done = subprocess.run([sys.executable, "-m", "models.convert", path, converted, "--kind", kind], check=True,
                                  capture_output=True, text=True)
            seconds = time.perf_counter() - start
            memory = float(done.stdout.split("peak memory ")[1].split()[0])
            loaded = subprocess.run([sys.executable, "-c", LOAD, kind, path], check=True, capture_output=True, text=True)
            taken, held = map(float, loaded.stdout.split("RESULT ")[1].split())
            print(json.dumps({"file": path.name, "dtype": "float64" if args.float64 else "float32",
                              "file_gb": path.stat().st_size / 1e9, "convert_seconds": seconds, "convert_peak_gb": memory,
                              "load_seconds": taken, "load_peak_gb": held}))


def write(path, kind, dtype):
    """A pickle of random weights under the published names, in their order."""
    config, rng = Config(), np.random.default_rng(0)
    model = build_unet(config.unet) if kind == "unet" else build_autoencoder(config.autoencoder)
    arrays = {name: rng.standard_normal(tuple(var.shape), dtype=np.float32).astype(dtype)
              for name, var in parameters_of(model).items()}
    content = pickle.dumps(arrays, protocol=4)
    with open(path, "wb") as stream:
        stream.write(content)
        if dtype == np.float32:
            stream.write(hashlib.sha1(content).digest() + b"HCAJSLHD")


if __name__ == "__main__":
    main()
