"""The processor's tile registers: who may use them, and that oneDNN does where they are there."""
import platform

import pytest

from runtime import tiles
from tests.helpers import run_python

FOUND = {"amx_tile", "amx_bf16", "avx512f"}
CONVOLVE = """
import numpy as np
from models.kernels.casting import to
from models.kernels.conv import conv2d
from runtime.backend import jt
from runtime import tiles
array = lambda *shape: to(jt.array(np.ones(shape, dtype=np.float32)), "bfloat16")
with jt.no_grad():
    conv2d(array(1, 32, 16, 16), array(32, 32, 3, 3), array(32), 1, 1).sync()
print("enabled", tiles.enabled)
"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """(folder with a oneDNN, what the system and the library were asked)."""
    library = tmp_path / "dnnl_lnx_2.2.0_cpu_gomp" / "lib" / "libdnnl.so"
    library.parent.mkdir(parents=True)
    library.touch()
    asked = []
    monkeypatch.setattr(tiles, "permitted", lambda: asked.append("system") or True)
    monkeypatch.setattr(tiles, "told", lambda path: asked.append(path) or True)
    monkeypatch.setattr(tiles, "enabled", False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return tmp_path, asked


def test_a_processor_with_tiles_is_asked_for_them_and_onednn_told(asked):
    folder, calls = asked
    assert tiles.use_tiles({}, folder, FOUND) and tiles.enabled
    assert calls[0] == "system" and str(calls[1]).endswith("libdnnl.so")


@pytest.mark.parametrize("environ, flags", [({"DNNL_MAX_CPU_ISA": "AVX2"}, FOUND), ({}, FOUND - {"amx_bf16"}), ({}, set())])
def test_nobody_is_asked_where_the_user_decided_or_there_are_none(asked, environ, flags):
    folder, calls = asked
    assert not tiles.use_tiles(environ, folder, flags) and not tiles.enabled and calls == []


def test_without_onednn_or_on_another_machine_nothing_happens(asked, tmp_path, monkeypatch):
    folder, calls = asked
    assert not tiles.use_tiles({}, tmp_path / "nothing", FOUND)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not tiles.use_tiles({}, folder, FOUND) and calls == []


@pytest.mark.skipif(not tiles.NEEDED <= tiles.processor_flags(), reason="needs a processor with AMX")
@pytest.mark.parametrize("given, used", [(None, True), ("AVX512_CORE_BF16", False)])
def test_convolutions_of_bfloat16_use_them(given, used):
    done = run_python(CONVOLVE, IIDM_DEVICE="cpu", DNNL_MAX_CPU_ISA=given, DNNL_VERBOSE="1")
    assert f"enabled {used}" in done.stdout, done.stderr
    lines = [line for line in done.stdout.splitlines() if ",convolution," in line or ",gemm" in line]
    assert not used or any("amx" in line for line in lines), done.stdout
