"""What runtime/cuda/build_check.py runs in a process of its own: builds Jittor's parts and the kernels of single operators.

Called as build_program.py COPY STAND_IN quick|all from the repository's root, with the stand-in for libcudart preloaded.
Prints one line, BUILD and JSON: the parts, and for each operator how many kernels were compiled and which were not.
"""
import contextlib
import ctypes
import json
import os
import signal
import sys
import time

import numpy as np


def arrays(jt, dtype, *shapes):
    """Ones of each shape."""
    return [jt.array(np.ones(shape, "float32")).cast(dtype) for shape in shapes]


def convolution(jt, dtype):
    """A convolution and its gradients."""
    x, w = arrays(jt, dtype, (1, 3, 6, 10), (4, 3, 3, 3))
    y = jt.nn.conv2d(x, w, padding=1)
    return [y, *jt.grad(y.sum(), [x, w])]


def product(jt, dtype):
    """A matrix product of a batch, one of a single pair, and their gradients."""
    a, b = arrays(jt, dtype, (2, 6, 10), (2, 10, 5))
    y, z = jt.matmul(a, b), jt.matmul(a[0], b[0])
    return [y, z, *jt.grad(y.sum() + z.sum(), [a, b])]


def softmax(jt):
    """A softmax and its gradient."""
    x, = arrays(jt, "float32", (6, 100))
    y = jt.nn.softmax(x, dim=-1)
    return [y, jt.grad((y * y).sum(), x)]


def unet_training_step(jt, precision="float32"):
    """The gradients of a small U-Net's loss."""
    from configs.schema import UNetConfig
    from ldm.losses import diffusion_loss
    from ldm.schedule import make_schedule
    from models.layers import parameters_of
    from models.precision import compute_in
    from models.unet import UNet
    model = UNet(UNetConfig(channels=32, channel_mult=[1, 2], res_blocks=1, attention_factors=[2], head_channels=32,
                            spade_channels=8))
    compute_in(model, precision)
    z_0, eps = arrays(jt, "float32", (2, 3, 8, 12), (2, 3, 8, 12))
    labels = jt.array(np.zeros((2, 8, 12), "int32"))
    loss = diffusion_loss(model, z_0, labels, np.array([3, 500]), eps, make_schedule("linear", 1000))["loss"].sum()
    return jt.grad(loss, list(parameters_of(model).values()))


def operators(jt):
    """{name: function that returns arrays}: compiling the kernels of these is the check."""
    ones = lambda *shape: jt.array(np.ones(shape, "float32"))
    return {
        "element-wise": lambda: [jt.exp(ones(6, 10)) + 1],
        "sum": lambda: [ones(6, 10).sum(1)],
        "random (cuRAND)": lambda: [jt.randn(6, 10)],
        "matrix products (cuBLAS) float32": lambda: product(jt, "float32"),
        "matrix products (cuBLAS) float16": lambda: product(jt, "float16"),
        "matrix products (cuBLAS) bfloat16": lambda: product(jt, "bfloat16"),
        "convolution (cuDNN) float32": lambda: convolution(jt, "float32"),
        "convolution (cuDNN) float16": lambda: convolution(jt, "float16"),
        "convolution (cuDNN) bfloat16": lambda: convolution(jt, "bfloat16"),
        "softmax (cub)": lambda: softmax(jt),
        "nonzero (cub)": lambda: list(jt.where(ones(6, 10) > 0)),
        "argsort (cub)": lambda: list(jt.argsort(ones(6, 10), dim=1)),
        "argmax (cub)": lambda: list(jt.argmax(ones(6, 10), dim=1)),
        "cumsum (cub)": lambda: [jt.cub_cumsum(ones(6, 10))],
        "U-Net, training step": lambda: unet_training_step(jt),
        "U-Net, training step in float16": lambda: unet_training_step(jt, "float16"),
        "U-Net, training step in bfloat16": lambda: unet_training_step(jt, "bfloat16"),
    }


def parts(jt):
    """[name, sources, file, MiB] of the core and of every extension, each built, linked and loaded."""
    from jittor import compile_extern, compiler
    size = lambda file: os.path.getsize(file) / 2 ** 20
    core = sys.modules["jittor_core"].__file__
    found = [["core", len(compiler.files), os.path.basename(core), size(core)]]
    for name in ("cub", "cublas", "cudnn", "curand", "cufft", "cusparse"):
        file = getattr(compile_extern, name).__file__
        folder = f"{jt.flags.jittor_path}/extern/cuda/{name}"
        sources = [f for _, _, files in os.walk(folder) for f in files if f.endswith(".cc")]
        found.append([name, len(sources), os.path.basename(file), size(file)])
    return found


def compiled(jt):
    """(names of the kernels that were compiled, names of those that were not)."""
    files = os.listdir(f"{jt.flags.cache_path}/jit")
    names = {name.rsplit(".", 1)[0] for name in files if name.endswith(".so")}
    return names, {name[:-3] for name in files if name.endswith((".cc", ".cu"))} - names


def compile_kernels(jt, name, function):
    """[name, kernels compiled, those that failed, seconds]. In a child process: it may end as it likes."""
    before, broken, begun = *compiled(jt), time.time()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        try:
            jt.sync(function())
        except Exception as error:                 # no driver: cuBLAS and cuDNN refuse, after their kernels were compiled
            print(f"{name}: ended with {type(error).__name__}: {str(error)[-2000:]}", file=sys.stderr, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    after, still = compiled(jt)
    return [name, len(after - before), sorted(still - broken), time.time() - begun]


def main(copy, stand_in, extent):
    """Builds, then prints what was built."""
    sys.path[:1] = [copy, os.getcwd()]                                  # the patched Jittor, then the repository
    begun = time.time()
    with contextlib.redirect_stdout(sys.stderr):
        import jittor as jt
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)           # Jittor's own handler would end this process with a child
    jt.flags.use_parallel_op_compiler = jt.flags.use_parallel_op_compiler or 1    # a graph's kernels are made before it runs
    facts = {"jittor": jt.__file__, "seconds": time.time() - begun, "flags": jt.flags.nvcc_flags, "parts": parts(jt)}
    ctypes.CDLL(stand_in).stand_in_devices(1)
    jt.flags.use_cuda = 1
    facts["kernels"] = [compile_kernels(jt, name, function) for name, function in operators(jt).items()
                        if extent == "all" or name.endswith(("(cub)", "float32"))]
    print("BUILD " + json.dumps(facts), flush=True)
    os._exit(0)                                                         # the libraries' own ends would ask for the driver


if __name__ == "__main__":
    main(*sys.argv[1:])
