"""Nearest codebook row per latent vector (van den Oord et al. 2017, VQ-VAE, Eq. 1).

The plain way stores an (N, K) table of distances, 403 MB for one 512x384 image and 8,192 codes; the kernel keeps one
running minimum per row. benchmarks/kernels.py measures both.
"""
from models.kernels.launch import choose, include
from runtime.backend import jt


def nearest_code(z, codebook, impl="auto"):
    """z (N, D), codebook (K, D), float32 -> index (N,), int32. No gradient. Raises ValueError on other shapes."""
    if len(z.shape) != 2 or len(codebook.shape) != 2 or z.shape[1] != codebook.shape[1]:
        raise ValueError(f"nearest_code: expected z (N, D) and codebook (K, D), "
                         f"got {tuple(z.shape)} and {tuple(codebook.shape)}")
    return (nearest_code_kernel if choose(impl) else nearest_code_reference)(z, codebook)


def nearest_code_reference(z, codebook, chunk=1024):
    """The right answer, a chunk of rows at a time."""
    rows = [((z[i:i + chunk].unsqueeze(1) - codebook.unsqueeze(0)) ** 2).sum(-1) for i in range(0, z.shape[0], chunk)]
    return jt.concat([jt.argmin(distance, dim=1)[0] for distance in rows])          # (N,)


def nearest_code_kernel(z, codebook):
    """The same by the kernel in nearest_code.cuh."""
    return jt.code([z.shape[0]], "int32", [z, codebook], cpu_header=include("nearest_code"),
                   cpu_src="iidm::nearest_code_cpu(in0_p, in1_p, out0_p, in0_shape0, in1_shape0, in0_shape1);")
