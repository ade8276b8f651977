"""Group normalisation (Wu and He 2018), SPADE or affine modulation, timestep scale and shift, and SiLU, in one pass.

    y = act((norm(x) * a + b) * (1 + scale) + shift),   a = gamma (affine) or 1 + gamma (SPADE; Park et al. 2019, Eq. 1)

Why a kernel: Jittor's own normalisation computes E[x^2] - E[x]^2 in float32, which cancels, and written as separate
operators the chain reads and writes the whole tensor about six times. Here it is read once from memory (a group stays in
the second-level cache between the passes) and written once; the backward pass recomputes what it needs from x.
benchmarks/kernels.py measures both on a CPU. The CUDA version is compiled and tested off a GPU, and not measured yet.
"""
from models.kernels.casting import inference_dtype, kernel_dtype, to, to_float32
from models.kernels.launch import choose, code, gpu, include, or_null
from models.kernels.turn import sizes, to_first, to_last
from runtime.backend import jt

CHUNK = 4096    # kChunk of moments.cuh: values of a group that one block of a GPU takes
LAST_PARTS = 64  # kMostParts of norm_last.cuh: blocks of a GPU that share a group where channels are last, at most


def norm_modulate(x, gamma, beta, groups, eps, timestep=None, act=True, impl="auto", last=False, moments=None):
    """x (B, C, H, W) float32 or 16-bit; gamma, beta (C,); timestep (1 or B, 2C), scale and then shift, or None -> y like x,
    computed in float32. last: x (B, H, W, C); on a CPU it is turned round. moments: what add_moments.py gave with x, or None.

    Differentiable in every array. Raises ValueError on other shapes.
    """
    channels = x.shape[3 if last else 1] if len(x.shape) == 4 else 0
    if not channels or channels % groups or not list(gamma.shape) == list(beta.shape) == [channels]:
        raise ValueError(f"norm_modulate: expected x {image('C', last)} with C a multiple of {groups} and gamma, beta (C,), "
                         f"got {tuple(x.shape)}, {tuple(gamma.shape)} and {tuple(beta.shape)}")
    return run(x, [gamma, beta], groups, eps, timestep, act, impl, last, moments)


def norm_modulate_maps(x, maps, groups, eps, timestep=None, act=True, impl="auto", last=False, moments=None):
    """SPADE: the same with maps (B, 2C, H, W) of gamma and then of beta, or a pair of both apart; last: (B, H, W, 2C)."""
    maps = list(maps) if isinstance(maps, (list, tuple)) else [maps]
    expected = [n * (1 + (len(maps) == 1 and axis == (3 if last else 1))) for axis, n in enumerate(x.shape)]
    if len(x.shape) != 4 or sizes(x, last)[1] % groups or any(list(part.shape) != expected for part in maps):
        raise ValueError(f"norm_modulate_maps: expected x {image('C', last)} with C a multiple of {groups} and maps "
                         f"{image('2C', last)}, got {tuple(x.shape)} and {tuple(maps[0].shape)}")
    if len(maps) == 2 and (last or gpu()):                              # whose kernels read one array
        maps = [jt.concat(maps, dim=3 if last else 1)]
    return run(x, maps, groups, eps, timestep, act, impl, last, moments)


def image(channels, last):
    """The shape of an image with so many channels, for an error's text."""
    return f"(B, H, W, {channels})" if last else f"(B, {channels}, H, W)"


def run(x, modulation, groups, eps, timestep, act, impl, last=False, moments=None):
    """Either of the two: modulation is [gamma, beta], of channels or as maps, or [maps]."""
    check_timestep(x, timestep, last)
    kernel = choose(impl, cuda=True)
    if last and not (kernel and gpu()):                                 # only the CUDA version reads them so
        modulation = [to_first(modulation[0])] if len(modulation) == 1 else modulation
        return to_last(run(to_first(x), modulation, groups, eps, timestep, act, impl, False, moments))
    if kernel:
        return norm_modulate_kernel(x, modulation, groups, eps, timestep, act, last, moments)
    return norm_modulate_reference(x, modulation, groups, eps, timestep, act)


