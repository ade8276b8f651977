"""What training needs: fixed memory, memory of the activations and time a step, with and without gradient checkpointing.

    python -m benchmarks.training_memory --config iidm --batch 2

Each way is measured in a process of its own: the step's kernels are compiled on a small latent, then one step at full size
is taken, loss and gradients without the optimiser. Activations: the peak above weights and gradients, of the process on a
CPU and of Jittor's allocator on a GPU. The table says by calculation which batch fits: fixed memory and so many bytes a row.
"""
import argparse
import gc
import hashlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from configs.reading import load_config

CARDS = (12, 24, 40, 80)      # GB
WAYS = ("none", "blocks")
COPIES = {"weights": 1, "gradients": 1, "moments": 2, "average": 1}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="iidm")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help="this way alone, in this process, as one line of JSON")
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args)))
        return
    found = {way: of_process(args, way) for way in WAYS}
    plain, blocks = found["none"], found["blocks"]
    fixed = 4 * plain["parameters"] * sum(COPIES.values())
    print(f"{args.config}, batch {args.batch}, {plain['device']}: {plain['parameters']:,} parameters")
    print("fixed memory, GB:  " + "  ".join(f"{name} {4 * n * plain['parameters'] / 1e9:.2f}" for name, n in COPIES.items())
          + f"  in all {fixed / 1e9:.2f}")
    for way, result in found.items():
        print(f"{way:7} activations {result['activations'] / 1e9:6.2f} GB   step {result['seconds']:7.1f} s, of the CPU "
              f"{result['cpu_seconds']:7.1f} s   gradients {result['gradients'][:8]}")
    times = [blocks[name] / plain[name] for name in ("seconds", "cpu_seconds")]
    print(f"memory / {plain['activations'] / blocks['activations']:.2f}, time x {times[0]:.2f}, of the CPU x {times[1]:.2f}, "
          f"gradients {'the same bits' if plain['gradients'] == blocks['gradients'] else 'differ'}")
    print("largest batch, calculated:  " + "  ".join(f"{card} GB" for card in CARDS))
    for way, result in found.items():
        rows = [max(0, math.floor((card * 1e9 - fixed) / (result["activations"] / args.batch))) for card in CARDS]
        print(f"{way:26}  " + "  ".join(f"{n:5}" for n in rows))


def of_process(args, way):
    """measure() in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training_memory", "--config", args.config, "--batch", str(args.batch),
               "--way", way]
    for override in args.set:
        command += ["--set", override]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def measure(args):
    """{parameters, activations in bytes, seconds of a step, SHA-256 of all gradients}."""
    from ldm.losses import diffusion_loss
    from ldm.schedule import make_schedule
    from models.checkpointing import CheckpointedUNet
    from models.layers import parameters_of
    from models.unet import build_unet
    from runtime.backend import DEVICE, jt
    config = load_config(args.config, args.set)
    model, schedule = build_unet(config.unet, seed=0), make_schedule("linear", 1000)
    parameters = parameters_of(model)
    network = CheckpointedUNet(model) if args.way == "blocks" else model
    jt.sync(list(parameters.values()))

    def step(batch, height, width):
        """Loss and gradients; the gradients' sums, or for the digest all of them, are what is waited for."""
        rng = np.random.default_rng(0)
        z, eps = (rng.standard_normal((batch, config.unet.latent_channels, height, width), dtype=np.float32) for _ in range(2))
        labels = rng.integers(0, config.unet.classes, (batch, height, width)).astype(np.int32)
        t = rng.integers(1000, size=batch)
        loss = diffusion_loss(network, jt.array(z), jt.array(labels), t, jt.array(eps), schedule)["loss"].sum()
        gradients = [(g * 1.0).stop_grad() for g in jt.grad(loss, list(parameters.values()), retain_graph=False)]
        loss.stop_grad()
        jt.sync(gradients)
        jt.sync_all(True)
        return gradients

    small = 2 ** (len(config.unet.channel_mult) - 1)
    del step(1, 2 * small, 3 * small)[:]
    gc.collect()
    factor, before = config.autoencoder.factor, used(jt, DEVICE)
    start, busy = time.perf_counter(), time.process_time()
    gradients = step(args.batch, config.data.height // factor, config.data.width // factor)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    count, digest = sum(math.prod(p.shape) for p in parameters.values()), hashlib.sha256()
    peak = used(jt, DEVICE, peak=True)
    for g in gradients:
        digest.update(g.numpy().data)
    return {"device": DEVICE, "parameters": count, "activations": peak - max(before, 8 * count), "seconds": seconds,
            "cpu_seconds": busy, "gradients": digest.hexdigest()}


def used(jt, device, peak=False):
    """Bytes in use, or the most so far: of the process on a CPU, of Jittor's allocator on a GPU."""
    if device == "cuda":
        return int(jt.get_mem_info().total_cuda_used)
    from runtime.memory import peak_memory
    return peak_memory()


if __name__ == "__main__":
    main()
