"""Group normalisation, SPADE modulation by maps made beforehand, timestep scale and shift, and SiLU, without gradient.

    y = silu((norm(x) * (1 + gamma) + beta) * (1 + scale) + shift)

For the two branches of classifier-free guidance in one batch: the first rows of x are pictures with their masks, the rows
after them the same pictures without. Why a kernel: the branch without a mask needs nine values a channel, not maps of x's
size that would be read from memory at every step; and no array is put together of the two. benchmarks/guided_step.py
measures what it is for. The CUDA version is compiled and tested off a GPU, and not measured yet.
"""
from models.kernels.casting import inference_dtype, to, to_float32
from models.kernels.launch import choose, code, gpu, include, or_null
from models.kernels.norm_modulate import HEADER as NORM_MODULATE
from models.kernels.norm_modulate import NO_TIMESTEP, check_timestep, norm_modulate_reference, parts, timestep_of
from models.kernels.turn import sizes, to_first, to_last
from runtime.backend import jt


def norm_branches(x, maps, empty, groups, eps=1e-5, timestep=None, impl="auto", last=False, moments=None):
    """x (B or 2B, C, H, W) -> y like x, float32 or 16-bit. Raises ValueError on other shapes.

    maps (B, 2C, H, W): gamma, then beta, of B masks; empty (2C, min(H, 3), min(W, 3)): the same of no mask, for the rows from B
    on; timestep: scale and then shift, (1, 2C) or a row for each of x, or None. last: x (B or 2B, H, W, C), maps and empty
    likewise; on a CPU they are turned round. moments: what add_moments.py gave with x, or None.
    """
    batch, channels, height, width = sizes(x, last)
    masks, small = maps.shape[0], [min(height, 3), min(width, 3)]
    wide, empty_of = [masks, 2 * channels, height, width], [2 * channels, *small]
    if last:
        wide, empty_of = [masks, height, width, 2 * channels], [*small, 2 * channels]
    if list(maps.shape) != wide or batch not in (masks, 2 * masks) or channels % groups or list(empty.shape) != empty_of:
        form = ["x (B or 2B, H, W, C)", "(B, H, W, 2C)"] if last else ["x (B or 2B, C, H, W)", "(B, 2C, H, W)"]
        raise ValueError(f"norm_branches: expected {form[0]} with C a multiple of {groups}, maps {form[1]} and empty "
                         f"{tuple(empty_of)}, got {tuple(x.shape)}, {tuple(maps.shape)} and {tuple(empty.shape)}")
    check_timestep(x, timestep, last)
    kernel = choose(impl, cuda=True)
    if last and not (kernel and gpu()):                                 # only the CUDA version reads them so
        empty = to_first(empty.unsqueeze(0))[0]
        return to_last(norm_branches(to_first(x), to_first(maps), empty, groups, eps, timestep, impl, False, moments))
    if kernel:
        return norm_branches_kernel(x, maps, empty, groups, eps, timestep, last, moments)
    return norm_branches_reference(x, maps, empty, groups, eps, timestep)


def norm_branches_kernel(x, maps, empty, groups, eps=1e-5, timestep=None, last=False, moments=None):
    """The same by the kernel in norm_branches.cuh, with `last` on a GPU only; maps are read as numbers of x's type, the
    timestep as float32."""
    arrays = [to(array, inference_dtype(x)) for array in (x, maps, empty)]
    arrays += [] if timestep is None else [to_float32(timestep)]
    rows = NO_TIMESTEP if timestep is None else timestep_of("in3")
    known = or_null(moments is not None, f"in{len(arrays)}_p")
    arrays += [] if moments is None else [moments]
    arguments = f"iidm_branches(in0, in1, data), in0_p, in1_p, in2_p, {rows}"
    cpu = f"iidm_branches(in0, in1, data), {', '.join(f'iidm::numbers(in{i}_p)' for i in range(3))}, {rows}"
    y, _ = code([x.shape, [x.shape[0] * groups, parts(x, groups, last), 2]], [inference_dtype(x), "float32"], arrays, HEADER,
                cpu=f"iidm::norm_branches_cpu({cpu}, {known}, iidm::numbers(out0_p));",
                cuda=f"iidm::norm_branches{'_last' if last else ''}_cuda({arguments}, "
                     f"{'out1_p' if moments is None else known}, out0_p);",
                data={"groups": groups, "eps": eps, "last": int(last), "known": int(moments is not None)})
    return to(y, x.dtype)


def norm_branches_reference(x, maps, empty, groups, eps=1e-5, timestep=None):
    """The right answer: the maps of no mask in full, beside the others."""
    batch, _, height, width = x.shape
    maps, empty = to_float32(maps), to_float32(empty)
    if batch > maps.shape[0]:
        rows, columns = ([small_index(i, n) for i in range(n)] for n in (height, width))
        full = empty[:, rows][:, :, columns].unsqueeze(0)                               # (1, 2C, H, W)
        maps = jt.concat([maps, full.broadcast(maps.shape)], dim=0)
    return norm_modulate_reference(x, [maps], groups, eps, timestep)


def small_index(i, n):
    """Where row i of n is found in the picture of min(n, 3) rows that has the same first, inner and last row."""
    return 0 if i == 0 else min(n, 3) - 1 if i == n - 1 else 1


HEADER = NORM_MODULATE + include("norm_branches") + """
#define iidm_branches(x, maps, data) iidm::NormBranches{x->shape[0], maps->shape[0], x->shape[data["last"] > 0 ? 3 : 1], \\
    x->shape[data["last"] > 0 ? 1 : 2], x->shape[data["last"] > 0 ? 2 : 3], int64_t(data["groups"]), float(data["eps"]), \\
    data["known"] > 0}
"""
