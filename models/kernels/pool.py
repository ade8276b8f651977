"""Maximum and mean over 3x3 windows, of images with their channels last.

Why a kernel: Jittor's has channels first, one thread's loop over every number of a window for the maximum, and for the mean
divides by nine at the border too. benchmarks/kernels.py measures it. On a GPU the reference runs.
"""
from models.kernels.launch import choose, include
from models.kernels.turn import to_first, to_last
from runtime.backend import jt, nn


def pool(x, kind, stride=1, padding=0, impl="auto"):
    """x (B, H, W, C) float32 -> the "max" or "mean" over 3x3 windows, (B, H', W', C), without what lies beyond the border.

    Raises ValueError on other shapes and kinds. Differentiable by the reference, which is taken outside of jt.no_grad().
    """
    if kind not in ("max", "mean") or len(x.shape) != 4 or min(x.shape[1:3]) + 2 * padding < 3 or padding > 1:
        raise ValueError("pool: expected 'max' or 'mean' of x (B, H, W, C) of at least 3x3 with a padding of at most 1, "
                         f"got {kind!r} of {tuple(x.shape)} with a padding of {padding}")
    return (pool_kernel if choose(impl, gradient=False) else pool_reference)(x, kind, stride, padding)


def pool_reference(x, kind, stride, padding):
    """The right answer: Jittor's own."""
    x = to_first(x)
    if kind == "max":
        return to_last(nn.max_pool2d(x, 3, stride, padding))
    inside = nn.avg_pool2d(jt.ones((1, 1, *x.shape[2:])), 3, stride, padding)      # Jittor divides by nine at the border too
    return to_last(nn.avg_pool2d(x, 3, stride, padding) / inside)


def pool_kernel(x, kind, stride, padding):
    """The same by the kernel in pool.cuh."""
    size = [(n + 2 * padding - 3) // stride + 1 for n in x.shape[1:3]]
    return jt.code([x.shape[0], *size, x.shape[3]], "float32", [x], cpu_header=HEADER,
                   data={"stride": stride, "padding": padding, "mean": int(kind == "mean")},
                   cpu_src="iidm::pool_cpu(iidm_pool(in0, out0, data), in0_p, out0_p);")


HEADER = include("pool") + """
#define iidm_pool(x, y, data) iidm::Pool{x->shape[0], x->shape[1], x->shape[2], x->shape[3], y->shape[1], y->shape[2], \\
    int64_t(data["stride"]), int64_t(data["padding"]), data["mean"] > 0}
"""
