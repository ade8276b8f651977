"""Runs the CUDA source of an operator on the CPU, through the launcher that a GPU would be used by; see play.h."""
import ctypes
import functools
import hashlib
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from models.kernels import launch
from runtime.backend import jt

FOLDER = tempfile.TemporaryDirectory(prefix="iidm-played-")
TYPES = {"float32": ("float", np.float32), "int32": ("int32_t", np.int32), "float16": ("__half", np.uint16),
         "bfloat16": ("__nv_bfloat16", np.uint16)}
GUARD = 256        # bytes after every array that a kernel must not touch

# What an operator's source sees of Jittor: pointers, shapes, types, data.
PRELUDE = """
#include <cstdint>
#include <map>
#include <string>
struct Var { int64_t shape[8], num; };
"""


def function(name, dtypes, dims, cuda, data):
    """One operator's source as a C++ function. dtypes, dims: {"in0": ..., "out0": ...}."""
    lines = [f'extern "C" void {name}(Var** vars, void** arrays, const double* numbers) {{']
    lines += ["std::map<std::string, double> data;", *(f'data["{key}"] = numbers[{i}];' for i, key in enumerate(sorted(data)))]
    for i, var in enumerate(dtypes):
        lines += [f"using {var}_type = {TYPES[dtypes[var]][0]};", f"Var* {var} = vars[{i}]; (void){var};",
                  f"auto* __restrict__ {var}_p = static_cast<{var}_type*>(arrays[{i}]); (void){var}_p;"]
        lines += [f"const int64_t {var}_shape{d} = {var}->shape[{d}]; (void){var}_shape{d};" for d in range(dims[var])]
    return "\n".join([*lines, cuda, "}\n"])


class Recorder:
    """Stands in for jt in models.kernels.launch: Jittor with a GPU, whose operators are played, or only recorded.

    sources: {header: {the C++ function of an operator launched with it}}.
    """

    def __init__(self, backwards=False, plays=True, arch=90):
        self.flags = SimpleNamespace(use_cuda=1, cuda_archs=[arch])
        self.backwards, self.plays, self.sources = backwards, plays, {}

    def code(self, shapes, dtypes, inputs=None, cpu_header="", cpu_src="", cuda_header="", cuda_src="", data=None):
        """jt.code with several outputs, new ones or, given as (inputs, outputs), some of the inputs changed in place."""
        assert cuda_src, "an operator without CUDA source was launched as on a GPU"
        in_place = inputs is None
        inputs, outputs = (shapes, dtypes) if in_place else (inputs, list(zip(shapes, dtypes)))
        held = [Guarded(str(var.dtype), tuple(var.shape), bits(var)) for var in inputs]
        if in_place:
            made = [held[[var is other for other in inputs].index(True)] for var in outputs]
        else:
            made = [Guarded(str(dtype), tuple(shape), None if self.plays else 0) for shape, dtype in outputs]
        arrays = {**{f"in{i}": one for i, one in enumerate(held)}, **{f"out{i}": one for i, one in enumerate(made)}}
        body = function("run", {name: one.dtype for name, one in arrays.items()},
                        {name: len(one.shape) for name, one in arrays.items()}, cuda_src, data)
        self.sources.setdefault(cuda_header, set()).add(body)
        if self.plays:
            play(cuda_header, body, held + made, [data[key] for key in sorted(data)], self.backwards)
        return [one.var() for one in made]


def bits(var):
    """A Var's numbers as NumPy holds them: 16-bit ones as uint16."""
    array = var.numpy()
    if str(var.dtype) == "bfloat16":
        return (np.ascontiguousarray(array, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return array.view(np.uint16) if str(var.dtype) == "float16" else array


class Guarded:
    """An array in memory of its own, aligned to 64 bytes, NaN where it has no values yet, with a guard after it."""

    def __init__(self, dtype, shape, values):
        self.dtype, self.shape = dtype, shape
        kind = np.dtype(TYPES[dtype][1])
        size = int(np.prod(shape)) * kind.itemsize
        self.memory = np.full(size + GUARD + 64, 0xff, dtype=np.uint8)
        start = -self.memory.ctypes.data % 64
        self.array = self.memory[start:start + size].view(kind).reshape(shape)
        self.guard = self.memory[start + size:]
        if values is not None:
            self.array[...] = values

    def var(self):
        """As a Var. Raises where the guard was written to."""
        assert (self.guard == 0xff).all(), "a kernel wrote behind its array"
        if self.dtype == "bfloat16":
            return jt.array((self.array.astype(np.uint32) << 16).view(np.float32)).bfloat16()
        return jt.array(self.array.view(np.float16) if self.dtype == "float16" else self.array.copy())


@functools.cache
def library(header, body):
    """The compiled operator."""
    text = f"{PRELUDE}{header}\n{body}" + """
extern "C" const char* played(Var** vars, void** arrays, const double* numbers, int backwards) {
    play::backwards = backwards;
    play::failure = nullptr;
    run(vars, arrays, numbers);
    return play::failure;
}
"""
    path = Path(FOLDER.name) / hashlib.sha256(text.encode()).hexdigest()[:16]
    path.with_suffix(".cc").write_text(text)
    folder = Path(__file__).parent
    command = ["g++", "-std=c++14", "-O1", "-fno-strict-aliasing", "-shared", "-fPIC", "-w", "-include", str(folder / "play.h"),
               f"-I{folder / 'stand_in'}", f"-I{folder / 'stand_in' / 'cpu'}", str(path.with_suffix(".cc")), "-o",
               str(path.with_suffix(".so"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    loaded = ctypes.CDLL(str(path.with_suffix(".so")))
    loaded.played.restype = ctypes.c_char_p
    return loaded


def play(header, body, held, numbers, backwards):
    """Runs the operator on Guarded arrays."""
    shapes = [(ctypes.c_int64 * 9)(*one.shape, *[0] * (8 - len(one.shape)), one.array.size) for one in held]
    failure = library(header, body).played(
        (ctypes.c_void_p * len(held))(*[ctypes.addressof(shape) for shape in shapes]),
        (ctypes.c_void_p * len(held))(*[one.array.ctypes.data for one in held]),
        (ctypes.c_double * max(1, len(numbers)))(*numbers), int(backwards))
    assert failure is None, failure.decode()


def on_played_gpu(monkeypatch, backwards=False, arch=90):
    """From here to the end of the test kernels are launched as on a GPU of an architecture; returns the Recorder."""
    recorder = Recorder(backwards, arch=arch)
    monkeypatch.setattr(launch, "jt", recorder)
    return recorder


def last_place(exact, dtype):
    """The distance of neighbouring numbers of a 16-bit type about each of an array's."""
    digits, least = (11, -14) if dtype == "float16" else (8, -126)
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(exact), 1e-38))), least)
    return 2.0 ** (exponent - digits + 1)


def assert_close(found, exact, dtype, name=""):
    """Within 1e-5 of the largest value as float32; as 16-bit numbers within 2 units of the last place, beside what float32
    sums of the largest are off by."""
    assert found.shape == exact.shape and np.isfinite(found).all(), name
    largest = np.abs(exact).max()
    if dtype == "float32":
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5 * largest, err_msg=name)
    else:
        off = np.abs(found.astype(np.float64) - exact) - 2 * last_place(exact, dtype)
        assert off.max() <= 2e-6 * largest, (name, off.max(), largest)
