"""Which numbers a network computes with: float32, or 16 bits by an explicit policy (Micikevicius et al. 2018,
"Mixed Precision Training"); Jittor's own mixed-precision flags stay off.

    16 bits    what lies between the first and the last convolution: activations, convolutions, attention,
               SPADE's maps
    float32    master weights, statistics of normalisations, softmax, sums inside convolutions, the timestep,
               the first and last convolutions, quantisation, noise, samplers, losses

Only convolutions change the type of what passes through them; all other layers answer in that of their input.

A GPU has tensor cores for 16 bits. Some CPUs multiply bfloat16 (AVX512_BF16, and with tiles of numbers AMX), which
the convolutions use, painting and training: docs/performance.md has what it gains. Otherwise 16 bits are imitated on a
CPU, every array rounded as a GPU would round it and computed with in float32: slower than float32, and there to see
what a precision costs.
"""
from models.autoencoder_tiny import TinyAutoencoder
from models.kernels.casting import to
from models.kernels.conv_onednn import Kept
from models.layers import Conv
from runtime.backend import jt
from runtime.processor import multiplies_bfloat16


def resolve(precision):
    """One of PRECISIONS for an option that may also be "auto": bfloat16 on a GPU that has it (compute capability
    8.0 on), float16 on an older one, float32 on a CPU."""
    if precision != "auto":
        return precision
    if not jt.flags.use_cuda:
        return "float32"
    return "bfloat16" if min(jt.flags.cuda_archs) >= 80 else "float16"


def imitated(precision):
    """A line for a user who asked for 16 bits where they are imitated; None where they are not."""
    multiplied = precision == "bfloat16" and multiplies_bfloat16()
    if precision == "float32" or jt.flags.use_cuda or multiplied:
        return None
    return (f"{precision} is imitated on this CPU, slower than float32: to see what it costs a picture, "
            "not to save time")


def compute_in(model, precision, store=False):
    """Makes a network compute in one of PRECISIONS between its first and its last convolution. store: for weights
    that no longer change, which then lie in memory as such numbers too: half the bytes, no conversion at a call."""
    for part in parts(model):
        # In the order of construction. The last one stays as it is: it takes anything to float32.
        first, *inner, _ = [layer for layer in part.modules() if isinstance(layer, Conv)]
        first.output_dtype = precision
        for layer in inner:
            layer.compute_dtype = layer.output_dtype = precision
            if store:
                store_in(layer, precision)


def parts(model):
    """What has a first and a last convolution: a U-Net, or each half of an autoencoder, the quantisation between
    them being float32's. Of the tiny autoencoders nothing: float32 costs them next to nothing."""
    if isinstance(model, TinyAutoencoder):
        return []
    return [model.encoder, model.decoder] if hasattr(model, "encoder") else [model]


def store_in(layer, precision):
    """Keeps a layer's weights as numbers of a type, on a CPU laid out for oneDNN at the first call."""
    layer.kept = Kept()
    with jt.no_grad():
        layer.weight.update(layer.kernel().stop_grad())              # what is kept is known by its Var: no reshape at a call
        for var in layer.parameters():
            if str(var.dtype) != precision:
                var.update(to(var, precision).stop_grad())
                var.sync()
