import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.weights.formats import open_weight_file
from runtime.errors import UserError
from tests.fixtures.handmade import Called, Named, Persistent, pickled, tensor, torch_legacy, torch_zip

REAL = Path(__file__).parents[3] / "data" / "formats"          # written by PyTorch 2.13: tests/fixtures/make_formats.py
ROW = np.arange(40, dtype="f4")
TYPES = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
         "bool", "complex64", "complex128"]
WANTED = {
    **{name: np.arange(6).reshape(2, 3).astype(name) for name in TYPES if name != "bfloat16"},
    "bfloat16": np.arange(6, dtype="f4").reshape(2, 3), "transposed": np.arange(10, dtype="f4").reshape(2, 5).T,
    "permuted": np.arange(24, dtype="f4").reshape(2, 3, 4).transpose(2, 0, 1), "every_other": ROW[1:20:2],
    "first": ROW[:6].reshape(2, 3), "second": ROW[6:12].reshape(2, 3), "whole": ROW, "twin": ROW,
    "scalar": np.float32(2.5), "empty": np.zeros((0, 3), "f4"), "last_scalar": ROW[39], "parameter": ROW[:3],
    "channels_last": np.arange(24, dtype="f4").reshape(1, 2, 3, 4),
    "overlapping": np.array([[0, 2, 4, 6], [1, 3, 5, 7], [2, 4, 6, 8]], "f4")}
TWO = np.array([1.5, -2], "f4")                            # of the files made by hand, which have one storage "0"
NEW = {"w": tensor("0", (2,), (1,), 2)}
OLD = {"w": tensor("0", (2,), (1,), 2, prefix=(None,))}


def written(tmp_path, data):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    return path


@pytest.fixture(params=["zip", "legacy"])
def made(request, tmp_path):
    """A function of one tensor in a storage of these bytes: the path of a file of either kind."""
    def make(shape, strides, data, kind="FloatStorage", count=None, offset=0):
        data = np.asarray(data)
        count = data.size if count is None else count
        if request.param == "zip":
            objects = {"w": tensor("0", shape, strides, count, kind, offset)}
            return written(tmp_path, torch_zip(objects, {"0": data.tobytes()}))
        objects = {"w": tensor("0", shape, strides, count, kind, offset, prefix=(None,))}
        return written(tmp_path, torch_legacy(objects, {"0": data}))
    return make


@pytest.mark.parametrize("file, missing", [("torch_zip.pth", set()), ("torch_legacy.pth", {"uint16", "uint32", "uint64"}),
                                           ("torch.safetensors", {"complex128"})])
def test_files_of_pytorch_hold_the_numbers_that_it_wrote(file, missing):
    found = open_weight_file(REAL / file)
    assert set(found.tensors) == set(WANTED) - missing and found.notes == []
    assert found.format == {"torch.safetensors": "safetensors"}.get(file, file[:-4].replace("_", " "))
    for name, stored in found.tensors.items():
        array = stored.read()
        assert array.shape == stored.shape == WANTED[name].shape
        assert stored.dtype == (name if name in TYPES else "float32")
        assert array.dtype == WANTED[name].dtype and array.flags.c_contiguous and array.flags.writeable
        np.testing.assert_array_equal(array, WANTED[name], err_msg=name)


def test_a_lightning_checkpoint_gives_its_averages_or_its_weights():
    found = open_weight_file(REAL / "lightning.ckpt")
    assert found.format == "torch zip" and [name for name in found.tensors] == [
        "model.0.weight", "model.0.bias", "model.1.weight", "model.1.bias", "first_stage.weight", "first_stage.bias"]
    assert {name for name, stored in found.tensors.items() if (stored.read() == 7).all()} == {
        name for name in found.tensors if name.startswith("model.")}
    assert any("optimizer_states" in note and "hyper_parameters" in note for note in found.notes)
    assert any("moving average of 4 of 6" in note for note in found.notes)
    raw = open_weight_file(REAL / "lightning.ckpt", ema=False)
    assert list(raw.tensors) == list(found.tensors)
    assert not any((stored.read() == 7).any() for stored in raw.tensors.values())


def test_every_kind_of_rebuilding_gives_the_tensor(tmp_path):
    plain = tensor("0", (2,), (1,), 2)
    objects = {"plain": plain, "old": Called("torch._utils._rebuild_tensor", plain.arguments[:4]),
               "parameter": Called("torch._utils._rebuild_parameter", (plain, True, Called("collections.OrderedDict", ()))),
               "with state": Called("torch._utils._rebuild_parameter_with_state", (plain, True, {}, {})),
               "subclass": Called("torch._tensor._rebuild_from_type_v2",
                                  (Named(plain.name), Named("torch.nn.parameter.Parameter"), plain.arguments, {})),
               "untyped": Called("torch._utils._rebuild_tensor_v3", (
                   Persistent(("storage", Named("torch.storage.UntypedStorage"), "0", "cpu", 8)), 0, (4,), (1,), False,
                   Called("collections.OrderedDict", ()), Named("torch.uint16")))}
    found = open_weight_file(written(tmp_path, torch_zip(objects, {"0": TWO.tobytes()}))).tensors
    np.testing.assert_array_equal(found.pop("untyped").read(), TWO.view("u2"))
    assert list(found) == list(objects)[:-1]
    for name, stored in found.items():
        np.testing.assert_array_equal(stored.read(), TWO, err_msg=name)


