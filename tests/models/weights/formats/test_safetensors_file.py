import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.weights.formats import open_weight_file
from models.weights.formats.safetensors_file import HEADER
from runtime.errors import UserError
from tests.fixtures.handmade import safetensors

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TWO = {"dtype": "F32", "shape": [1, 3], "data_offsets": [8, 20]}
DATA = np.arange(5, dtype="<f4").tobytes()


def written(tmp_path, *args, **kwargs):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors(*args, **kwargs))
    return path


def test_what_the_library_writes_is_read(tmp_path, rng):
    wanted = {"z": rng.random((3, 2)).astype("f4"), "a": rng.random(4).astype("f2"), "k": np.arange(3), "s": np.array(2.5),
              "e": np.zeros((0, 2), "f4"), "b": np.array([True, False])}
    save_file(wanted, tmp_path / "theirs", {"made": "by them"})
    found = open_weight_file(tmp_path / "theirs")
    assert found.format == "safetensors" and found.metadata == {"made": "by them"} and set(found.tensors) == set(wanted)
    for name, array in wanted.items():
        assert found.tensors[name].read().dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name].read(), array)


def test_tensors_may_stand_in_any_order_and_are_listed_in_the_files(tmp_path):
    found = open_weight_file(written(tmp_path, {"b": TWO, "a": ONE}, DATA)).tensors
    assert list(found) == ["b", "a"] and found["a"].read().tolist() == [0, 1] and found["b"].read().tolist() == [[2, 3, 4]]


def test_bfloat16_is_widened(tmp_path):
    wanted = np.array([1, -2.5, 3.140625, 2.0 ** -130], "f4")      # the last one is denormal; all fit the upper half
    halves = (wanted.view("u4") >> 16).astype("<u2").tobytes()
    path = written(tmp_path, {"w": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}, halves)
    found = open_weight_file(path).tensors["w"]
    assert found.dtype == "bfloat16" and found.numpy().dtype == np.float32
    np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("header, data, message", [
    ({"a": ONE, "b": ONE}, DATA[:8], "b overlaps another tensor or leaves a gap"),
    ({"a": ONE, "b": {**TWO, "data_offsets": [4, 16]}}, DATA, "b overlaps another tensor or leaves a gap"),
    ({"b": TWO}, DATA, "b overlaps another tensor or leaves a gap"),
    ({"a": ONE}, DATA, "has 20 bytes of data, expected 8"), ({"a": ONE, "b": TWO}, DATA[:-1], "has 19 bytes of data"),
    ({"a": {**ONE, "data_offsets": [0, 4]}}, DATA[:4], "a takes 4 bytes from byte 0 on, expected 8 for float32 (2,)"),
    ({"a": {**ONE, "data_offsets": [8, 0]}}, DATA[:8], "a takes -8 bytes"),
    ({"a": {**ONE, "data_offsets": [-8, 0]}}, DATA[:8], "a takes 8 bytes from byte -8 on"),
    ({"a": {**ONE, "data_offsets": [0, 8, 8]}}, DATA[:8], "a has data_offsets that are not"),
    ({"a": {**ONE, "data_offsets": [False, 8]}}, DATA[:8], "a has data_offsets that are not"),
    ({"a": {**ONE, "shape": [-2]}}, DATA[:8], "a a shape is not a list"),
    ({"a": {**ONE, "shape": [True, 2]}}, DATA[:8], "a a shape is not a list"),
    ({"a": {**ONE, "shape": 2}}, DATA[:8], "a a shape is not a list"),
    ({"a": {**ONE, "shape": [1 << 40, 1 << 40]}}, DATA[:8], "more than"),
    ({"a": {**ONE, "dtype": "F8_E4M3"}}, DATA[:8], "a is of the type F8_E4M3, expected one of F64, F32"),
    ({"a": {**ONE, "dtype": ["F32"]}}, DATA[:8], "a is of the type ['F32']"),
    ({"a": {**ONE, "more": 1}}, DATA[:8], "a is not described by dtype, shape and data_offsets"),
    ({"a": 5}, DATA[:8], "a is not described"), ({}, b"", "holds no tensors"),
    ({"__metadata__": {"a": 1}}, b"", "no table of tensors and metadata"), ({"__metadata__": []}, b"", "no table of tensors"),
    (b"{}", b"\0", "has 1 bytes of data"), (b'{"a": [[[[}', b"", "not JSON"), (b"{\xff}", b"", "not JSON"),
    (b'{"a": 1, "a": 2}', b"", "not JSON"), (b'{"a": NaN}', b"", "not JSON"), (b'{"a": 1.5}', b"", "not JSON"),
    (b'{"a": ' + b"9" * 9999 + b"}", b"", "not JSON"), (b'{"a":' + b"[" * 99_999, b"", "not JSON")])
def test_a_broken_file_is_one_line(tmp_path, header, data, message):
    with pytest.raises(UserError) as error:
        open_weight_file(written(tmp_path, header, data))
    (line,) = error.value.problems
    assert message in line and "\n" not in line


@pytest.mark.parametrize("length", [HEADER + 1, 2 << 30, 1 << 63, (1 << 64) - 1])
def test_a_header_that_is_too_long_is_refused_before_it_is_read(tmp_path, length):
    with pytest.raises(UserError, match=f"a safetensors header of {length:,} bytes"):
        open_weight_file(written(tmp_path, {"a": ONE}, DATA[:8], length=length))


def test_a_header_of_any_length_up_to_the_limit_is_no_pickle(tmp_path):
    for length in (0x480, 0x10480, HEADER):                 # the first two begin as a pickle of protocol 4 does
        text = json.dumps({"a": ONE}).encode().ljust(length)
        path = written(tmp_path, text, DATA[:8])
        assert path.read_bytes()[:8] == struct.pack("<Q", length)
        assert open_weight_file(path).tensors["a"].read().tolist() == [0, 1]
