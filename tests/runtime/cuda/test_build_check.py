import numpy as np
import pytest

from runtime.cuda import build_check
from runtime.cuda.build_check import STAND_IN, choose_toolkit, report
from runtime.cuda.toolkit import Toolkit
from runtime.errors import UserError

NEW = Toolkit("/cuda/bin/nvcc", (13, 0), "x", 9)


def test_without_a_driver_the_first_whole_toolkit_that_needs_patches_is_taken(monkeypatch):
    bare, old = Toolkit("/bare/nvcc", (13, 0), "x", 0), Toolkit("/old/nvcc", (12, 2), "x", 8)
    monkeypatch.setattr(build_check, "find_toolkits", lambda environ: [bare, old, NEW])
    assert choose_toolkit({}) == NEW


@pytest.mark.parametrize("kits, why", [([], "no toolkit of CUDA 13 or with cuDNN 9 was found"),
                                       ([Toolkit("/bare/nvcc", (13, 0), "x", 0)], "/bare/nvcc: no cuDNN")])
def test_a_machine_without_a_whole_toolkit_is_told_what_is_missing(monkeypatch, kits, why):
    monkeypatch.setattr(build_check, "find_toolkits", lambda environ: kits)
    with pytest.raises(UserError, match=why):
        choose_toolkit({})


def test_the_other_process_names_operators_that_compute():
    from runtime.backend import jt
    from runtime.cuda.build_program import operators
    found = operators(jt)
    assert len(found) == 17 and sum(name.endswith(("(cub)", "float32")) for name in found) == 7       # all, --quick
    for name in ("element-wise", "sum"):                                                              # two cheap ones
        assert all(np.isfinite(value.numpy()).all() for value in found[name]()), name


def test_the_stand_in_defines_what_jittor_asks_before_it_computes():
    text = STAND_IN.read_text()
    for name in ("cudaGetDeviceCount", "cudaGetDeviceProperties", "cudaMalloc", "cudaMemcpy", "__cudaRegisterFatBinary"):
        assert f" {name}(" in text, name


def test_the_report_names_parts_kernels_and_what_was_not_done():
    kernels = [["softmax (cub)", 2, [], 9.0], ["sum", 1, ["x"], 1.0]]
    facts = {"parts": [["core", 151, "jittor_core.so", 20.0]], "kernels": kernels}
    text = report(NEW, facts, "86", 300)
    assert "| core | 151 | jittor_core.so | 20.0 |" in text and "| sum | 1 | 1 | 1 |" in text
    assert "Nothing was run on a GPU" in text and "CUDA 13.0, cuDNN 9" in text
