"""Group normalisation (Wu and He 2018), SPADE or affine modulation, timestep scale and shift, and SiLU, in one pass.

    y = act((norm(x) * a + b) * (1 + scale) + shift),   a = gamma (affine) or 1 + gamma (SPADE; Park et al. 2019, Eq. 1)

Why a kernel: Jittor's own normalisation computes E[x^2] - E[x]^2 in float32, which cancels, and written as separate
operators the chain reads and writes the whole tensor about six times. Here it is read once from memory (a group stays in
the second-level cache between the passes) and written once; the backward pass recomputes what it needs from x.
benchmarks/kernels.py measures both.
"""
from models.kernels.launch import choose, include
from runtime.backend import jt


def norm_modulate(x, gamma, beta, groups, eps, scale=None, shift=None, act=True, impl="auto"):
    """x (B, C, H, W) float32; gamma, beta (C,) or, for SPADE, (B, C, H, W); scale, shift (B, C) or None -> y like x.

    Differentiable in every array. Raises ValueError on other shapes.
    """
    batch, channels = x.shape[:2]
    maps = len(gamma.shape) == 4
    expected = list(x.shape) if maps else [channels]
    if len(x.shape) != 4 or channels % groups or list(gamma.shape) != expected or list(beta.shape) != expected:
        raise ValueError(f"norm_modulate: expected x (B, C, H, W) with C a multiple of {groups} and gamma, beta (C,) or like "
                         f"x, got {tuple(x.shape)}, {tuple(gamma.shape)} and {tuple(beta.shape)}")
    if (scale is None) != (shift is None) or (scale is not None
                                              and not list(scale.shape) == list(shift.shape) == [batch, channels]):
        raise ValueError(f"norm_modulate: expected scale and shift {(batch, channels)}, both or neither, got "
                         f"{scale if scale is None else tuple(scale.shape)} and "
                         f"{shift if shift is None else tuple(shift.shape)}")
    if choose(impl):
        settings = {"maps": int(maps), "act": int(act), "groups": groups, "eps": eps}
        arrays = [x, gamma, beta] + ([scale, shift] if scale is not None else [])
        return NormModulate(settings)(*arrays)
    return norm_modulate_reference(x, gamma, beta, groups, eps, scale, shift, act)


def norm_modulate_reference(x, gamma, beta, groups, eps, scale=None, shift=None, act=True):
    """The right answer in plain Jittor; statistics in two passes, sums of row sums."""
    batch, channels, height, width = x.shape
    h = x.reshape(batch, groups, channels // groups, height * width)
    h = h - mean(h)
    h = (h / jt.sqrt(mean(h * h) + eps)).reshape(x.shape)
    if len(gamma.shape) == 4:
        h = h * (1 + gamma) + beta
    else:
        h = h * gamma.reshape(1, channels, 1, 1) + beta.reshape(1, channels, 1, 1)
    if scale is not None:
        h = h * (1 + scale.reshape(batch, channels, 1, 1)) + shift.reshape(batch, channels, 1, 1)
    return h * jt.sigmoid(h) if act else h


def mean(h):
    """The mean over the last two axes, (B, G, c, N) -> (B, G, 1, 1), as a sum of row sums: a running float32 sum over
    100,000 elements would be off in the third digit."""
    return (h.sum(3, keepdims=True) / h.shape[3]).sum(2, keepdims=True) / h.shape[2]


class NormModulate(jt.Function):
    """The kernel as a differentiable function; keeps the inputs and (B, G, 2) statistics, nothing of x's size."""

    def __init__(self, settings):
        super().__init__()
        self.settings = settings

    def execute(self, *arrays):
        """arrays: x, gamma, beta and, where there is a timestep, scale, shift."""
        x = arrays[0]
        y, stats = jt.code(
            [x.shape, [x.shape[0], self.settings["groups"], 2]], ["float32", "float32"], list(arrays),
            cpu_header=HEADER,
            cpu_src=f"iidm::norm_modulate_cpu(iidm_settings(in0, data), {pointers(arrays)}, out0_p, out1_p);",
            data=self.settings)
        self.saved = arrays, stats
        return y

    def grad(self, dy):
        """dL/dy (B, C, H, W) -> the gradients of execute's arrays."""
        (arrays, stats), self.saved = self.saved, None  # for one backward pass: held longer they would keep their memory
        x, gamma = arrays[:2]
        rows = [x.shape[0], x.shape[1]]
        modulation = x.shape if len(gamma.shape) == 4 else rows
        dx, dgamma, dbeta, dscale, dshift = jt.code(
            [x.shape, modulation, modulation, rows, rows], ["float32"] * 5, [*arrays, dy, stats],
            cpu_header=HEADER,
            cpu_src=f"iidm::norm_modulate_grad_cpu(iidm_settings(in0, data), in{len(arrays)}_p, {pointers(arrays)}, "
                    f"in{len(arrays) + 1}_p, out0_p, out1_p, out2_p, out3_p, out4_p);",
            data=self.settings)
        if len(gamma.shape) == 1:
            dgamma, dbeta = dgamma.sum(0), dbeta.sum(0)
        return (dx, dgamma, dbeta, dscale, dshift)[:len(arrays)]


def pointers(arrays):
    """C++ arguments x, gamma, beta, scale, shift for the first inputs of a code operator."""
    return ", ".join(f"in{i}_p" if i < len(arrays) else "(const float*)nullptr" for i in range(5))


HEADER = include("norm_modulate") + """
#define iidm_settings(x, data) iidm::NormModulate{x->shape[0], x->shape[1], x->shape[2] * x->shape[3], \\
    int64_t(data["groups"]), data["maps"] > 0, data["act"] > 0, float(data["eps"])}
"""
