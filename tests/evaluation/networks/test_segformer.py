import numpy as np
import pytest

from evaluation.networks.segformer import DEVIATION, HUGGING_FACE_4, MEAN, NVLABS, build_segformer, scheme_of, size_of
from runtime.backend import jt
from runtime.errors import UserError
from tests.helpers import on_cpu
from tests.published import batch, complete, needs_golden, photo, reference, weights

NVLABS_NAMES = (                      # Hugging Face 4 -> NVlabs, for parts of names; stages are counted from 0 and from 1
    ("segformer.encoder.patch_embeddings.", "backbone.patch_embed"), ("segformer.encoder.block.", "backbone.block"),
    ("segformer.encoder.layer_norm.", "backbone.norm"), ("decode_head.linear_c.", "decode_head.linear_c"),
    ("attention.self.query", "attn.q"), ("attention.self.sr", "attn.sr"), ("attention.self.layer_norm", "attn.norm"),
    ("attention.output.dense", "attn.proj"), ("mlp.dense", "mlp.fc"), ("layer_norm_", "norm"), (".layer_norm.", ".norm."),
    ("linear_fuse", "linear_fuse.conv"), ("batch_norm", "linear_fuse.bn"), ("classifier", "linear_pred"))


class Shape:
    """A tensor of which only the shape is known."""

    def __init__(self, *shape):
        self.shape = shape


