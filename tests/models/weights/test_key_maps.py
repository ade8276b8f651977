import json
import lzma
import re
import shutil

import numpy as np
import pytest

from models.weights.formats import open_weight_file
from models.weights.key_maps import recognise
from runtime.errors import UserError
from tests.helpers import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign"
LOSS, OTHERS = "discriminator and perceptual loss", "other networks of a latent-diffusion checkpoint"
OLD_NAMES = "diffusers AutoencoderKL, attention named as before 0.14"
FILES = {
    "diffusers_vq_f4.safetensors": ("vq", "diffusers VQModel"),
    "diffusers_vq_attention.safetensors": ("vq", "diffusers VQModel"),
    "diffusers_kl_f8.safetensors": ("kl", "diffusers AutoencoderKL"),
    "diffusers_kl_old_names.bin": ("kl", OLD_NAMES),
    "diffusers_kl_no_quant_conv.safetensors": ("kl", "diffusers AutoencoderKL"),
    "diffusers_tiny.safetensors": ("tiny", "diffusers AutoencoderTiny"),
    "taesd_encoder.pth": ("tiny", "TAESD, encoder"),
    "taesd_decoder.pth": ("tiny", "TAESD, decoder"),
    "taming_vq_f4.ckpt": ("vq", "taming-transformers VQModel"),
    "taming_vq_attention.ckpt": ("vq", "taming-transformers VQModel"),
    "ldm_kl.ckpt": ("kl", "latent-diffusion AutoencoderKL"),
    "ldm_vq_inside.ckpt": ("vq", "latent-diffusion VQModelInterface (first_stage_model)"),
}


