"""Bias and residual added to a convolution's result, with the moments of the sum for the group normalisation that follows.

    sum = y + bias + residual;   norm_modulate(sum, ..., moments=moments)

Why a kernel: a normalisation reads its input once more for the moments, and who makes the input has it at hand. Forward, 256
channels of 96x128 in float32 take 8.6 ms on one core of a busy Xeon, sum and norm apart 13.7 ms; with gradient 97 and 89 ms
(benchmarks/kernels.py). The CUDA version is compiled and tested off a GPU, and not measured yet; the networks do not use it.
"""
from models.kernels.casting import inference_dtype, kernel_dtype, to, to_float32
from models.kernels.launch import choose, code, gpu, include
from models.kernels.norm_modulate import HEADER as NORM_MODULATE
from models.kernels.norm_modulate import mean, parts
from models.kernels.turn import to_first, to_last
from runtime.backend import jt


def add_moments(y, bias, residual, groups, eps, impl="auto", last=False):
    """y (B, C, H, W) float32 or 16-bit, bias (C,), residual like y or None -> y + bias + residual like y, and its moments for
    norm_modulate, norm_modulate_maps or norm_branches of as many groups and the same eps. last: (B, H, W, C).

    Differentiable in y, bias and residual; the moments' share of a gradient is the normalisation's. Raises ValueError on
    other shapes.
    """
    channels = y.shape[3 if last else 1] if len(y.shape) == 4 else 0
    if (not channels or channels % groups or list(bias.shape) != [channels]
            or residual is not None and list(residual.shape) != list(y.shape)):
        raise ValueError(f"add_moments: expected y {'(B, H, W, C)' if last else '(B, C, H, W)'} with C a multiple of {groups}, "
                         f"bias (C,) and residual like y, got {tuple(y.shape)}, {tuple(bias.shape)} and "
                         f"{None if residual is None else tuple(residual.shape)}")
    kernel = choose(impl, cuda=True)
    if last and not (kernel and gpu()):                                 # only the CUDA version reads them so
        total, moments = add_moments(to_first(y), bias, None if residual is None else to_first(residual), groups, eps, impl)
        return to_last(total), moments
    if not kernel:
        return add_moments_reference(y, bias, residual, groups, eps)
    kind = inference_dtype(y) if jt.flags.no_grad else kernel_dtype(y)  # on a CPU the gradient's kernel is float32's
    more = [] if residual is None else [to(residual, kind)]
    total, moments = AddMoments({"groups": groups, "eps": eps, "last": int(last), "maps": 0, "act": 0, "known": 0, "apart": 0})(
        to(y, kind), to_float32(bias), *more)
    return to(total, y.dtype), moments.detach()


def add_moments_reference(y, bias, residual, groups, eps):
    """The right answer in plain Jittor, which has moments of its own form: mean and reciprocal deviation (B, G, 2)."""
    total = to_float32(y) + to_float32(bias).reshape(1, -1, 1, 1)
    total = to(total if residual is None else total + to_float32(residual), y.dtype)
    h = to_float32(total).reshape(y.shape[0], groups, y.shape[1] // groups, -1)
    about = mean(h)
    return total, jt.concat([about, 1 / jt.sqrt(mean((h - about) ** 2) + eps)], dim=2).reshape(y.shape[0], groups, 2).detach()


class AddMoments(jt.Function):
    """The kernel as a differentiable function."""

    def __init__(self, settings):
        super().__init__()
        self.settings = settings

    def execute(self, y, bias, *residual):
        """y, bias and, where there is one, residual -> their sum and moments: (B, G, 2), on a GPU those of its chunks."""
        self.dtypes = [y.dtype, bias.dtype, *(array.dtype for array in residual)]
        groups, last = self.settings["groups"], self.settings["last"]
        chunks = [y.shape[0] * groups, parts(y, groups, last), 2] if gpu() else [y.shape[0], groups, 2]
        more = "in2_p" if residual else "(in0_type*)nullptr"
        cpu = ", ".join(["iidm::numbers(in0_p)", "in1_p", f"iidm::numbers({more})", "iidm::numbers(out0_p)", "out1_p"])
        name = "add_moments_last" if last else "add_moments"
        return tuple(code([y.shape, chunks], [y.dtype, "float32"], [y, bias, *residual], HEADER,
                          cpu=f"iidm::add_moments_cpu(iidm_settings(in0, data), {cpu});",
                          cuda=f"iidm::{name}_cuda(iidm_settings(in0, data), in0_p, in1_p, {more}, out0_p, out1_p);",
                          data=self.settings))

    def grad(self, d_sum, _):
        """dL/d sum -> dL/dy, dL/d bias and, where there is one, dL/d residual."""
        pixels = (0, 1, 2) if self.settings["last"] else (0, 2, 3)
        found = [d_sum, to_float32(d_sum).sum(pixels), d_sum]
        return tuple(to(array, dtype) for array, dtype in zip(found, self.dtypes))


HEADER = NORM_MODULATE + include("add_moments")