@pytest.mark.parametrize("sign", ["neg", "conj"])
def test_a_tensor_whose_sign_is_only_noted_is_refused(tmp_path, sign):
    plain = tensor("0", (2,), (1,), 2)
    for metadata, message in [({sign: False}, None), ({sign: True}, "yet to be negated or conjugated")]:
        path = written(tmp_path, torch_zip({"w": Called(plain.name, (*plain.arguments, metadata))}, {"0": TWO.tobytes()}))
        if message is None:
            assert open_weight_file(path).tensors["w"].read().tolist() == [1.5, -2]
        else:
            with pytest.raises(UserError, match=message):
                open_weight_file(path)


def test_settings_of_lightning_and_omegaconf_are_left_out_unmade(tmp_path):
    kind, content = Named("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"), Called("collections.defaultdict", (
        Named("builtins.dict"),), {"a": 1})
    settings = Called("copy_reg._reconstructor", (Named("omegaconf.dictconfig.DictConfig"), Named("builtins.object"), None),
                      {"_content": content, "_metadata": Called("omegaconf.base.ContainerMetadata", (Named("typing.Any"),))})
    objects = {"state_dict": NEW, "callbacks": {kind: {"best": NEW["w"]}}, "settings": settings, "size": Called(
        "torch.Size", ((1, 2),)), "device": Called("torch.device", ("cuda",)), "type": Named("torch.float16")}
    found = open_weight_file(written(tmp_path, torch_zip(objects, {"0": TWO.tobytes()})))
    assert list(found.tensors) == ["w"] and found.notes[0] == "left out: callbacks, settings, size, device, type"


def test_a_file_of_jittor_with_numbers_as_keys_is_read(tmp_path):
    scalar = tensor(1, (), (1,), 1)                        # a stride too many
    data = torch_zip({"w": tensor(0, (2,), (1,), 2), "s": scalar}, {"0": TWO.tobytes(), "1": TWO[:1].tobytes()}, root="name")
    found = open_weight_file(written(tmp_path, data)).tensors
    assert found["w"].read().tolist() == [1.5, -2] and found["s"].read() == 1.5 and found["s"].shape == ()


def test_an_old_view_of_a_storage_is_a_part_of_it(tmp_path):
    part = tensor("0", (2,), (1,), 6, prefix=(("7", 3, 3),), offset=1)
    found = open_weight_file(written(tmp_path, torch_legacy({"w": part}, {"0": np.arange(6, dtype="f4")}))).tensors
    assert found["w"].read().tolist() == [4, 5]
    with pytest.raises(UserError, match="a view that reaches out of its storage"):
        part = tensor("0", (2,), (1,), 6, prefix=(("7", 4, 3),))
        open_weight_file(written(tmp_path, torch_legacy({"w": part}, {"0": np.arange(6, dtype="f4")})))


@pytest.mark.parametrize("shape, strides, offset", [
    ((3,), (1,), 4), ((3,), (1,), -1), ((7,), (1,), 0), ((2, 3), (4, 1), 0), ((1000, 1000), (0, 0), 0), ((4,), (2,), 0),
    ((2,), (-1,), 1), ((2, 3), (3,), 0), ((2,), (1 << 62,), 0), ((1 << 40, 1 << 40), (0, 0), 0), ((6,), (1,), 1 << 70)])
def test_a_tensor_that_reaches_out_of_its_storage_is_refused(made, shape, strides, offset):
    with pytest.raises(UserError, match="has a tensor|a shape"):
        open_weight_file(made(shape, strides, np.arange(6, dtype="f4"), offset=offset))


def test_strides_of_single_elements_do_not_matter(made):
    found = open_weight_file(made((1, 2, 1, 3), (1 << 40, 3, 1 << 40, 1), np.arange(6, dtype="f4"))).tensors["w"]
    assert found.read().tolist() == [[[[0, 1, 2]], [[3, 4, 5]]]]


@pytest.mark.parametrize("kind, message", [
    ("QInt8Storage", "names torch.QInt8Storage, which is not part of any tensor"),
    ("Size", "a storage of the kind torch.Size"), ("UntypedStorage", "a tensor whose storage has no type")])
def test_other_storages_are_refused_by_name(made, kind, message):
    with pytest.raises(UserError, match=message):
        open_weight_file(made((6,), (1,), np.arange(6, dtype="u1"), kind))