def check_timestep(x, timestep, last=False):
    """ValueError unless timestep is None, (1, 2C) or (B, 2C) for x (B, C, H, W), or with `last` (B, H, W, C)."""
    batch, channels = sizes(x, last)[:2]
    if timestep is not None and list(timestep.shape) not in ([1, 2 * channels], [batch, 2 * channels]):
        raise ValueError(f"norm: expected timestep {(1, 2 * channels)} or {(batch, 2 * channels)}, scale and then shift, got "
                         f"{tuple(timestep.shape)}")


def norm_modulate_kernel(x, modulation, groups, eps, timestep=None, act=True, last=False, moments=None):
    """By the kernels in norm_modulate.cuh, or with `last`, on a GPU, in norm_last.cuh. Maps are read as numbers of x's type,
    weights and the timestep as float32."""
    maps = len(modulation[0].shape) == 4
    kind = inference_dtype(x) if jt.flags.no_grad else kernel_dtype(x)  # on a CPU the gradient's kernel is float32's
    arrays = [to(x, kind), *(to(array, kind if maps else "float32") for array in modulation)]
    arrays += [] if timestep is None else [to_float32(timestep)]
    arrays += [] if moments is None else [moments]
    settings = {"maps": int(maps), "act": int(act), "groups": groups, "eps": eps, "last": int(last),
                "known": int(moments is not None), "apart": int(maps and len(modulation) == 2)}
    return to(NormModulate(settings)(*arrays), x.dtype)


