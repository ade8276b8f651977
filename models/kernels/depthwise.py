"""Depthwise convolution with bias (Howard et al. 2017, "MobileNets"): every channel has a kernel of its own.

Why a kernel: Jittor's grouped convolution is compiled anew for every number of channels, of which a MobileNet has nine, and
on 2 busy cores it takes 14 ms for 128 channels of 128x128 pixels, where this takes 1.0 ms. On a GPU the reference runs.
"""
from models.kernels.launch import choose, include
from runtime.backend import jt, nn


def depthwise(x, weight, bias, stride=1, dilation=1, padding=(1, 1), impl="auto"):
    """x (B, C, H, W), weight (C, 1, k, k), bias (C,), float32 -> (B, C, H', W').

    padding: rows and columns of zeros before and after. Differentiable by the reference, which is taken
    outside of jt.no_grad(). Raises ValueError on other shapes.
    """
    channels, kernel = x.shape[1] if len(x.shape) == 4 else 0, weight.shape[-1]
    if len(x.shape) != 4 or list(weight.shape) != [channels, 1, kernel, kernel] or list(bias.shape) != [channels]:
        raise ValueError(f"depthwise: expected x (B, C, H, W), weight (C, 1, k, k) and bias (C,), got {tuple(x.shape)}, "
                         f"{tuple(weight.shape)} and {tuple(bias.shape)}")
    rows, columns = (size + sum(padding) - dilation * (kernel - 1) for size in x.shape[2:])
    if rows < 1 or columns < 1:
        raise ValueError(f"depthwise: {tuple(x.shape)} is smaller than the kernel, {kernel} with dilation {dilation}")
    run = depthwise_kernel if choose(impl, gradient=False) else depthwise_reference
    return run(x, weight, bias, stride, dilation, padding)


def depthwise_reference(x, weight, bias, stride, dilation, padding):
    """The right answer: Jittor's own."""
    before, after = padding
    if before != after:
        x, before = nn.pad(x, (before, after, before, after)), 0
    return nn.conv2d(x, weight, bias, stride, before, dilation, groups=x.shape[1])


def depthwise_kernel(x, weight, bias, stride, dilation, padding):
    """The same by the kernel in depthwise.cuh."""
    shape = list(x.shape[:2]) + [(size + sum(padding) - dilation * (weight.shape[-1] - 1) - 1) // stride + 1
                                 for size in x.shape[2:]]
    return jt.code(shape, "float32", [x, weight, bias], cpu_header=HEADER,
                   data={"stride": stride, "dilation": dilation, "before": padding[0]},
                   cpu_src="iidm::depthwise_cpu(iidm_depthwise(in0, in1, out0, data), in0_p, in1_p, in2_p, out0_p);")


HEADER = include("depthwise") + """
#define iidm_depthwise(x, w, y, data) iidm::Depthwise{x->shape[0], x->shape[1], x->shape[2], x->shape[3], y->shape[2], \\
    y->shape[3], w->shape[2], int64_t(data["stride"]), int64_t(data["dilation"]), int64_t(data["before"])}
"""
