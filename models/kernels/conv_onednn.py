"""Convolution on a CPU by oneDNN's primitives, called by ourselves, of float32 and bfloat16 numbers. Bias, residual and ReLU
belong to the one pass.

Why a kernel: Jittor's own convolution is float32's with channels first, lays out its weights anew at every call and leaves
bias and residual to other operators. 128 to 128 channels on 384x512 pixels take 915 ms on one core, and here 474 ms; 64 to 64
on 96x128 16.4 and 11.9 ms, 8.3 with weights that were laid out before, 7.3 with channels last (benchmarks/kernels.py).
"""
from models.kernels.casting import to, to_float32
from models.kernels.launch import PLAIN, code, gpu, include
from runtime.backend import jt
from runtime.processor import onednn

ROOM = 64          # channels of laid-out weights are filled up to a multiple of at most so many


def conv_onednn(x, weight, bias, stride=1, padding=(0, 0), residual=None, last=False, relu=False, product=False, kept=None):
    """x (B, Cin, H, W), weight (Cout, Cin, kh, kw), residual (B, Cout, H', W') or None, all float32 or all bfloat16, bias
    (Cout,) -> x * weight + bias + residual, then ReLU where asked for, (B, Cout, H', W'). No gradient.

    last: x (B, H, W, Cin), residual and result (B, H', W', Cout). product: as a matrix product, of bfloat16, for an odd square
    kernel, stride 1 and its half as padding. kept: a Kept where the weights no longer change.
    """
    geometry = geometry_of(x, weight, stride, padding, last, relu)
    height, width = (int(geometry[name]) for name in ("height", "width"))
    size = [(n + 2 * pad - k) // stride + 1 for n, pad, k in zip((height, width), padding, weight.shape[2:])]
    shape = [x.shape[0], *size, weight.shape[0]] if last else [x.shape[0], weight.shape[0], *size]
    arrays = [x, weight, to_float32(to(bias, x.dtype))]
    if residual is not None:
        arrays.append(to(residual, x.dtype))
    if kept is not None and not product:
        arrays[1], geometry["laid_height"], geometry["laid_width"] = kept(weight, geometry, (height, width))
    added = "iidm::numbers(in3_p)" if residual is not None else "decltype(iidm::numbers(in0_p))(nullptr)"
    source = ("iidm::conv_forward(iidm_geometry(data), iidm_laid(data), data[\"product\"] > 0, iidm::numbers(in0_p), "
              f"iidm::numbers(in1_p), in2_p, {added}, iidm::numbers(out0_p));")
    told = {"laid_height": 0, "laid_width": 0, "product": int(product), **geometry}
    return operator([shape], [x.dtype], arrays, source, told)[0]


def channels_last():
    """Whether a network for inference is better off with images (B, H, W, C) here, by conv_onednn."""
    return not gpu() and not PLAIN and onednn() is not None


class Kept:
    """Weights that no longer change, laid out as oneDNN's convolution wants them: at the first call, and again where a layer's
    weight has become another Var."""

    def __init__(self):
        self.of = self.array = self.size = None

    def __call__(self, weight, geometry, size):
        """weight (Cout, Cin, kh, kw), size (H, W) of an image -> (the array laid out, H and W of the image that it was laid out
        for)."""
        if self.of != weight.id:
            channels = [-(-n // ROOM) * ROOM for n in weight.shape[:2]]
            room = channels[0] * channels[1] * weight.shape[2] * weight.shape[3]
            array = operator([[room]], [weight.dtype], [weight], "iidm::conv_pack(iidm_geometry(data), iidm::numbers(in0_p), "
                             "iidm::numbers(out0_p), out0->num);", geometry)[0].stop_grad()
            array.sync()
            self.of, self.array, self.size = weight.id, array, size
        return self.array, *self.size


class ConvOnednn(jt.Function):
    """conv_onednn as a differentiable function: master weights are rounded to bfloat16 for it, their gradient is float32's."""

    def __init__(self, stride, padding, product):
        super().__init__()
        self.stride, self.padding, self.product = stride, padding, product

    def execute(self, x, weight, bias, *residual):
        """x (B, Cin, H, W), weight (Cout, Cin, kh, kw), bias (Cout,), residual like the result or none -> (B, Cout, H', W')."""
        self.dtypes, weight = [str(array.dtype) for array in (weight, bias, *residual)], to(weight, x.dtype)
        self.saved = x, weight
        return conv_onednn(x, weight, bias, self.stride, self.padding, *residual, product=self.product)

    def grad(self, dy):
        """dL/dy (B, Cout, H', W') -> dL/dx, dL/dweight, dL/dbias, dL/dresidual."""
        x, weight = self.saved
        dy, geometry = to(dy, x.dtype), geometry_of(x, weight, self.stride, self.padding)
        dx, = operator([x.shape], [x.dtype], [weight, dy], "iidm::conv_dx(iidm_geometry(data), iidm::numbers(in0_p), "
                       "iidm::numbers(in1_p), iidm::numbers(out0_p));", geometry)
        dw, db = operator([weight.shape, [weight.shape[0]]], ["float32"] * 2, [x, dy], "iidm::conv_dw(iidm_geometry(data), "
                          "iidm::numbers(in0_p), iidm::numbers(in1_p), out0_p, out1_p);", geometry)
        return tuple(to(array, dtype) for array, dtype in zip((dx, dw, db, dy), (x.dtype, *self.dtypes)))


def geometry_of(x, weight, stride, padding, last=False, relu=False):
    """What an operator is told, {name: number}."""
    batch, height, width = (x.shape[0], *x.shape[1:3]) if last else (x.shape[0], *x.shape[2:])
    return {"batch": batch, "inputs": weight.shape[1], "outputs": weight.shape[0], "height": height, "width": width,
            "rows": weight.shape[2], "columns": weight.shape[3], "stride": stride, "above": padding[0], "left": padding[1],
            "last": int(last), "relu": int(relu)}


def operator(shapes, dtypes, inputs, source, data):
    """One operator of conv_onednn.cuh."""
    made = code(shapes, dtypes, inputs, HEADER, cpu=source, cuda=None, data=data)
    for var in made:
        var.compile_options = {f"FLAGS: -I{onednn().parent} ": 1}
    return made


HEADER = "#include <dnnl.hpp>\n" + include("include/device", "conv", "turn", "conv_onednn") + """
#define iidm_number(data, name) int64_t(data[name])
#define iidm_geometry_of(data, height, width) iidm::Geometry{iidm_number(data, "batch"), iidm_number(data, "inputs"), \\
    iidm_number(data, "outputs"), iidm_number(data, height), iidm_number(data, width), iidm_number(data, "rows"), \\
    iidm_number(data, "columns"), iidm_number(data, "stride"), iidm_number(data, "above"), iidm_number(data, "left"), \\
    iidm_number(data, "last"), iidm_number(data, "relu")}
#define iidm_geometry(data) iidm_geometry_of(data, "height", "width")
#define iidm_laid(data) iidm_geometry_of(data, "laid_height", "laid_width")
"""