def normalised(*images):
    """uint8 images -> what the network takes."""
    mean, deviation = (np.array(v, dtype=np.float32).reshape(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return jt.array((batch(*images) / np.float32(255) - mean) / deviation)


def as_nvlabs(tensors):
    """Tensors with the names of Hugging Face 4 as NVlabs' files have them."""
    found = {"decode_head.conv_seg.weight": np.zeros((7, 24, 1, 1)), "decode_head.conv_seg.bias": np.zeros(7)}
    for name, tensor in tensors.items():
        if "self.value" in name:
            continue
        if "self.key" in name:
            tensor = np.concatenate([tensor, tensors[name.replace("key", "value")]])
            name = name.replace("attention.self.key", "attn.kv")
        for theirs, ours in NVLABS_NAMES:
            prefix, found_it, rest = name.partition(theirs)
            if found_it:
                if ours[-1] in "dkmc" and theirs[-1] == "." and rest[0].isdigit():
                    rest = str(int(rest[0]) + 1) + rest[1:]
                name = prefix + ours + rest
        found[name] = tensor
    return found


@pytest.fixture(scope="module")
def b0():
    return build_segformer(weights("segformer_b0"))


@pytest.fixture(scope="module")
def narrow():
    return build_segformer(weights("segformer_narrow_4"))


@on_cpu
def test_b0_gives_the_logits_of_hugging_face(b0):
    found = b0(normalised(photo(384, 512, 0)[:128, :160])).numpy()
    assert found.shape == (1, 150, 32, 40)
    np.testing.assert_allclose(found[:, ::15, ::2, ::3], reference()["segformer_b0_small"], atol=2e-4)


@on_cpu
def test_b0_gives_the_labels_of_hugging_face(b0):
    found = np.stack(b0.predict([photo(384, 512, 0), photo(384, 512, 1)]))
    assert found.shape == (2, 384, 512) and found.dtype == np.int32
    assert (found[:, ::8, ::8] == reference()["segformer_b0_labels"]).mean() > 0.999


@needs_golden
@on_cpu
def test_b0_gives_all_logits_of_hugging_face(b0):
    expected = complete("segformer_b0_deterministic.npz")
    small = b0(normalised(photo(384, 512, 0)[:128, :160])).numpy()[:, ::5]
    labels = np.stack(b0.predict([photo(384, 512, 0), photo(384, 512, 1)]))[:, ::8, ::8]
    print(f"largest difference of logits: {abs(small - expected['small_logits']).max():.2g}; "
          f"equal labels: {(labels == expected['argmax_sub']).mean():.5f}")
    np.testing.assert_allclose(small, expected["small_logits"], atol=2e-3)
    assert (labels == expected["argmax_sub"]).mean() > 0.999


@pytest.mark.parametrize("version", [4, 5])
@on_cpu
def test_weights_under_the_names_of_both_versions_give_their_logits(version):
    model = build_segformer(weights(f"segformer_narrow_{version}"))
    assert model.size.name == "of its own" and model.size.depths == (1, 2, 1, 1) and model.classes == 7
    found = model(normalised(photo(45, 70, 3))).numpy()                # no side is a multiple of a patch
    np.testing.assert_allclose(found, reference()[f"segformer_narrow_{version}"], atol=2e-4)


@on_cpu
def test_nvlabs_names_with_keys_and_values_in_one_tensor_give_the_same_network(narrow):
    tensors = as_nvlabs(weights("segformer_narrow_4"))
    assert scheme_of(tensors, "file") == NVLABS and "backbone.block2.1.attn.kv.weight" in tensors
    other, x = build_segformer(tensors), normalised(photo(45, 70, 3))
    assert other.size == narrow.size
    found, expected = other(x).numpy(), narrow(x).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)             # the eps inside blocks differs: 1e-6 and 1e-5
    assert not np.array_equal(found, expected)


def shapes_of(first, depths, decoder):
    """The tensors that tell the size of a published network, by the paper's table."""
    widths = [first * n for n in (1, 2, 5, 8)]
    tensors = {"decode_head.linear_fuse.weight": Shape(decoder, 4 * decoder, 1, 1),
               "decode_head.classifier.weight": Shape(150, decoder, 1, 1)}
    for i, (width, depth) in enumerate(zip(widths, depths)):
        tensors[f"segformer.encoder.patch_embeddings.{i}.proj.weight"] = Shape(width, 3, 7, 7)
        for j in range(depth):
            block = f"segformer.encoder.block.{i}.{j}"
            tensors[f"{block}.layer_norm_1.weight"] = Shape(width)
            tensors[f"{block}.mlp.dense1.weight"] = Shape(4 * width, width)
            if i < 3:
                tensors[f"{block}.attention.self.sr.weight"] = Shape(width, width, 8 >> i, 8 >> i)
    return tensors


@pytest.mark.parametrize("name, first, depths, decoder", [
    ("B0", 32, (2, 2, 2, 2), 256), ("B1", 64, (2, 2, 2, 2), 256), ("B2", 64, (3, 4, 6, 3), 768),
    ("B3", 64, (3, 4, 18, 3), 768), ("B4", 64, (3, 8, 27, 3), 768), ("B5", 64, (3, 6, 40, 3), 768)])
def test_the_size_is_read_from_the_shapes(name, first, depths, decoder):
    size = size_of(shapes_of(first, depths, decoder), HUGGING_FACE_4, "file")
    assert (size.name, size.depths, size.reductions, size.classes) == (name, depths, (8, 4, 2, 1), 150)
    assert size.hidden == tuple(4 * width for width in size.widths)


def test_stages_that_no_number_of_heads_divides_are_refused():
    tensors = shapes_of(32, (2, 2, 2, 2), 256)
    tensors["segformer.encoder.patch_embeddings.2.proj.weight"] = Shape(96, 3, 3, 3)
    with pytest.raises(UserError, match="96.*expected multiples of"):
        size_of(tensors, HUGGING_FACE_4, "file")


@on_cpu
def test_labels_have_the_size_of_their_image_and_do_not_depend_on_the_others(narrow):
    images = [photo(30, 41, 0), photo(52, 23, 1)]
    together = narrow.predict(images, side=64)
    assert [labels.shape for labels in together] == [(30, 41), (52, 23)]
    for image, labels in zip(images, together):
        np.testing.assert_array_equal(narrow.predict([image], side=64)[0], labels)
    assert len(np.unique(together[0])) > 1 and together[0].max() < 7


@pytest.mark.parametrize("change, message", [
    (lambda t: {name: x for name, x in t.items() if not name.startswith("decode_head")}, "only an encoder"),
    (lambda t: {name: x for name, x in as_nvlabs(t).items() if not name.startswith("decode_head")}, "only an encoder"),
    (lambda t: {name[len("backbone."):]: x for name, x in as_nvlabs(t).items() if "backbone" in name}, "NVlabs' encoder alone"),
    (lambda t: {"backbone.layers.0.0.projection.weight": np.zeros((32, 3, 7, 7))}, "OpenMMLab's own layout"),
    (lambda t: {"model.0.weight": np.zeros(3)}, "no SegFormer's names among its 1 tensors")])
def test_look_alikes_are_refused_by_name(change, message):
    with pytest.raises(UserError, match=f"^file: .*{message}.*expected Hugging Face's"):
        build_segformer(change(weights("segformer_narrow_4")), "file")


@pytest.mark.parametrize("rename, change, line", [
    (dict, lambda t: t.pop("segformer.encoder.block.1.1.mlp.dense2.bias"),
     "segformer.encoder.block.1.1.mlp.dense2.bias is missing, expected shape (16,)"),
    (dict, lambda t: t.update({"decode_head.more": np.zeros(2)}), "decode_head.more is not a tensor of this network"),
    (as_nvlabs, lambda t: t.update({"backbone.block4.1.attn.kv.weight": np.zeros((64, 64))}),
     "backbone.block4.1.attn.kv.weight is not a tensor of this network"),
    (as_nvlabs, lambda t: t.update({"backbone.block3.1.attn.kv.weight": np.zeros((40, 40))}),
     "backbone.block3.1.attn.kv.weight is not a tensor of this network"),
    (as_nvlabs, lambda t: t.update({"backbone.block3.0.attn.kv.weight": np.zeros((40, 40))}),
     "backbone.block3.0.attn.kv.weight has shape (40, 40), expected (80, 40)"),
    (dict, lambda t: t.update({"decode_head.linear_c.2.proj.weight": np.zeros((24, 40, 1, 1))}),
     "decode_head.linear_c.2.proj.weight has shape (24, 40, 1, 1), expected (24, 40)")])
def test_tensors_that_do_not_fit_are_named_as_in_the_file(rename, change, line):
    tensors = rename(weights("segformer_narrow_4"))
    change(tensors)
    with pytest.raises(UserError) as error:
        build_segformer(tensors, "file")
    assert error.value.problems == [f"file: {line}"]
