"""Convolution of 16-bit numbers on a GPU by cuDNN, with sums in float32, channels first or last; bias and residual with it.

Why not Jittor's own call of cuDNN: as released it adds float16 numbers up in float16, asks for bfloat16 sums, which cuDNN does
not have, and takes the fastest algorithm of a shape for float32 to be that for 16 bits and for the other layout too. There
is no CPU version: on a CPU 16-bit convolutions are computed in float32 (conv.py). Compiled against cuDNN 9 and tested on a
stand-in for it (tests/stand_in), not yet run on a GPU. benchmarks/conv_layouts.py measures the layouts there.
"""
from models.kernels.casting import to, to_float32
from models.kernels.launch import code, gpu, include
from runtime.backend import jt

EPILOGUES = ("kernel", "cudnn")  # who adds bias and residual: our kernel after cuDNN's fastest algorithm, or cuDNN in one


def cudnn_conv(x, weight, bias=None, residual=None, stride=1, padding=0, last=False, epilogue="kernel"):
    """x (B, Cin, H, W), weight (Cout, Cin, k, k), bias (Cout,) and residual (B, Cout, H', W') or None, all of one type ->
    x * weight + bias + residual, (B, Cout, H', W'); with `last` x (B, H, W, Cin), weight (Cout, k, k, Cin), residual
    (B, H', W', Cout) -> like it. Differentiable. Raises ValueError on other shapes, and on a CPU."""
    channels, side = (3, 1) if last else (1, 2)
    if (len(x.shape) != 4 or len(weight.shape) != 4 or weight.shape[channels] != x.shape[channels]
            or weight.shape[side] != weight.shape[side + 1] or str(x.dtype) != str(weight.dtype)):
        form = "(B, H, W, Cin) and weight (Cout, k, k, Cin)" if last else "(B, Cin, H, W) and weight (Cout, Cin, k, k)"
        raise ValueError(f"cudnn_conv: expected x {form} of one type, got {x.dtype} {tuple(x.shape)} and {weight.dtype} "
                         f"{tuple(weight.shape)}")
    if epilogue not in EPILOGUES:
        raise ValueError(f"cudnn_conv: epilogue is {epilogue!r}, expected {' or '.join(EPILOGUES)}")
    more = [array for array in (bias, residual) if array is not None]
    if residual is not None and bias is None or any(str(array.dtype) != str(x.dtype) for array in more):
        raise ValueError(f"cudnn_conv: expected bias and residual of {x.dtype}, no residual without bias, got "
                         f"{[None if array is None else str(array.dtype) for array in (bias, residual)]}")
    if not gpu():
        raise ValueError("cudnn_conv: has no CPU version; conv2d computes on both")
    return CudnnConv({"stride": stride, "padding": padding, "last": int(last)}, epilogue)(x, weight, *more)


class CudnnConv(jt.Function):
    """The convolution as a differentiable function."""

    def __init__(self, settings, epilogue="kernel"):
        super().__init__()
        self.settings, self.epilogue = settings, epilogue

    def execute(self, x, weight, *more):
        """x, weight and, where there are, bias and residual -> y, shapes as in cudnn_conv."""
        self.saved, self.more = (x, weight), len(more)
        stride, padding, last = (self.settings[name] for name in ("stride", "padding", "last"))
        size = [(n + 2 * padding - weight.shape[2]) // stride + 1 for n in (x.shape[1:3] if last else x.shape[2:])]
        shape = [x.shape[0], *size, weight.shape[0]] if last else [x.shape[0], weight.shape[0], *size]
        if more and list(more[0].shape) != [weight.shape[0]] or len(more) > 1 and list(more[1].shape) != shape:
            raise ValueError(f"cudnn_conv: expected bias {(weight.shape[0],)} and residual {tuple(shape)}, got "
                             f"{[tuple(array.shape) for array in more]}")
        function = "cudnn_conv" if not more else "cudnn_conv_bias" if self.epilogue == "kernel" else "cudnn_conv_epilogue"
        absent = "(const in0_type*)nullptr, " if len(more) == 1 else ""
        return self.run(function, shape, [x, weight, *more], "in0, in1", absent)

    def grad(self, dy):
        """dL/dy -> dL/dx, dL/dweight and, where there are, those of bias and residual."""
        (x, weight), self.saved = self.saved, None  # for one backward pass: held longer they would keep their memory
        dy = to(dy, x.dtype)
        pixels = (0, 1, 2) if self.settings["last"] else (0, 2, 3)
        more = [to(to_float32(dy).sum(pixels), x.dtype), dy][:self.more]
        return (self.run("cudnn_conv_dx", x.shape, [weight, dy], "out0, in0"),
                self.run("cudnn_conv_dw", weight.shape, [x, dy], "in0, out0"), *more)

    def run(self, function, shape, arrays, shapes, absent=""):
        """One call; `shapes`: those of its arrays that are x and weight, or shaped like them; absent: a null argument."""
        given = ", ".join(f"in{i}_p" for i in range(len(arrays)))
        call = f"iidm::{function}<iidm_scratch>(jittor::cudnn_handle, iidm_cudnn({shapes}, data), {given}, {absent}out0_p);"
        return code([shape], [arrays[0].dtype], arrays, HEADER, cpu=None, cuda=call, data=self.settings)[0]


HEADER = "#include <executor.h>\n" + include("include/device", "cudnn_conv") + """
#ifndef cudnn_handle
namespace jittor { extern cudnnHandle_t cudnn_handle; }
#endif

struct iidm_scratch {  // from Jittor's own pool
    void* at = nullptr;
    size_t bytes, allocation = 0;
    explicit iidm_scratch(size_t n) : bytes(n) { if (n) at = jittor::exe.temp_allocator->alloc(n, allocation); }
    ~iidm_scratch() { if (at) jittor::exe.temp_allocator->free(at, bytes, allocation); }
};

#define iidm_cudnn(x, w, data) iidm::CudnnConv{x->shape[0], x->shape[data["last"] > 0 ? 3 : 1], w->shape[0], \\
    x->shape[data["last"] > 0 ? 1 : 2], x->shape[data["last"] > 0 ? 2 : 3], w->shape[2], int64_t(data["stride"]), \\
    int64_t(data["padding"]), data["last"] > 0}
"""
