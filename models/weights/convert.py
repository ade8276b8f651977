"""Turns a foreign checkpoint into one of ours, and says what it holds. Nothing in the file is run.

train.py, test.py and ensemble.py take foreign files too; a converted one opens faster and shows what it is.
"""
import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime.errors import UserError, run_script
from runtime.files import check_writable, not_an_input
from runtime.memory import peak_memory

EXAMPLES = """examples:
  python -m models.convert average-176k-266k.pkl checkpoints/iidm.safetensors       the authors' released U-Net
  python -m models.convert last.ckpt checkpoints/autoencoder.safetensors            taming-transformers' VQGAN
  python -m models.convert kl-f8.safetensors autoencoder.safetensors --latent_scale 0.18215
  python -m models.convert taesd_encoder.pth autoencoder.safetensors                taesd_decoder.pth lies beside it

Reads Jittor pickles, PyTorch files (.pth .pt .bin .ckpt), .safetensors and .npz; recognises the published U-Net and SDM's,
VQ and KL autoencoders of taming-transformers, latent-diffusion and diffusers, and the TAESD family."""


def parse(argv):
    """The words after the command -> its options."""
    parser = argparse.ArgumentParser(prog="python -m models.convert", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="IN", help="the foreign file")
    parser.add_argument("output", metavar="OUT", help="the checkpoint to write, .safetensors")
    parser.add_argument("--kind", choices=["unet", "autoencoder", "vq", "kl", "tiny"], help="stop unless it is this")
    parser.add_argument("--raw", action="store_true", help="the weights as trained, not their moving average, where both are")
    parser.add_argument("--head_channels", type=int, default=64,
                        help="channels of the U-Net's attention heads, which no shape shows (default: 64, as published)")
    parser.add_argument("--latent_scale", type=float, default=1.0,
                        help="multiply latents by this; 0.18215 for Stable Diffusion's KL autoencoder (default: 1)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16"], help="of the file (default: float32)")
    return parser.parse_args(argv)


def scaled(weights, latent_scale):
    """Weights of an autoencoder whose latents are multiplied by latent_scale."""
    from configs.reading import section_from
    from models.autoencoder import build_autoencoder, scale_latents
    from models.layers import parameters_of
    from models.weights.checkpoint import fill
    model = build_autoencoder(section_from("autoencoder", weights.header.config["autoencoder"], "the file"))
    fill(model, weights.tensors, "the file")
    scale_latents(model, latent_scale)
    return replace(weights, tensors=parameters_of(model))


def check_kind(args, header):
    """UserError where a checkpoint of ours is not what --kind expects."""
    section = header.config.get(header.kind)
    kinds = (header.kind, section.get("kind") if isinstance(section, dict) else None)
    if args.kind not in (None, *kinds):
        raise UserError(f"{args.input}: holds the weights of {header.kind}, expected {args.kind}")


def main(argv):
    """Converts one file. argv: the words after the command; UserError where it cannot be read."""
    args = parse(argv)
    if Path(args.output).suffix != ".safetensors":
        raise UserError(f"{args.output}: expected a name that ends in .safetensors")
    if not 1 <= args.head_channels <= 8192:
        raise UserError(f"--head_channels is {args.head_channels}, expected 1 to 8192")
    if not 1e-6 <= args.latent_scale <= 1e6:
        raise UserError(f"--latent_scale is {args.latent_scale}, expected 1e-06 to 1e+06")
    not_an_input(args.output, [args.input])
    check_writable(Path(args.output).parent)
    from configs.reading import section_from
    from models.weights.checkpoint import LazyTensor, write_checkpoint
    from models.weights.foreign import check_whole, convert
    from models.weights.loading import is_ours, open_weights
    from runtime.log import progress_bar
    start = time.monotonic()
    if Path(args.input).is_file() and is_ours(args.input):
        # Its header knows what no shape tells: attention heads, groups, the image size, step and parents.
        weights = open_weights(args.input, weights="raw" if args.raw else "ema")
        check_kind(args, weights.header)
        if not weights.tensors:
            raise UserError(f"{args.input}: holds no {'raw' if args.raw else 'ema'} weights")
        weights.header.weights = "raw" if args.raw else "ema"
        if args.latent_scale != 1:
            raise UserError("--latent_scale with a checkpoint of ours, expected a foreign autoencoder; "
                            "autoencoder.latent_scale in a config does it")
    else:
        weights = convert(args.input, args.kind, not args.raw, args.head_channels)
        check_whole(weights, args.input)
    kind = weights.header.kind
    if args.latent_scale != 1:
        if kind != "autoencoder":
            raise UserError(f"--latent_scale is {args.latent_scale}, expected it with an autoencoder only; this is a {kind}")
        weights = scaled(weights, args.latent_scale)
    for note in weights.notes:
        print(f"{args.input}: {note}")
    section = section_from(kind, weights.header.config.get(kind), args.input).__dict__
    print(f"{kind}: " + ", ".join(f"{name} {value}" for name, value in section.items() if name not in ("path", "latent_scale")))
    parameters = sum(int(np.prod(tensor.shape)) for tensor in weights.tensors.values())
    with progress_bar(total=len(weights.tensors), label="writing", unit="tensor") as progress:
        def counted(tensor):
            progress.update()
            return tensor.numpy()
        write_checkpoint(args.output, {name: LazyTensor(tuple(tensor.shape), lambda tensor=tensor: counted(tensor))
                                       for name, tensor in weights.tensors.items()}, weights.header, args.dtype)
    print(f"{args.output}: {parameters:,} parameters in {len(weights.tensors)} tensors, "
          f"{Path(args.output).stat().st_size / 1e9:.3f} GB, {time.monotonic() - start:.1f} s, peak memory "
          f"{peak_memory() / 1e9:.2f} GB")


if __name__ == "__main__":
    run_script(main)
