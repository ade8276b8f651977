"""Makes demo/weights/: trains the demo's networks for some hours on 2 cores, and writes their averages as float16.

The autoencoder is TAEF2 (demo/weights/README.md) as it lies there, of which only the head that doubles its size is trained.
The segmenter (configs/demo_segmenter.yaml) is what the demo measures M with.
The landscapes are of another seed than the demo's, so that the demo's masks and references are new to the weights.
Killed and started again, it goes on.
"""
import argparse
from pathlib import Path

from configs.reading import config_dict, load_config
from data.synthetic import write_dataset
from runtime.errors import run_script

WEIGHTS = Path("demo/weights")
MINI = WEIGHTS / "mini"             # of configs/mini.yaml
CONFIG, SEGMENTER = "demo_weights", "demo_segmenter"


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m demo.weights", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=2400, help="landscapes to learn from (default: 2400)")
    args = parser.parse_args(argv)
    config = load_config(CONFIG)
    data = Path("demo/run/weights-data")
    write_dataset(data, train=args.train, test=48, width=config.data.width, height=config.data.height, seed=config.train.seed)
    import train
    train.main(["--input_path", str(data / "train"), "--config", CONFIG, "--resume"])
    train.main(["--input_path", str(data / "train"), "--config", SEGMENTER, "--stage", "segmenter", "--resume"])
    export(config)


def export(config):
    """The runs' autoencoder, best U-Net and best segmenter as float16 safetensors; configs/demo.yaml starts from them."""
    from models.weights.ranking import ranked
    write(config, "autoencoder", config.autoencoder.path)
    write(config, "unet", ranked(config.train.run)[0][0])
    write_segmenter(ranked(load_config(SEGMENTER).train.run, "segmenter")[0][0])


def write(config, name, path):
    """One network's averaged weights as demo/weights/NAME.safetensors. A U-Net's autoencoder has to be there before it."""
    from models.autoencoder import build_autoencoder
    from models.weights.checkpoint import load_checkpoint, read_header, read_tensors, weights_hash, write_checkpoint
    header, target = read_header(path, name), WEIGHTS / f"{name}.safetensors"
    if name == "unet":  # rounding has changed the autoencoder's hash
        autoencoder = build_autoencoder(config.autoencoder)
        load_checkpoint(autoencoder, WEIGHTS / "autoencoder.safetensors")
        header.extra = {"autoencoder": weights_hash(autoencoder)}
    header.config = config_dict(config)
    header.config["autoencoder"]["path"] = str(WEIGHTS / "autoencoder.safetensors")
    write_checkpoint(target, read_tensors(path), header, dtype="float16")
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, step {header.step}, {header.metrics}")


def write_segmenter(path):
    """A segmenter's averaged weights as demo/weights/segmenter.safetensors."""
    from models.weights.checkpoint import read_header, read_tensors, write_checkpoint
    header, target = read_header(path, "segmenter"), WEIGHTS / "segmenter.safetensors"
    header.config = config_dict(load_config(SEGMENTER))
    write_checkpoint(target, read_tensors(path), header, dtype="float16")
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, step {header.step}, {header.metrics}")


if __name__ == "__main__":
    run_script(main)