def norm_modulate_reference(x, modulation, groups, eps, timestep=None, act=True):
    """The right answer in plain Jittor; statistics in two passes, sums of row sums."""
    dtype, x, modulation = x.dtype, to_float32(x), [to_float32(array) for array in modulation]
    batch, channels, height, width = x.shape
    h = x.reshape(batch, groups, channels // groups, height * width)
    h = h - mean(h)
    h = (h / jt.sqrt(mean(h * h) + eps)).reshape(x.shape)
    if len(modulation[0].shape) == 4:
        gamma, beta = modulation if len(modulation) == 2 else (modulation[0][:, :channels], modulation[0][:, channels:])
        h = h * (1 + gamma) + beta
    else:
        gamma, beta = (array.reshape(1, channels, 1, 1) for array in modulation)
        h = h * gamma + beta
    if timestep is not None:
        rows = to_float32(timestep).reshape(-1, 2 * channels, 1, 1)
        h = h * (1 + rows[:, :channels]) + rows[:, channels:]
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
        """arrays: x, then maps, or gamma and beta, and, where there are, the timestep and the moments."""
        self.joined = self.settings["maps"] and not self.settings["apart"]
        x, groups, end = arrays[0], self.settings["groups"], 2 if self.joined else 3
        *arrays, moments = arrays if self.settings["known"] else (*arrays, None)
        known = or_null(moments is not None, f"in{len(arrays)}_p")
        self.time = timestep_of(f"in{end}") if len(arrays) > end else NO_TIMESTEP
        self.gamma, self.beta = ("in1_p", f"in1_p + {HALF}") if self.joined else ("in1_p", "in2_p")
        y, stats, _ = code(
            [x.shape, [x.shape[0], groups, 2], [x.shape[0] * groups, parts(x, groups, self.settings["last"]), 2]],
            [x.dtype, "float32", "float32"], [*arrays] if moments is None else [*arrays, moments], HEADER,
            cpu=f"iidm::norm_modulate_cpu({SETTINGS}, iidm::numbers(in0_p), iidm::numbers({self.gamma}), "
                f"iidm::numbers({self.beta}), {self.time}, {known}, iidm::numbers(out0_p), out1_p);",
            cuda=f"iidm::{self.name()}_cuda({SETTINGS}, {self.modulation()}, in0_p, {self.time}, "
                 f"{'out2_p' if moments is None else known}, out0_p, out1_p);",
            data=self.settings)
        self.saved = arrays, stats
        return y

    def grad(self, dy):
        """dL/dy like x -> the gradients of execute's arrays."""
        (arrays, stats), self.saved = self.saved, None  # for one backward pass: held longer they would keep their memory
        x, maps, n, last = arrays[0], self.settings["maps"], len(arrays), self.settings["last"]
        batch, channels = sizes(x, last)[:2]
        modulation = ([arrays[1].shape] * (1 if self.joined else 2) if maps
                      else [[batch, channels]] * 2)                                 # weights: sums of a sample
        time = len(modulation) + 1                                                  # the output of the timestep
        slopes = ["out1_p", f"out1_p + {HALF}"] if self.joined else ["out1_p", "out2_p"]
        on_gpu = "out1_p, (float*)nullptr, (float*)nullptr" if maps else "(in0_type*)nullptr, out1_p, out2_p"
        scratch = ([batch, LAST_PARTS, 3 * channels + 2 * self.settings["groups"]] if last
                   else [batch * channels, parts(x, channels), 5])
        dx, *rest, d_timestep, _ = code(
            [x.shape, *modulation, [batch, 2 * channels], scratch],
            [x.dtype, *(array.dtype for array in arrays[1:time]), "float32", "float32"],
            [*arrays, to(dy, x.dtype), stats], HEADER,
            cpu=f"iidm::norm_modulate_grad_cpu({SETTINGS}, in{n}_p, in0_p, {self.gamma}, {self.beta}, {self.time}, "
                f"in{n + 1}_p, out0_p, {', '.join(slopes)}, out{time}_p);",
            cuda=f"iidm::{self.name()}_grad_cuda({SETTINGS}, {self.modulation()}, in0_p, {self.time}, in{n + 1}_p, in{n}_p, "
                 f"out{time + 1}_p, out0_p, {on_gpu}, out{time}_p);",
            data=self.settings)
        if not maps:
            rest = [slope.sum(0) for slope in rest]
        if n > time and arrays[time].shape[0] != batch:
            d_timestep = d_timestep.sum(0, keepdims=True)
        return (*(dx, *rest, d_timestep)[:n], *[None] * self.settings["known"])  # dx holds what the moments add to it

    def name(self):
        """What the CUDA functions' names begin with."""
        return "norm_last" if self.settings["last"] else "norm_modulate"

    def modulation(self):
        """Where the kernel finds gamma and beta, as C++ text."""
        if self.settings["last"]:
            maps, affine = "MapsLast<in0_type>{in1_p, int(in0_shape3), int(in0_shape1 * in0_shape2)}", "AffineLast"
        else:
            maps, affine = "Maps<in0_type>{in1_p, int(in0_shape1), int(in0_shape2 * in0_shape3)}", "Affine"
        return f"iidm::{maps}" if self.settings["maps"] else f"iidm::{affine}{{in1_p, in2_p}}"


def parts(x, groups, last=False):
    """The blocks of a GPU that share a group of one sample of x (B, C, H, W), at most."""
    return LAST_PARTS if last else -(-(x.shape[1] // groups * x.shape[2] * x.shape[3]) // CHUNK)


def timestep_of(name):
    """The C++ argument for a timestep's rows (1 or B, 2C), the input of this name."""
    return f"iidm_timestep({name}, {name}_p)"


NO_TIMESTEP = "iidm::Timestep{nullptr, 0, 0}"
HALF = "in0_shape1 * in0_shape2 * in0_shape3"                                       # from gamma to beta in maps
HEADER = include("include/device", "include/moments", "norm_modulate", "norm_last") + """
#define iidm_settings(x, data) iidm::NormModulate{x->shape[0], x->shape[data["last"] > 0 ? 3 : 1], \\
    x->num / x->shape[0] / x->shape[data["last"] > 0 ? 3 : 1], int64_t(data["groups"]), data["maps"] > 0, data["act"] > 0, \\
    float(data["eps"]), data["known"] > 0, data["apart"] > 0}
#define iidm_timestep(rows, at) iidm::Timestep{at, rows->shape[0] > 1 ? rows->shape[1] : 0, rows->shape[1] / 2}
"""
SETTINGS = "iidm_settings(in0, data)"
