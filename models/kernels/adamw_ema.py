"""One step of AdamW (Loshchilov and Hutter 2019, Algorithm 2) with the moving average after it, in one pass.

    m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  p = keep p - size m / (sqrt(v) / root + eps),  e = e + weight (p - e)

Why a kernel: as separate operators the step reads and writes 18 arrays of a parameter's size, here 9; m, v and e change
where they lie, so that nothing but the new p is ever held twice. The new p is an array of its own: gradients of layers
before it, which are computed after it has moved, still need the old one. The CUDA version is compiled and tested off a GPU,
and not measured yet.
"""
from models.kernels.launch import choose, code_in_place, include, or_null
from runtime.backend import jt

NUMBERS = ("b1", "rest1", "b2", "rest2", "keep", "size", "root", "eps", "weight")


def adamw_ema(p, g, m, v, e, numbers, impl="auto"):
    """p, g, m, v and e, or None for no average, float32 of one shape -> the new p, m, v, e.

    numbers: a dict of NUMBERS, where rest1 is 1 - b1. The arrays given as m, v and e hold the new ones once these have been
    computed. No gradient. Raises ValueError on other shapes.
    """
    given = [array for array in (p, g, m, v, e) if array is not None]
    if any(list(array.shape) != list(p.shape) or str(array.dtype) != "float32" for array in given):
        raise ValueError("adamw_ema: expected float32 arrays of one shape, got "
                         f"{', '.join(f'{array.dtype} {tuple(array.shape)}' for array in given)}")
    return (adamw_ema_kernel if choose(impl, cuda=True) else adamw_ema_reference)(p, g, m, v, e, numbers)


def adamw_ema_reference(p, g, m, v, e, numbers):
    """The right answer in plain Jittor, as new arrays."""
    b1, rest1, b2, rest2, keep, size, root, eps, weight = (numbers[name] for name in NUMBERS)
    m = b1 * m + rest1 * g
    v = b2 * v + rest2 * g * g
    p = p * keep - size * m / (jt.sqrt(v) / root + eps)
    # e + w (p - e), not d e + w p: in float32 d + w is not 1, which at 0.9999 biases the average by 2e-4.
    return p, m, v, None if e is None else e + weight * (p - e)


def adamw_ema_kernel(p, g, m, v, e, numbers):
    """The same by the kernel in adamw_ema.cuh."""
    moved = [jt.empty(p.shape), m, v] + ([] if e is None else [e])
    arguments = f"iidm_adamw(data), in0_p, in1_p, out0_p, out1_p, out2_p, {or_null(e is not None, 'out3_p')}, in0->num"
    moved = code_in_place([p, g, *moved], moved, HEADER, cpu=f"iidm::adamw_ema_cpu({arguments});",
                          cuda=f"iidm::adamw_ema_cuda({arguments});", data={name: numbers[name] for name in NUMBERS})
    return (*moved, None) if e is None else tuple(moved)


HEADER = include("include/device", "adamw_ema") + f"""
#define iidm_adamw(data) iidm::AdamW{{{", ".join(f'float(data["{name}"])' for name in NUMBERS)}}}
"""
