"""Whether nvcc compiles what the launchers would give it: every kernel, type and layout, for sm_80 and sm_90."""
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.kernels import launch
from models.kernels.adamw_ema import NUMBERS, adamw_ema
from models.kernels.add_moments import add_moments
from models.kernels.attention import Attention
from models.kernels.casting import to
from models.kernels.cudnn_conv import CudnnConv
from models.kernels.nearest_code import nearest_code
from models.kernels.norm_branches import norm_branches
from models.kernels.norm_modulate import NormModulate
from models.kernels.turn import turn
from runtime.backend import jt
from tests.play import PRELUDE, Recorder

# Jittor's own flags for its operators, with the older of the two language versions that it uses.
FLAGS = ["-std=c++14", "--use_fast_math", "-gencode", "arch=compute_80,code=sm_80", "-gencode", "arch=compute_90,code=sm_90",
         f"-I{Path(__file__).parents[2] / 'stand_in'}"]                # headers of cuDNN and Jittor's executor
TYPES = ("float32", "float16", "bfloat16")

pytestmark = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, which is not on PATH")


def zeros(*shape, dtype="float32"):
    return to(jt.array(np.zeros(shape, dtype=np.float32)), dtype)


def norm(dtype):
    x = zeros(1, 4, 2, 4, dtype=dtype)
    for modulation in ([zeros(4), zeros(4)], [zeros(1, 8, 2, 4, dtype=dtype)], [x, x]):
        for timestep in ([], [zeros(1, 8)]):
            normalise(0, x, modulation, timestep)


def norm_last(dtype):
    x = zeros(1, 2, 4, 4, dtype=dtype)
    for modulation in ([zeros(4), zeros(4)], [zeros(1, 2, 4, 8, dtype=dtype)], [x, x]):
        normalise(1, x, modulation, [zeros(1, 8)])


def normalise(last, x, modulation, timestep):
    maps = modulation[0].ndim == 4
    settings = {"maps": int(maps), "act": 1, "groups": 2, "eps": 1e-5, "last": last, "known": 0,
                "apart": int(maps and len(modulation) == 2)}
    function = NormModulate(settings)
    function.grad(function.execute(x, *modulation, *timestep))


def moments(dtype):
    for last, shape in ((False, (1, 4, 2, 4)), (True, (1, 2, 4, 4))):
        x = zeros(*shape, dtype=dtype)
        for residual in (None, x):
            add_moments(x, zeros(4), residual, 2, 1e-5, "kernel", last)


def branches(dtype):
    x = zeros(2, 4, 2, 4, dtype=dtype)
    for timestep in (None, zeros(1, 8)):
        norm_branches(x, zeros(1, 8, 2, 4, dtype=dtype), zeros(8, 2, 3, dtype=dtype), 2, timestep=timestep, impl="kernel")
    norm_branches(zeros(2, 2, 4, 4, dtype=dtype), zeros(1, 2, 4, 8, dtype=dtype), zeros(2, 3, 8, dtype=dtype), 2, impl="kernel",
                  last=True)


def attend(dtype):
    function = Attention(1)
    function.grad(function.execute(zeros(1, 96, 8, dtype=dtype)))


def exchange(dtype):
    turn(zeros(1, 3, 4, dtype=dtype), "kernel")


def nearest(_):
    nearest_code(zeros(4, 3), zeros(5, 3), "kernel")


def adamw(_):
    for average in (zeros(4), None):
        adamw_ema(zeros(4), zeros(4), zeros(4), zeros(4), average, dict.fromkeys(NUMBERS, 1.0), "kernel")


def convolve(dtype):
    for epilogue in ("kernel", "cudnn"):
        for more in ([], [zeros(3, dtype=dtype)], [zeros(3, dtype=dtype), zeros(1, 3, 4, 4, dtype=dtype)]):
            function = CudnnConv({"stride": 1, "padding": 1, "last": 0}, epilogue)
            function.grad(function.execute(zeros(1, 2, 4, 4, dtype=dtype), zeros(3, 2, 3, 3, dtype=dtype), *more))


CASES = {f"{run.__name__}-{dtype}": (run, dtype) for run in (norm, norm_last, moments, attend, branches, convolve, exchange)
         for dtype in TYPES}
CASES.update({"nearest": (nearest, "float32"), "adamw": (adamw, "float32")})


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """{case: what nvcc said and returned}, two at a time."""
    folder, files = tmp_path_factory.mktemp("cuda"), {}
    for name, (run, dtype) in CASES.items():
        recorder = Recorder(plays=False)
        with pytest.MonkeyPatch.context() as patch, jt.flag_scope(use_cuda=0):
            patch.setattr(launch, "jt", recorder)
            run(dtype)
        (header, bodies), = recorder.sources.items()
        bodies = [body.replace("void run(", f"void run{i}(") for i, body in enumerate(sorted(bodies))]
        files[name] = folder / f"{name}.cu"
        files[name].write_text("\n".join([PRELUDE, header, *bodies]))
    build = lambda file: subprocess.run(["nvcc", *FLAGS, "-c", str(file), "-o", str(file.with_suffix(".o"))],
                                        capture_output=True, text=True)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(files, pool.map(build, files.values())))


@pytest.mark.parametrize("name", CASES)
def test_nvcc_compiles_what_the_launcher_gives_it(compiled, name):
    done = compiled[name]
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_mistake_in_a_kernel_would_be_noticed(compiled, tmp_path):
    file = tmp_path / "wrong.cu"
    file.write_text(f'{launch.include("include/device")}\n__global__ void wrong(__half* x) {{ iidm::load<4>(x, x); }}')
    assert subprocess.run(["nvcc", *FLAGS, "-c", str(file), "-o", str(tmp_path / "wrong.o")], capture_output=True).returncode