@pytest.fixture(scope="module")
def lists():
    """{title: {name: shape}} of names.json.xz."""
    with lzma.open(FOREIGN / "names.json.xz") as stream:
        return {title: {name: tuple(shape) for name, shape in shapes.items()} for title, shapes in json.load(stream).items()}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A function from a file of tests/data/foreign to its {name: StoredTensor}."""
    folder = tmp_path_factory.mktemp("foreign")

    def tensors(name):
        if not (folder / name).exists():
            with lzma.open(FOREIGN / f"{name}.xz") as packed, open(folder / name, "wb") as plain:
                shutil.copyfileobj(packed, plain)
        return open_weight_file(folder / name).tensors
    return tensors


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def taken(tensors):
    """{our name: array} of a file."""
    match = recognise(shapes_of(tensors))
    found = {}
    for ours, source in match.sources.items():
        array = tensors[source.name].numpy()
        found[ours] = source.transform(array) if source.transform else array
    return {**found, **{ours: make() for ours, make in match.made.items()}}


def published(name):
    """{name: shape} of a published network, small."""
    shapes = json.loads((ROOT / "tests" / "data" / "golden" / f"{name}_keys.json").read_text())
    return {name: tuple(shape) for name, shape in shapes.items()}


def message(shapes):
    """The one line of the UserError that these names are answered with."""
    with pytest.raises(UserError) as error:
        recognise(shapes)
    (line,) = error.value.problems
    return line


# ------------------------------------------------------------------------------------------------ files of the libraries

@pytest.mark.parametrize("file", FILES)
def test_a_file_gives_each_of_our_tensors_once_in_our_shape_and_none_of_its_own_is_lost(file, opened, lists):
    tensors, expected = opened(file), lists[file.rpartition(".")[0]]
    match = recognise(shapes_of(tensors))
    assert (match.kind, match.scheme) == FILES[file]
    assert match.shapes == expected == {name: array.shape for name, array in taken(tensors).items()}
    assert match.sources.keys() | match.made.keys() == expected.keys() and not match.sources.keys() & match.made.keys()
    used = [source.name for source in match.sources.values()]
    left = [name for names in match.skipped.values() for name in names]
    assert sorted(used + left) == sorted(tensors)


def test_files_with_the_same_weights_under_other_names_give_the_same_arrays(opened):
    new, old = taken(opened("diffusers_kl_f8.safetensors")), taken(opened("diffusers_kl_old_names.bin"))
    tiny, halves = taken(opened("diffusers_tiny.safetensors")), {**taken(opened("taesd_encoder.pth")),
                                                                **taken(opened("taesd_decoder.pth"))}
    for one, other in (new, old), (tiny, halves):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("file, reasons", [("taming_vq_f4.ckpt", {LOSS}), ("ldm_kl.ckpt", {LOSS}),
                                           ("ldm_vq_inside.ckpt", {OTHERS}), ("diffusers_vq_f4.safetensors", set())])
def test_what_is_left_out_has_its_reason(file, reasons, opened):
    skipped = recognise(shapes_of(opened(file))).skipped
    assert skipped.keys() == reasons
    begin = {LOSS: "loss.", OTHERS: ("model.diffusion_model.", "betas", "alphas_cumprod", "scale_factor")}
    for reason, names in skipped.items():
        assert names and all(name.startswith(begin[reason]) for name in names)


def test_an_autoencoder_without_quant_conv_gets_one_that_changes_nothing(opened):
    match = recognise(shapes_of(opened("diffusers_kl_no_quant_conv.safetensors")))
    made = {name: make() for name, make in match.made.items()}
    assert made.keys() == {"quant_conv.weight", "quant_conv.bias", "post_quant_conv.weight", "post_quant_conv.bias"}
    x = np.arange(32.0)
    for name, width in ("quant_conv", 32), ("post_quant_conv", 16):
        assert made[f"{name}.weight"].dtype == made[f"{name}.bias"].dtype == np.float32
        np.testing.assert_array_equal(made[f"{name}.weight"][:, :, 0, 0] @ x[:width] + made[f"{name}.bias"], x[:width])


# ------------------------------------------------------------------------------------------------ lists of names

@pytest.mark.parametrize("title, kind", [
    ("diffusers vq-f4", "vq"), ("diffusers vq-f8", "vq"), ("diffusers kl-f8", "kl"),
    ("diffusers kl-f8 without quant_conv", "kl"), ("diffusers tiny", "tiny")])
def test_full_size_networks_of_diffusers_have_the_names_and_shapes_of_their_twins(title, kind, lists):
    twin = lists[f"twin of {title}"]
    match = recognise(lists[title])
    assert match.kind == kind and match.shapes == twin and match.skipped == {} and match.half is None
    assert len({source.name for source in match.sources.values()}) == len(match.sources) == len(lists[title])
    assert len(match.made) == len(twin) - len(lists[title])
    assert recognise(twin).shapes == twin


@pytest.mark.parametrize("kind", ["unet", "vq"])
def test_our_own_names_are_kept_as_they_are(kind):
    shapes = published("unet" if kind == "unet" else "autoencoder")
    match = recognise(shapes)
    assert match.kind == kind and match.shapes == shapes and not match.made and not match.skipped
    assert all(source.name == name and source.transform is None for name, source in match.sources.items())


def test_published_autoencoders_of_full_size_are_recognised(lists):
    for title, kind in ("taming vq-f16", "vq"), ("twin of diffusers kl-f8", "kl"), ("taef2", "tiny"):
        match = recognise(lists[title])
        assert (match.kind, match.shapes) == (kind, lists[title])
    assert "encoder.down.4.attn.1.proj_out.weight" in lists["taming vq-f16"] and "decoder.3.pool.3.weight" in lists["taef2"]


@pytest.mark.parametrize("ends", [(), (1, 1)])
def test_attention_of_the_u_net_may_be_stored_as_matrices_or_as_convolutions_of_images(ends):
    shapes = published("unet")
    ours = {name: shape for name, shape in shapes.items() if name.endswith(("qkv.weight", "proj_out.weight"))}
    assert all(len(shape) == 3 for shape in ours.values()) and ours
    match = recognise({**shapes, **{name: (*shape[:2], *ends) for name, shape in ours.items()}})
    assert match.shapes == shapes
    for name, shape in ours.items():
        array = np.arange(np.prod(shape)).reshape(*shape[:2], *ends)
        np.testing.assert_array_equal(match.sources[name].transform(array), array.reshape(shape))


def test_diffusers_linear_attention_becomes_convolutions_and_convolutions_stay():
    shapes = {name: (*shape, 1, 1) if re.search(r"\.(query|key|value|proj_attn)\.weight", name) else shape
              for name, shape in old_names().items()}
    for given, transformed in (old_names(), True), (shapes, False):
        match = recognise(given)
        source = match.sources["encoder.mid.attn_1.k.weight"]
        assert source.name == "encoder.mid_block.attentions.0.key.weight" and bool(source.transform) == transformed
        assert match.shapes["encoder.mid.attn_1.k.weight"] == (512, 512, 1, 1) and match.scheme == OLD_NAMES
    array = np.arange(6).reshape(2, 3)
    found = recognise(old_names()).sources["decoder.mid.attn_1.q.weight"].transform(array)
    np.testing.assert_array_equal(found[:, :, 0, 0], array)


def old_names():
    """Stable Diffusion's autoencoder as diffusers wrote it before 0.14."""
    with lzma.open(FOREIGN / "names.json.xz") as stream:
        shapes = json.load(stream)["diffusers kl-f8"]
    for new, old in ("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"):
        shapes = {name.replace(f".{new}.", f".{old}."): tuple(shape) for name, shape in shapes.items()}
    return shapes


