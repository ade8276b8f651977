"""Nearest codebook row per latent vector (van den Oord et al. 2017, VQ-VAE, Eq. 1).

The plain way stores an (N, K) table of distances, 403 MB for one 512x384 image and 8,192 codes; the kernel keeps one
running minimum per row. benchmarks/kernels.py measures both on a CPU. The CUDA version, for codes of up to 8 numbers, is
compiled and tested off a GPU, and not measured yet.
"""
from models.kernels.casting import to_float32
from models.kernels.launch import choose, code, include
from runtime.backend import jt

WIDEST = 8  # numbers of a code, on a GPU


def nearest_code(z, codebook, impl="auto"):
    """z (N, D), codebook (K, D) -> index (N,), int32, computed in float32. No gradient. Raises ValueError on other shapes."""
    if len(z.shape) != 2 or len(codebook.shape) != 2 or z.shape[1] != codebook.shape[1]:
        raise ValueError(f"nearest_code: expected z (N, D) and codebook (K, D), "
                         f"got {tuple(z.shape)} and {tuple(codebook.shape)}")
    run = nearest_code_kernel if choose(impl, cuda=z.shape[1] <= WIDEST) else nearest_code_reference
    return run(to_float32(z), to_float32(codebook))


def nearest_code_reference(z, codebook, chunk=1024):
    """The right answer, a chunk of rows at a time."""
    rows = [((z[i:i + chunk].unsqueeze(1) - codebook.unsqueeze(0)) ** 2).sum(-1) for i in range(0, z.shape[0], chunk)]
    return jt.concat([jt.argmin(distance, dim=1)[0] for distance in rows])          # (N,)


def nearest_code_kernel(z, codebook):
    """The same by the kernels in nearest_code.cuh."""
    arguments = "in0_p, in1_p, out0_p, in0_shape0, in1_shape0, in0_shape1"
    return code([[z.shape[0]]], ["int32"], [z, codebook], include("include/device", "nearest_code"),
                cpu=f"iidm::nearest_code_cpu({arguments});", cuda=f"iidm::nearest_code_cuda({arguments});")[0]
