"""Where the arrays of a network have their channels: first, (B, C, H, W), as it is built, or last, (B, H, W, C), as the tensor
cores of a GPU take them.

Set from outside, like the precision (models/precision.py). What comes into a network and what it gives, masks and images, have
their channels first either way; what lies between does not. The numbers are the same. On a CPU every kernel turns its
arrays round, so that channels last are slower there: the switch is for a GPU, and which layout is faster on one has not been
measured (benchmarks/conv_layouts.py, `--memory_format` of benchmarks/guided_step.py and benchmarks/unet_forward.py).
"""
from models.kernels.turn import to_last
from models.layers import Conv
from models.precision import parts
from models.spade import SPADE
from runtime.backend import jt

FORMATS = ("channels_first", "channels_last")


def arrange(model, memory_format, store=False):
    """Gives a network one of FORMATS; from channels last there is no way back. store: for weights that no longer change, which
    then lie in memory so too, (Cout, k, k, Cin), and are not turned round at every call."""
    if memory_format == "channels_first":
        return
    for part in parts(model):
        layers = part.modules()
        for layer in layers:
            if hasattr(layer, "last"):
                layer.last = True
        convolutions = [layer for layer in layers if isinstance(layer, Conv)]
        of_masks = [layer.mlp_shared[0] for layer in layers if isinstance(layer, SPADE)]
        for layer in convolutions:
            layer.input_last = not any(layer is other for other in [convolutions[0], *of_masks])
            layer.output_last = layer is not convolutions[-1]
            if store:
                store_last(layer)


def store_last(layer):
    """Keeps a convolution's weight as (Cout, k, k, Cin)."""
    with jt.no_grad():
        layer.weight.update(to_last(layer.kernel()).stop_grad())
        layer.weight.sync()
    layer.weight_last = True
