"""tests/play.h: numbers as NumPy has them, and faults that it must show."""
import numpy as np
import pytest

from tests.play import Guarded, play

HEADER = "#include <stdexcept>\nnamespace iidm {"
BODY = "KERNEL }\nextern \"C\" void run(Var**, void** arrays, const double*) { iidm::start(arrays); }"


def run(kernel, start, *held, backwards=False):
    """Plays a kernel on Guarded arrays."""
    body = f"{kernel}\ninline void start(void** arrays) {{ {start} }}"
    play(HEADER, BODY.replace("KERNEL", body), held, [], backwards)


@pytest.mark.parametrize("kind, name", [("__half", "float16"), ("__nv_bfloat16", "bfloat16")])
def test_16_bit_numbers_are_those_of_numpy_and_are_rounded_to_the_nearest(rng, kind, name):
    every = Guarded(name, (65536,), np.arange(65536, dtype=np.uint16))
    spread = rng.standard_normal(5000) * 10.0 ** rng.integers(-9, 6, 5000)
    values = np.concatenate([spread, [0, -0.0, 65519, 65520, 2 ** -25, 2 ** -24 * 1.5]])
    given, wide = Guarded("float32", values.shape, values), Guarded("float32", (65536,), None)
    narrow = Guarded(name, values.shape, None)
    to, back = (("__half2float", "__float2half_rn") if name == "float16" else ("__bfloat162float", "__float2bfloat16_rn"))
    run("", f"for (int i = 0; i < 65536; ++i) ((float*)arrays[1])[i] = {to}((({kind}*)arrays[0])[i]);"
            f"for (int i = 0; i < {len(values)}; ++i) (({kind}*)arrays[3])[i] = {back}(((float*)arrays[2])[i]);",
        every, wide, given, narrow)
    single = values.astype(np.float32)
    if name == "float16":
        np.testing.assert_array_equal(wide.array, np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32))
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(narrow.array, single.astype(np.float16).view(np.uint16))
    else:
        np.testing.assert_array_equal(wide.array, (np.arange(65536, dtype=np.uint32) << 16).view(np.float32))
        around = [(narrow.array.astype(np.int64) + step).astype(np.uint32) << 16 for step in (0, -1, 1)]
        found, below, above = (bits.astype(np.uint32).view(np.float32).astype(np.float64) for bits in around)
        for other in (below, above):
            assert not (np.abs(other - single) < np.abs(found - single)).any()


REVERSE = """
__global__ void reverse(float* to) {{
    __shared__ float kept[64];
    kept[threadIdx.x] = to[threadIdx.x];
    {barrier}
    to[threadIdx.x] = kept[63 - threadIdx.x];
}}
"""


def test_a_missing_barrier_shows():
    for barrier, right in (("__syncthreads();", True), ("", False)):
        found = []
        for backwards in (False, True):
            held = Guarded("float32", (64,), np.arange(64))
            run(REVERSE.format(barrier=barrier), "launch(reverse, 1, 64, (float*)arrays[0]);", held, backwards=backwards)
            found.append(np.array_equal(held.array, np.arange(64)[::-1]))
        assert all(found) == right


def test_threads_that_wait_for_others_for_ever_are_an_error():
    held = Guarded("float32", (64,), 0)
    kernel = "__global__ void stuck(float* to) { to[threadIdx.x] = threadIdx.x % 2 ? __shfl_xor_sync(~0u, 1.0f, 1) : 0; " \
             "__syncthreads(); }"
    with pytest.raises(AssertionError, match="threads wait for others that never come"):
        run(kernel, "launch(stuck, 1, 64, (float*)arrays[0]);", held)


def test_a_write_behind_an_array_is_an_error():
    held = Guarded("float32", (64,), 0)
    run("__global__ void over(float* to) { to[threadIdx.x + 1] = 1; }", "launch(over, 1, 64, (float*)arrays[0]);", held)
    with pytest.raises(AssertionError, match="behind its array"):
        held.var()