def test_levels_of_a_diffusers_decoder_are_counted_from_the_coarsest(lists):
    sources = recognise(lists["diffusers kl-f8"]).sources
    for ours, theirs in (("decoder.up.3.block.2.conv1.weight", "decoder.up_blocks.0.resnets.2.conv1.weight"),
                         ("decoder.up.0.block.0.nin_shortcut.bias", "decoder.up_blocks.3.resnets.0.conv_shortcut.bias"),
                         ("decoder.up.1.upsample.conv.bias", "decoder.up_blocks.2.upsamplers.0.conv.bias"),
                         ("encoder.down.2.downsample.conv.weight", "encoder.down_blocks.2.downsamplers.0.conv.weight"),
                         ("encoder.mid.block_2.norm1.bias", "encoder.mid_block.resnets.1.norm1.bias"),
                         ("decoder.mid.attn_1.proj_out.bias", "decoder.mid_block.attentions.0.to_out.0.bias"),
                         ("decoder.norm_out.weight", "decoder.conv_norm_out.weight")):
        assert sources[ours].name == theirs


def test_layers_of_the_same_shape_are_not_mixed_up(lists):
    """Names and shapes alone would let queries pass for keys."""
    words = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0", "norm": "group_norm",
             "nin_shortcut": "conv_shortcut", "norm_out": "conv_norm_out"}
    seen = set()
    for title in "diffusers vq-f8", "diffusers kl-f8":
        for ours, source in recognise(lists[title]).sources.items():
            path, _, tail = ours.rpartition(".")
            layer = path.rpartition(".")[2]
            assert f".{source.name}".endswith(f".{words.get(layer, layer)}.{tail}"), (ours, source.name)
            assert source.name.split(".")[0] == ours.split(".")[0]
            numbers, theirs = re.findall(r"\.(\d+)\.", ours), re.findall(r"\.(\d+)(?=\.)", source.name)
            if ".up." in ours:
                assert int(numbers[0]) == 3 - int(theirs[0])             # both have four levels
            if ".attn." in ours or ".block." in ours:
                assert numbers[-1] == theirs[1]
            seen.add(layer)
    assert words.keys() | {"norm1", "norm2", "conv1", "conv2", "conv", "conv_in", "embedding"} <= seen


def test_layer_n_of_a_tiny_decoder_of_diffusers_is_our_layer_n_plus_1(lists):
    sources = recognise(lists["diffusers tiny"]).sources
    assert sources["encoder.6.weight"].name == "encoder.layers.6.weight"
    assert sources["decoder.1.weight"].name == "decoder.layers.0.weight"
    assert sources["decoder.19.bias"].name == "decoder.layers.18.bias"