@pytest.mark.parametrize("count", [5, 7, -1, 1 << 70])
def test_a_storage_of_another_size_than_its_tensors_say_is_refused(made, count):
    with pytest.raises(UserError):
        open_weight_file(made((2,), (1,), np.arange(6, dtype="f4"), count=count))


def test_a_missing_storage_is_refused(tmp_path):
    for key in ("1", "../data.pkl", "x" * 5000):
        with pytest.raises(UserError, match="has no storage|arguments that are not"):
            open_weight_file(written(tmp_path, torch_zip({"w": tensor(key, (2,), (1,), 2)}, {"0": TWO.tobytes()})))
    with pytest.raises(UserError, match="a list of storages that are not those of its tensors"):
        open_weight_file(written(tmp_path, torch_legacy({"w": tensor("1", (2,), (1,), 2, prefix=(None,))}, {"0": TWO})))


def test_a_big_endian_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="byte order 'big', expected 'little'"):
        open_weight_file(written(tmp_path, torch_zip(NEW, {"0": TWO.tobytes()}, order="big")))
    with pytest.raises(UserError, match="not written by a little-endian machine"):
        open_weight_file(written(tmp_path, torch_legacy(OLD, {"0": TWO}, little=False)))
    without = open_weight_file(written(tmp_path, torch_zip(NEW, {"0": TWO.tobytes()}, order=None)))
    assert without.tensors["w"].read().tolist() == [1.5, -2]


@pytest.mark.parametrize("change, message", [
    (dict(protocol=1000), "protocol 1000, expected 1001"), (dict(sizes={"0": 3}), "has 3 elements in storage 0, expected 2"),
    (dict(sizes={"0": -1}), "has -1 elements")])
def test_a_broken_older_file_is_one_line(tmp_path, change, message):
    data = torch_legacy(OLD, {"0": TWO}, **change)
    with pytest.raises(UserError, match=message):
        open_weight_file(written(tmp_path, data))


def test_whole_models_and_programs_are_refused_by_what_they_are(tmp_path):
    model = Persistent(("module", Named("torch.Size"), "model.py", "class Model", 0, None))
    for data, message in [
            (torch_legacy({"w": model}, {}), "a whole pickled module"),
            (torch_zip(Called("torch.nn.modules.linear.Linear", ()), {}), "Linear.*; of a whole model, save the state_dict"),
            (torch_zip({}, {}, more=[("archive/code/model.py", b""), ("archive/constants.pkl", b"")]), "a TorchScript program"),
            (b"sys_info".ljust(257, b"\0") + b"ustar\0".ljust(300, b"\0"), "a tar archive")]:
        with pytest.raises(UserError, match=message):
            open_weight_file(written(tmp_path, data))


def test_damage_in_one_tensor_is_found_when_it_is_read(tmp_path):
    objects = {"good": tensor("0", (2,), (1,), 2), "bad": tensor("1", (1,), (1,), 2, offset=1), "also": tensor("0", (), (), 2)}
    data = bytearray(torch_zip(objects, {"0": TWO.tobytes(), "1": TWO[::-1].tobytes()}))
    data[data.index(TWO[::-1].tobytes())] ^= 1             # not among the bytes of `bad`, but in its storage
    path = written(tmp_path, data)
    found = open_weight_file(path).tensors
    assert found["good"].read().tolist() == [1.5, -2] and found["also"].read() == 1.5
    with pytest.raises(UserError) as error:
        found["bad"].read()
    assert error.value.problems == [f"{path}: bad: is damaged: archive/data/1 is not what its checksum says"]


def test_damage_in_the_objects_is_found_at_once(tmp_path):
    data = torch_zip({"weight": tensor("0", (2,), (1,), 2)}, {"0": TWO.tobytes()})
    with pytest.raises(UserError, match="archive/data.pkl is not what its checksum says"):
        open_weight_file(written(tmp_path, data.replace(b"weight", b"weighs")))


def test_a_file_saved_without_checksums_is_read_and_says_so(tmp_path):
    path = written(tmp_path, torch_zip(NEW, {"0": TWO.tobytes()}))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            data = data.replace(info.CRC.to_bytes(4, "little"), b"\0\0\0\0")
    found = open_weight_file(written(tmp_path, data))
    assert found.tensors["w"].read().tolist() == [1.5, -2] and "saved without checksums" in found.notes[0]


def test_packed_parts_are_refused(tmp_path):
    data = torch_zip(NEW, {"0": TWO.tobytes()}, method=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="packed parts, which PyTorch does not write"):
        open_weight_file(written(tmp_path, data))


def test_a_plain_pickle_cannot_refer_to_storages(tmp_path):
    with pytest.raises(UserError, match="refers to objects outside the file"):
        open_weight_file(written(tmp_path, pickled(NEW)))
