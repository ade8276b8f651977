"""Group normalisation (Wu and He 2018), SPADE or affine modulation, timestep scale and shift, and SiLU, in one pass.

    y = act((norm(x) * a + b) * (1 + scale) + shift),   a = gamma (affine) or 1 + gamma (SPADE; Park et al. 2019, Eq. 1)

Why a kernel: Jittor's own normalisation computes E[x^2] - E[x]^2 in float32, which cancels, and written as separate
operators the chain reads and writes the whole tensor about six times. Here it is read once from memory (a group stays in
the second-level cache between the passes) and written once; the backward pass recomputes what it needs from x.
benchmarks/kernels.py measures both on a CPU. The CUDA version is compiled and tested off a GPU, and not measured yet.
"""
from models.kernels.casting import inference_dtype, kernel_dtype, to, to_float32
from models.kernels.launch import choose, code, include, or_null
from runtime.backend import jt

CHUNK = 4096  # kChunk of moments.cuh: values of a group that one block of a GPU takes


def norm_modulate(x, gamma, beta, groups, eps, scale=None, shift=None, act=True, impl="auto"):
    """x (B, C, H, W) float32 or 16-bit; gamma, beta (C,) or, for SPADE, (B, C, H, W); scale, shift (B, C) or None -> y
    like x, computed in float32.

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
    run = norm_modulate_kernel if choose(impl, cuda=True) else norm_modulate_reference
    return run(x, gamma, beta, groups, eps, scale, shift, act)


def norm_modulate_kernel(x, gamma, beta, groups, eps, scale=None, shift=None, act=True):
    """The same by the kernels in norm_modulate.cuh. Maps are read as numbers of x's type, weights and rows as float32."""
    settings = {"maps": int(len(gamma.shape) == 4), "act": int(act), "groups": groups, "eps": eps}
    kind = inference_dtype(x) if jt.flags.no_grad else kernel_dtype(x)  # on a CPU the gradient's kernel is float32's
    modulation = kind if settings["maps"] else "float32"
    rows = [to_float32(row) for row in (scale, shift) if row is not None]
    arrays = [to(x, kind), to(gamma, modulation), to(beta, modulation), *rows]
    return to(NormModulate(settings)(*arrays), x.dtype)


def norm_modulate_reference(x, gamma, beta, groups, eps, scale=None, shift=None, act=True):
    """The right answer in plain Jittor; statistics in two passes, sums of row sums."""
    dtype, (x, gamma, beta) = x.dtype, (to_float32(array) for array in (x, gamma, beta))
    batch, channels, height, width = x.shape
    h = x.reshape(batch, groups, channels // groups, height * width)
    h = h - mean(h)
    h = (h / jt.sqrt(mean(h * h) + eps)).reshape(x.shape)
    if len(gamma.shape) == 4:
        h = h * (1 + gamma) + beta
    else:
        h = h * gamma.reshape(1, channels, 1, 1) + beta.reshape(1, channels, 1, 1)
    if scale is not None:
        scale, shift = (to_float32(row).reshape(batch, channels, 1, 1) for row in (scale, shift))
        h = h * (1 + scale) + shift
    return to(h * jt.sigmoid(h) if act else h, dtype)


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
        x, groups = arrays[0], self.settings["groups"]
        y, stats, _ = code(
            [x.shape, [x.shape[0], groups, 2], [x.shape[0] * groups, chunks(x, groups), 2]],
            [x.dtype, "float32", "float32"], list(arrays), HEADER,
            cpu=f"iidm::norm_modulate_cpu({SETTINGS}, iidm::numbers(in0_p), iidm::numbers(in1_p), iidm::numbers(in2_p), "
                f"{timestep(arrays)}, iidm::numbers(out0_p), out1_p);",
            cuda=f"iidm::norm_modulate_cuda({SETTINGS}, {self.modulation()}, in0_p, {timestep(arrays)}, out2_p, out0_p, "
                 "out1_p);",
            data=self.settings)
        self.saved = arrays, stats
        return y

    def grad(self, dy):
        """dL/dy (B, C, H, W) -> the gradients of execute's arrays."""
        (arrays, stats), self.saved = self.saved, None  # for one backward pass: held longer they would keep their memory
        x, gamma, maps, n = arrays[0], arrays[1], self.settings["maps"], len(arrays)
        rows = [x.shape[0], x.shape[1]]
        modulation = x.shape if maps else rows
        sums = [rows[0] * rows[1], chunks(x, x.shape[1]), 5]
        # As maps, or as sums of a sample.
        none = ["(in0_type*)nullptr"] * 2, ["(float*)nullptr"] * 2
        modulated = ", ".join(["out1_p", "out2_p", *none[1]] if maps else [*none[0], "out1_p", "out2_p"])
        dx, dgamma, dbeta, dscale, dshift, _ = code(
            [x.shape, modulation, modulation, rows, rows, sums],
            [x.dtype, gamma.dtype, gamma.dtype, "float32", "float32", "float32"],
            [*arrays, to(dy, x.dtype), stats], HEADER,
            cpu=f"iidm::norm_modulate_grad_cpu({SETTINGS}, in{n}_p, in0_p, in1_p, in2_p, {timestep(arrays)}, in{n + 1}_p, "
                "out0_p, out1_p, out2_p, out3_p, out4_p);",
            cuda=f"iidm::norm_modulate_grad_cuda({SETTINGS}, {self.modulation()}, in0_p, {timestep(arrays)}, in{n + 1}_p, "
                 f"in{n}_p, out5_p, out0_p, {modulated}, out3_p, out4_p);",
            data=self.settings)
        if not maps:
            dgamma, dbeta = dgamma.sum(0), dbeta.sum(0)
        return (dx, dgamma, dbeta, dscale, dshift)[:n]

    def modulation(self):
        """Where the kernel finds gamma and beta, as C++ text."""
        shape = "int(in0_shape1), int(in0_shape2 * in0_shape3)"
        return f"iidm::Maps<in0_type>{{in1_p, in2_p, {shape}}}" if self.settings["maps"] else "iidm::Affine{in1_p, in2_p}"


def chunks(x, groups):
    """The blocks of a GPU that share a group of one sample of x (B, C, H, W)."""
    return -(-(x.shape[1] // groups * x.shape[2] * x.shape[3]) // CHUNK)


def timestep(arrays):
    """C++ arguments scale, shift of a code operator whose first inputs are the arrays."""
    return ", ".join(or_null(len(arrays) > 3, f"in{i}_p") for i in (3, 4))


HEADER = include("include/device", "include/moments", "norm_modulate") + """
#define iidm_settings(x, data) iidm::NormModulate{x->shape[0], x->shape[1], x->shape[2] * x->shape[3], \\
    int64_t(data["groups"]), data["maps"] > 0, data["act"] > 0, float(data["eps"])}
"""
SETTINGS = "iidm_settings(in0, data)"
