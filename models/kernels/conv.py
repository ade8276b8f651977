"""Convolution with bias, in the numbers of its input; on a CPU as one matrix product per image where the kernel is 1x1 or the
image small.

Why a kernel: oneDNN's convolution, as Jittor calls it, rearranges the weights at every call. Where pixels are few the weights
are most of the data: 1024 to 1024 channels on 6x8 pixels take 21 ms (1x1: 26 ms), and as a product 4.4 ms (1x1: 0.5 ms) on
2 cores. benchmarks/kernels.py measures both. On a CPU larger images and strides go to conv_onednn.py; float32 on a GPU is
Jittor's own. Numbers of 16 bits go to cudnn_conv.py on a GPU; on a CPU they are
computed with in float32, but for bfloat16 where the processor multiplies it (AVX512_BF16, AMX): the same numbers but for the
order of sums. With AMX oneDNN's convolution is the faster way at any size.
"""
from models.kernels.casting import kernel_dtype, to, to_float32
from models.kernels.conv_onednn import ConvOnednn, conv_onednn
from models.kernels.cudnn_conv import cudnn_conv
from models.kernels.launch import choose, gpu, include
from models.kernels.turn import to_first, to_last
from runtime import tiles
from runtime.backend import jt, nn
from runtime.distributed import process
from runtime.processor import multiplies_bfloat16, onednn

PROCESSES = process()[1]
SMALL = 192  # pixels up to which a 3x3 convolution is faster as a product; with gradients, those of the whole batch


def conv2d(x, weight, bias, stride=1, padding=0, residual=None, impl="auto", last=False, kept=None):
    """x (B, Cin, H, W) float32 or 16-bit, weight (Cout, Cin, k, k), bias (Cout,), residual (B, Cout, H', W') like x or None
    -> x * weight + bias + residual, (B, Cout, H', W') like x; weight and bias are rounded to x's type, sums are in float32.
    last: x (B, H, W, Cin), weight (Cout, k, k, Cin), residual and result (B, H', W', Cout); on a CPU they are turned round.
    kept: a conv_onednn.Kept for weights that no longer change.

    Differentiable. impl "kernel" needs stride 1, an odd k and padding k // 2. Raises ValueError on other shapes.
    """
    if last:
        return conv2d_last(x, weight, bias, stride, padding, residual, impl)
    if len(x.shape) != 4 or len(weight.shape) != 4 or weight.shape[1] != x.shape[1] or list(bias.shape) != [weight.shape[0]]:
        raise ValueError(f"conv2d: expected x (B, Cin, H, W), weight (Cout, Cin, k, k) and bias (Cout,), got "
                         f"{tuple(x.shape)}, {tuple(weight.shape)} and {tuple(bias.shape)}")
    k = weight.shape[2]
    same_size = stride == 1 and k % 2 == 1 and weight.shape[3] == k and padding == k // 2
    if impl == "kernel" and not same_size:
        raise ValueError(f"conv2d: impl is 'kernel' with stride {stride}, kernel {k} and padding {padding}, expected stride 1, "
                         "an odd kernel and padding of half of it")
    dtype, w, b = str(x.dtype), to(weight, x.dtype), to(bias, x.dtype)
    if gpu() and dtype != "float32" and choose(impl, cuda=True):
        return cudnn_conv(x, w, b, residual, stride, padding)
    # What is painted may not depend on the batch, and so not the choice either; a training step may, but not on the number of
    # processes that share it: both ways round differently, and gradients would differ by 1.5e-6.
    pixels = x.shape[2] * x.shape[3] * (1 if jt.flags.no_grad else x.shape[0] * PROCESSES)
    few = same_size and (k == 1 or pixels <= SMALL)
    bfloat16 = dtype == "bfloat16" and multiplies_bfloat16()
    if (bfloat16 or dtype == "float32" and not few and impl != "kernel") and choose(impl) and not gpu() and onednn():
        product, padding = few and not tiles.enabled, padding if isinstance(padding, tuple) else (padding, padding)
        if jt.flags.no_grad:
            return conv_onednn(x, w, b, stride, padding, residual, product=product, kept=kept)
        return ConvOnednn(stride, padding, product)(x, weight, bias, *([] if residual is None else [residual]))
    if residual is not None:                                # elsewhere Jittor puts bias and residual into one operator
        return to(to_float32(conv2d(x, weight, bias, stride, padding, impl=impl)) + to_float32(residual), x.dtype)
    x, w, b = (to(array, kernel_dtype(array)) for array in (x, w, b))
    if choose(impl) and (impl == "kernel" or few):
        return to(Product()(x, w, b), dtype)
    return to(conv2d_reference(x, w, b, stride, padding), dtype)


def conv2d_last(x, weight, bias, stride, padding, residual, impl):
    """conv2d where channels are last."""
    if gpu() and choose(impl, cuda=True):
        return cudnn_conv(x, to(weight, x.dtype), to(bias, x.dtype), residual, stride, padding, last=True)
    residual = residual if residual is None else to_first(residual)
    return to_last(conv2d(to_first(x), to_first(weight), bias, stride, padding, residual, impl))


def conv2d_reference(x, weight, bias, stride=1, padding=0):
    """The right answer: Jittor's own."""
    return nn.conv2d(x, weight, bias, stride, padding)


class Product(jt.Function):
    """The kernel as a differentiable function; keeps its inputs and lays out the columns again going back."""

    def execute(self, x, weight, bias):
        """x (B, Cin, H, W), weight (Cout, Cin, k, k), bias (Cout,) -> (B, Cout, H, W)."""
        self.saved = x, weight
        return jt.code([x.shape[0], weight.shape[0], *x.shape[2:]], "float32", [x, weight, bias], cpu_header=HEADER,
                       cpu_src="iidm::conv_cpu(iidm_conv(in0, in1), in0_p, in1_p, in2_p, out0_p);")

    def grad(self, dy):
        """dL/dy (B, Cout, H, W) -> dL/dx, dL/dweight, dL/dbias."""
        (x, weight), self.saved = self.saved, None  # for one backward pass: held longer they would keep their memory
        return jt.code([x.shape, weight.shape, [weight.shape[0]]], ["float32"] * 3, [x, weight, dy], cpu_header=HEADER,
                       cpu_src="iidm::conv_grad_cpu(iidm_conv(in0, in1), in0_p, in1_p, in2_p, out0_p, out1_p, out2_p);")


HEADER = include("conv") + """
#define iidm_conv(x, w) iidm::Conv{x->shape[0], x->shape[1], w->shape[0], x->shape[2], x->shape[3], w->shape[2]}
"""
