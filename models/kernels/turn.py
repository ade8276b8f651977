"""The last two axes of an array exchanged, and images with their channels first or last: (B, C, H, W), (B, H, W, C).

Why a kernel: Jittor's own operator has no CUDA source of its own. Without cuTT, which it would download and runtime/device.py
leaves out, an array goes to the CPU, is turned there by one thread and comes back, and the GPU waits.
"""
from models.kernels.launch import choose, code, include
from runtime.backend import jt


def turn(x, impl="auto"):
    """x (B, M, N), float32 or 16-bit -> (B, N, M). Differentiable. Raises ValueError on other shapes."""
    if len(x.shape) != 3:
        raise ValueError(f"turn: expected x (B, M, N), got {tuple(x.shape)}")
    return Turn()(x) if choose(impl, cuda=True) else turn_reference(x)


def turn_reference(x):
    """The right answer: Jittor's own."""
    return x.transpose(0, 2, 1)


class Turn(jt.Function):
    """The kernel as a differentiable function."""

    def execute(self, x):
        """x (B, M, N) -> (B, N, M)."""
        return turned(x)

    def grad(self, dy):
        """dL/dy (B, N, M) -> dL/dx."""
        return turned(dy)


def turned(x):
    """The kernel without its gradient."""
    batch, rows, columns = x.shape
    return code([[batch, columns, rows]], [x.dtype], [x], HEADER,
                cpu="iidm::turn_cpu(iidm_turn(in0), iidm::numbers(in0_p), iidm::numbers(out0_p));",
                cuda="iidm::turn_cuda(iidm_turn(in0), in0_p, out0_p);")[0]


def to_last(x):
    """(B, C, H, W) -> (B, H, W, C)."""
    b, c, h, w = x.shape
    return turn(x.reshape(b, c, h * w)).reshape(b, h, w, c)


def to_first(x):
    """(B, H, W, C) -> (B, C, H, W)."""
    b, h, w, c = x.shape
    return turn(x.reshape(b, h * w, c)).reshape(b, c, h, w)


def sizes(x, last):
    """B, C, H, W of an image."""
    if last:
        b, h, w, c = x.shape
        return b, c, h, w
    return tuple(x.shape)


HEADER = include("include/device", "turn") + """
#define iidm_turn(x) iidm::Turn{x->shape[0], x->shape[1], x->shape[2]}
"""
