"""Makes demo/weights/: trains the demo's small networks for about 40 minutes on 2 cores, and writes their averages as float16.

The landscapes are of another seed than the demo's, so that the demo's masks and references are new to the weights.
Killed and started again, it goes on.
"""
import argparse
from pathlib import Path

from configs.schema import config_dict, load_config
from data.synthetic import write_dataset
from runtime.errors import run_script

WEIGHTS = Path("demo/weights")
CONFIG = "demo_weights"


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m demo.weights", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    config = load_config(CONFIG)
    write_dataset("demo/run/weights-data", train=2400, test=16, width=config.data.width, height=config.data.height,
                  seed=config.train.seed)
    import train
    train.main(["--input_path", "demo/run/weights-data/train", "--config", CONFIG, "--resume"])
    export(config)


def export(config):
    """The run's autoencoder and its best U-Net as float16 safetensors; configs/demo.yaml starts from them."""
    from models.autoencoder import build_autoencoder
    from models.weights.checkpoint import load_checkpoint, read_header, read_tensors, weights_hash, write_checkpoint
    from training.run import ranked
    unet, _ = ranked(config.train.run)[0]
    autoencoder = build_autoencoder(config.autoencoder)
    for name, path in (("autoencoder", config.autoencoder.path), ("unet", unet)):
        header, target = read_header(path, name), WEIGHTS / f"{name}.safetensors"
        if name == "unet":  # rounding has changed the autoencoder's hash
            header.extra = {"autoencoder": weights_hash(autoencoder)}
        header.config = config_dict(config)
        write_checkpoint(target, read_tensors(path), header, dtype="float16")
        if name == "autoencoder":
            load_checkpoint(autoencoder, target)
        print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, step {header.step}, {header.metrics}")


if __name__ == "__main__":
    run_script(main)