@pytest.mark.parametrize("prefix", ["encoder.", "decoder."])
@pytest.mark.parametrize("title", ["twin of diffusers tiny", "diffusers tiny", "taef2"])
@pytest.mark.parametrize("short", [True, False])
def test_half_of_a_tiny_autoencoder_is_told_by_its_layers(title, prefix, short, lists):
    file = {name[len(prefix) if short else 0:]: shape for name, shape in lists[title].items() if name.startswith(prefix)}
    match = recognise(file)
    ours = lists["taef2" if title == "taef2" else "twin of diffusers tiny"]
    assert match.half == prefix[:-1] and match.kind == "tiny"
    assert match.shapes == {name: shape for name, shape in ours.items() if name.startswith(prefix)}


@pytest.mark.parametrize("prefix", ["module.", "first_stage_model.", "module.first_stage_model.", "vae.", "_orig_mod.module."])
@pytest.mark.parametrize("title", ["diffusers vq-f8", "twin of diffusers kl-f8"])
def test_prefixes_are_taken_off(title, prefix, lists):
    plain, match = recognise(lists[title]), recognise({prefix + name: shape for name, shape in lists[title].items()})
    assert match.shapes == plain.shapes and match.kind == plain.kind
    assert {name: prefix + source.name for name, source in plain.sources.items()} == {name: source.name for name, source
                                                                                     in match.sources.items()}


def test_flux_and_sd3_name_as_latent_diffusion_does_and_have_no_quant_conv(lists):
    twin = lists["twin of diffusers kl-f8 without quant_conv"]
    file = {f"first_stage_model.{name}": shape for name, shape in twin.items() if "quant_conv" not in name}
    match = recognise({**file, "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": (9, 3)})
    assert match.shapes == twin and len(match.made) == 4 and list(match.skipped) == [OTHERS]


def test_what_training_leaves_beside_the_weights_is_skipped(lists):
    extra = {"loss.logvar": (), "model_ema.decay": (), "model_ema.encoderconv_inweight": (128, 3, 3, 3),
             "quantize.embedding.cluster_size": (8192,), "optimizer.state.0.exp_avg": (3,)}
    match = recognise({**lists["twin of diffusers vq-f4"], **extra})
    assert match.shapes == lists["twin of diffusers vq-f4"]
    assert sorted(name for names in match.skipped.values() for name in names) == sorted(extra) and len(match.skipped) == 4


# ------------------------------------------------------------------------------------------------ what is refused

GUMBEL = {"quantize.embedding.weight": None, "quantize.embed.weight": (8, 3), "quantize.proj.weight": (8, 3, 1, 1)}


@pytest.mark.parametrize("title, words", [
    ("refused: ADM", "a guided-diffusion U-Net (ADM) without SPADE"),
    ("refused: Stable Diffusion's U-Net", "the U-Net of latent diffusion or Stable Diffusion alone (transformer_blocks)"),
    ("refused: UNet2DModel", "a U-Net of diffusers"),
    ("refused: UNet2DConditionModel", "a U-Net of diffusers"),
    ("refused: VQModel with spatial norm", "diffusers' VQModel with spatial norm"),
    ("refused: AutoencoderKL without attention", "middle blocks have no attention"),
    ("refused: AsymmetricAutoencoderKL", "such as decoder.condition_encoder.layers.0.weight"),
    ("refused: AutoencoderKLTemporalDecoder", "such as decoder."),
    ("refused: discriminator", "a discriminator alone")])
def test_networks_that_are_none_of_ours_are_named(title, words, lists):
    line = message(lists[title])
    assert words in line and "\n" not in line


