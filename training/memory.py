"""What training a U-Net will need, before it begins: fixed memory, activations by the sizes of what its convolutions give."""
import contextlib
import gc
import math

import numpy as np

from models.layers import Conv, parameters_of
from runtime.backend import jt
from runtime.memory import available_memory, peak_memory

COPIES = 5      # of the parameters, float32: weights, gradients, two moments, one average
# Bytes of all activations per byte that the convolutions give, measured with configs/small.yaml at batch 2 on a CPU
# (benchmarks/training_memory.py: 0.71 and 0.48 GB, where the convolutions give 0.40).
PER_CONVOLUTION = {"none": 1.8, "blocks": 1.2}


def checkpoints(config, model, processes=1):
    """Whether the U-Net's blocks are to be computed again on the way back, by train.checkpointing; for "auto", where the plain
    network would take more than nine tenths of the memory there is."""
    way = config.train.checkpointing
    return way == "blocks" or way == "auto" and needed(config, model, "none", processes) > 0.9 * memory()


def cost(config, model, processes=1):
    """What training will take, parameters, memory, steps, in a line, and one that names the option or config that helps where
    that is more than there is."""
    options = config.train.unet
    way = "blocks" if checkpoints(config, model, processes) else "none"
    bytes_, there = needed(config, model, way, processes), memory()
    count = sum(math.prod(p.shape) for p in parameters_of(model).values())
    where = "GPU" if jt.flags.use_cuda else "host"
    line = (f"U-Net: {count / 1e6:.1f} M parameters, {options.steps:,} steps of {options.batch_size} images, about "
            f"{bytes_ / 1e9:.1f} GB of the {where}'s {there / 1e9:.1f} GB")
    line += ", blocks computed twice" if way == "blocks" else ""
    if bytes_ > there:
        less = needed(config, model, "blocks", processes)
        line += (f"\nit will not fit as it is: --set train.checkpointing=blocks (about {less / 1e9:.1f} GB), "
                 "--set train.unet.accumulate=N, or --config small")
    if not jt.flags.use_cuda and count > 100e6:
        line += "\non a CPU a step of this network takes minutes: --config small is for a CPU"
    return line


def needed(config, model, way, processes=1):
    """Bytes for a step of training: about, for activations are estimated."""
    options = config.train.unet
    fixed = sum(math.prod(p.shape) for p in parameters_of(model).values()) * 4 * (
        COPIES + len(options.more_ema) + (options.accumulate > 1))
    rows = math.ceil(options.batch_size / processes / options.accumulate)
    return fixed + rows * PER_CONVOLUTION[way] * convolved(config, model)


def convolved(config, model):
    """Bytes that the convolutions of the network give for one row. Nothing is computed: Jittor knows shapes before."""
    z = jt.zeros((1, config.unet.latent_channels, *config.latent_size))
    labels = jt.zeros((1, config.data.height // config.label_factor, config.data.width // config.label_factor)).int32()
    with jt.no_grad(), counted() as total:
        model(z, np.zeros(1), labels)
    gc.collect()
    size = 4 if config.train.precision == "float32" else 2
    return size * sum(total)


@contextlib.contextmanager
def counted():
    """Yields a list to which every call of a convolution adds the numbers that it gives."""
    plain, found = Conv.execute, []

    def execute(self, x, residual=None):
        y = plain(self, x, residual)
        found.append(math.prod(y.shape))
        return y

    Conv.execute = execute
    try:
        yield found
    finally:
        Conv.execute = plain


def memory():
    """Bytes of the GPU's memory, or of the host's that are free."""
    if jt.flags.use_cuda:
        return int(jt.get_mem_info().total_cuda_ram)
    return available_memory()


def in_use():
    """Bytes that training takes: of the GPU's memory now, or of the host's at most so far."""
    return int(jt.get_mem_info().total_cuda_used) if jt.flags.use_cuda else peak_memory()
