"""Which numbers a network computes with: float32, or 16 bits by an explicit policy (Micikevicius et al. 2018, "Mixed Precision
Training"); Jittor's own mixed-precision flags stay off.

    16 bits    what lies between the first and the last convolution: activations, convolutions, attention, SPADE's maps
    float32    master weights, statistics of normalisations, softmax, sums inside convolutions, the timestep, the first and last
               convolutions, quantisation, noise, samplers, losses

A GPU has tensor cores for 16 bits. Some CPUs multiply bfloat16 (AVX512_BF16), which the convolutions of a network that paints
use: 1.8 times as fast as float32 at full size. Otherwise 16 bits are imitated on a CPU, every array rounded as a GPU would
round it and computed with in float32: slower than float32, and there to see what a precision costs.
"""
from models.kernels.casting import cast
from models.layers import Conv
from runtime.backend import jt
from runtime.processor import multiplies_bfloat16


def resolve(precision):
    """One of PRECISIONS for an option that may also be "auto": bfloat16 on a GPU that has it (compute capability 8.0 on),
    float16 on an older one, float32 on a CPU."""
    if precision != "auto":
        return precision
    if not jt.flags.use_cuda:
        return "float32"
    return "bfloat16" if min(jt.flags.cuda_archs) >= 80 else "float16"


def imitated(precision, training=False):
    """A line for a user who asked for 16 bits where they are imitated, slower than float32; None where they are not."""
    if precision == "float32" or jt.flags.use_cuda or (precision == "bfloat16" and not training and multiplies_bfloat16()):
        return None
    return f"{precision} is imitated on this CPU, slower than float32: to see what it costs a picture, not to save time"


def compute_in(model, precision, store=False):
    """Makes a network compute in one of PRECISIONS: its `parts` do, each a module with a `_precision` and `edges`,
    its first and last convolutions. store: for weights that no longer change, which then lie in memory as such numbers too:
    half the memory, and no cast at every call."""
    for part in model.parts:
        part._precision = precision
        if store and precision != "float32":
            narrow(part, precision)


def narrow(part, precision):
    """Stores the weights of a part's convolutions as numbers of a type, but for those of its edges."""
    spared = {id(layer) for layer in part.edges}
    with jt.no_grad():
        for layer in part.modules():
            if isinstance(layer, Conv) and id(layer) not in spared:
                for var in layer.parameters():
                    var.update(cast(var, precision).stop_grad())
                    var.sync()