@pytest.mark.parametrize("names, words", [
    ({}, "holds no tensors"),
    ({"features.0.weight": (64, 3, 3, 3), "classifier.6.bias": (1000,)}, "an image classifier (torchvision)"),
    ({"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 1, 1), "fc.weight": (1000, 512)}, "an image classifier"),
    ({"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}, "the U-Net of latent diffusion alone"),
    ({"discriminator.main.0.weight": (64, 3, 4, 4)}, "a discriminator alone"),
    ({"loss.discriminator.main.0.weight": (64, 3, 4, 4)}, "nothing but discriminator and perceptual loss"),
    ({"state.0.exp_avg": (64, 3), "state.1.exp_avg": (64,)}, "nothing but state of an optimiser"),
    ({"lin0.model.1.weight": (1, 64, 1, 1)}, "the heads of LPIPS"),
    ({"encoder.layers.0.self_attn.in_proj_weight": (9, 3)}, "looks like nothing known here"),
    ({"a": (1,), "b": (1,), "c": (1,), "d": (1,)}, "its first names are a, b, c)")])
def test_files_of_other_things_are_named(names, words):
    assert words in message(names)


def test_gumbel_vq_is_refused_also_inside_a_larger_checkpoint(lists):
    shapes = {**lists["twin of diffusers vq-f4"], **GUMBEL}
    del shapes["quantize.embedding.weight"]
    for prefix in "", "first_stage_model.":
        assert "Gumbel VQ (quantize.embed)" in message({prefix + name: shape for name, shape in shapes.items()})


@pytest.mark.parametrize("title, name, words", [
    ("diffusers kl-f8", "encoder.mid_block.attentions.0.query.weight",
     "to_q.weight and encoder.mid_block.attentions.0.query.weight are both our encoder.mid.attn_1.q.weight"),
    ("diffusers kl-f8", "module.encoder.conv_in.bias", "differ in their prefix only"),
    ("twin of diffusers tiny", "encoder.layers.0.weight", "are both our encoder.0.weight")])
def test_two_names_for_one_of_our_tensors_are_an_error(title, name, words, lists):
    shapes = {**lists[title], name: (512, 512)}
    assert words in message(shapes)


@pytest.mark.parametrize("name", ["encoder.down.0.block.0.conv_shortcut.weight", "encoder.mid.attn_1.q.scale", "colorize",
                                  "encoder.mid.block_3.norm1.weight", "quantize.used", "decoder.up.0.downsample.conv.weight"])
def test_a_tensor_that_our_network_has_not_is_an_error(name, lists):
    line = message({**lists["twin of diffusers vq-f4"], name: (3,)})
    assert line == f"looks like an autoencoder of taming-transformers, but has tensors that ours has not (1), such as {name}"


@pytest.mark.parametrize("title, name, shape, words", [
    ("twin of diffusers vq-f4", "quant_conv.weight", (3, 4, 1, 1), "expected (3, 3, 1, 1), (width of the codes, z, 1, 1)"),
    ("twin of diffusers vq-f4", "encoder.conv_out.weight", (6, 512, 3, 3), "expected 3, the z of decoder.conv_in.weight"),
    ("twin of diffusers vq-f4", "post_quant_conv.weight", (3, 4, 1, 1), "expected (3, 3, 1, 1)"),
    ("twin of diffusers vq-f4", "encoder.mid.attn_1.q.weight", (512, 512, 3, 3), "expected (outputs, inputs) and after them"),
    ("twin of diffusers kl-f8", "quant_conv.weight", (4, 8, 1, 1), "expected (8, 8, 1, 1)"),
    ("twin of diffusers kl-f8", "encoder.conv_out.weight", (4, 512, 3, 3), "4 output channels, expected 8, mean and variance"),
    ("twin of diffusers kl-f8", "decoder.conv_in.weight", (512, 4), "has shape (512, 4), expected 4 sizes"),
    ("twin of diffusers tiny", "encoder.0.weight", (64, 4, 3, 3), "expected 3, red, green and blue"),
    ("twin of diffusers tiny", "decoder.19.weight", (4, 64, 3, 3), "expected 3, red, green and blue"),
    ("twin of diffusers tiny", "decoder.0.weight", (64, 4, 3, 3), "decoder.0.weight has weights, expected none")])
def test_shapes_that_contradict_each_other_are_an_error(title, name, shape, words, lists):
    assert words in message({**lists[title], name: shape})


@pytest.mark.parametrize("title, name", [("twin of diffusers vq-f4", "post_quant_conv.weight"),
                                         ("twin of diffusers kl-f8", "decoder.conv_in.weight"),
                                         ("diffusers kl-f8", "encoder.conv_out.weight"),
                                         ("twin of diffusers tiny", "decoder.1.weight")])
def test_a_file_that_lacks_what_tells_its_sizes_is_an_error(title, name, lists):
    shapes = dict(lists[title])
    del shapes[name]
    assert f"{name} is missing, expected in" in message(shapes)
