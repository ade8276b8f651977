"""Published files: sizes of the networks, what names and shapes tell, files older than PyTorch 1.0."""
import numpy as np
import pytest

from baselines.config import DiscriminatorConfig, EncoderConfig, GeneratorConfig
from baselines.discriminator import build_discriminator
from baselines.layers import is_buffer
from baselines.networks import build_generator
from baselines.published import infer_discriminator, infer_encoder, infer_generator, modern
from baselines.style_encoder import StyleEncoder
from models.layers import parameters_of
from runtime.errors import UserError

COCO = {"classes": 183, "edges": True}
CITIES = {"classes": 35, "edges": True, "upsampling": "more"}
CELEBA = dict(family="scgan", classes=19, channels=48, conv_experts=3, norm_experts=3, spectral_routing=False, position=4,
              vae=True, start=[16, 16])
# Options, then parameters, buffers and tensors of the authors' own networks; None where it was not counted.
SIZES = [
    ({}, 92_838_339, 114_066, 234),
    ({"vae": True}, 143_098_307, 114_066, 234),
    ({"classes": 151}, 96_492_483, None, 234),
    (COCO, 97_480_899, None, 234),
    (CITIES, 93_048_003, None, 234),
    ({"norm": "instance"}, 92_838_339, None, 234 - 3 * 18),
    ({"family": "clade"}, 67_632_579, 114_066, 162),
    ({"family": "clade", "distance": True}, 67_632_687, 114_066, 234),
    ({"family": "clade", "vae": True}, 117_892_547, 114_066, 162),
    ({"family": "clade", "classes": 151}, 71_427_267, None, 162),
    ({"family": "clade", "classes": 151, "distance": True}, 71_427_375, None, 234),
    ({"family": "clade", **COCO}, 72_505_383, 114_196, 198),
    ({"family": "clade", **COCO, "distance": True}, 72_505_491, 114_196, 270),
    ({"family": "clade", **CITIES}, 67_901_991, 114_196, 198),
    ({"family": "sean", "classes": 19, "style_classes": 19}, 266_907_367, 135_972, 982),
    ({"family": "sean", "classes": 29, "style_classes": 19}, 267_206_887, 135_972, 982),
    ({"family": "sean"}, 306_605_287, 135_972, 982 + 300),
    ({"family": "scgan", "channels": 32, "classes": 151}, 60_854_662, 182_348, 290),
    ({"family": "scgan", "channels": 32, "classes": 183, "routing_channels": 24, "first_channels": 24, "conv_experts": 2,
      "norm_experts": 3, "temperature": 0.5}, 41_846_838, 133_749, 261),
    (CELEBA, 147_570_054, 221_779, 279),
    ({"family": "scgan", "channels": 32}, 58_605_958, 175_760, 290),
    ({**CELEBA, "classes": 29, "start": [12, 16]}, 139_298_438, 221_779, 279),
]


def published_shapes(model):
    """{name: shape} of a network's published state dict: batch normalisation has a counter there."""
    shapes = {name: tuple(var.shape) for name, var in parameters_of(model).items()}
    return {**shapes, **{name.replace("running_var", "num_batches_tracked"): () for name in shapes
                         if name.endswith("running_var")}}


def count(shapes, buffers):
    """The numbers in the tensors of one kind."""
    counter = lambda name: is_buffer(name) or name.endswith("num_batches_tracked")
    return sum(int(np.prod(shape, dtype=int)) for name, shape in shapes.items() if counter(name) == buffers)


@pytest.mark.parametrize("options, parameters, buffers, tensors", SIZES)
def test_a_published_generator_has_the_authors_size_and_its_shapes_tell_what_it_is(options, parameters, buffers, tensors):
    config = GeneratorConfig(**options)
    if config.family == "sean" and "style_classes" not in options:
        config.style_classes = config.classes
    shapes = published_shapes(build_generator(config))
    assert (count(shapes, False), len(shapes)) == (parameters, tensors)
    if buffers is not None:
        assert count(shapes, True) == buffers
    said = {name: getattr(config, name) for name in ("upsampling", "edges", "temperature", "position")
            if getattr(config, name) != getattr(GeneratorConfig(), name)}
    if config.family == "clade":
        said.pop("edges", None)
    size = [side << config.doublings for side in config.start] if config.vae else None
    found, _ = infer_generator(shapes, size=size, **said)
    if config.family != "sean":
        found.style_classes = config.style_classes        # of SEAN only, like the next ones of SCGAN
    for name in ("routing_channels", "first_channels", "conv_experts", "norm_experts", "spectral_routing"):
        if config.family != "scgan":
            setattr(found, name, getattr(config, name))
    assert found == config


@pytest.mark.parametrize("config, parameters, tensors", [
    (DiscriminatorConfig(), 5_587_074, 26),
    (DiscriminatorConfig(mask_channels=151), 5_836_930, 26),
    (DiscriminatorConfig(mask_channels=36), 5_601_410, 26),
    (DiscriminatorConfig(mask_channels=19, layers=3, last_stride=2), 1_364_098, 20),
    (DiscriminatorConfig(layers=3, last_stride=2), 1_384_578, 20),
    (DiscriminatorConfig("fpse", mask_channels=151, layers=4), 5_190_593, 42),
    (DiscriminatorConfig("fpse"), 5_174_977, 42),
])
def test_a_published_discriminator_has_the_authors_size_and_its_shapes_tell_what_it_is(config, parameters, tensors):
    shapes = published_shapes(build_discriminator(config))
    assert (count(shapes, False), len(shapes)) == (parameters, tensors)
    assert infer_discriminator(shapes, last_stride=config.last_stride) == config


@pytest.mark.parametrize("channels, parameters", [(64, 10_463_424), (48, 6_672_656)])
def test_the_style_encoder_has_the_authors_size(channels, parameters):
    shapes = published_shapes(StyleEncoder(EncoderConfig(channels)))
    assert (count(shapes, False), len(shapes)) == (parameters, 22)
    assert infer_encoder(shapes) == EncoderConfig(channels)


def test_what_cannot_be_inferred_is_named_and_can_be_said():
    shapes = published_shapes(build_generator(GeneratorConfig("scgan", channels=32)))
    _, notes = infer_generator(shapes, "latest_net_G.pth")
    assert any("temperature" in note and "0.05" in note for note in notes)
    config, notes = infer_generator(shapes, temperature=0.5, upsampling="normal", position=0)
    assert config.temperature == 0.5 and not notes
    with pytest.raises(UserError, match="temperature cannot be said of a gaugan network"):
        infer_generator(published_shapes(build_generator(GeneratorConfig())), temperature=0.5)


def test_a_network_with_encoder_tells_how_often_it_doubles_from_the_size_of_its_images():
    shapes = published_shapes(build_generator(GeneratorConfig(vae=True, start=[6, 8], upsampling="more")))
    config, _ = infer_generator(shapes, size=(384, 512))
    assert (config.upsampling, config.start) == ("more", [6, 8])
    with pytest.raises(UserError, match="starts from 48 cells"):
        infer_generator(shapes, size=(256, 256))


def test_other_networks_are_refused_by_name():
    with pytest.raises(UserError, match="w.pth: its names are of none of GauGAN, CLADE, SEAN, SCGAN"):
        infer_generator({"input_blocks.0.0.weight": (256, 3, 3, 3)}, "w.pth")
    with pytest.raises(UserError, match="not a discriminator"):
        infer_discriminator({"layer1.0.weight_orig": (64, 3, 3, 3)})
    with pytest.raises(UserError, match="layer6"):
        infer_encoder({"layer1.0.weight_orig": (64, 3, 3, 3)})


class Stored:
    """A tensor of a file."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def numpy(self):
        """The array."""
        return self.array


def test_a_file_older_than_pytorch_1_gives_the_weight_it_was_saved_with(rng):
    weight, u = rng.standard_normal((4, 3, 3, 3)), rng.standard_normal(4)
    u /= np.linalg.norm(u)
    sigma = 1.7
    old = {"a.weight_orig": Stored(weight), "a.weight_u": Stored(u), "a.weight": Stored(weight / sigma),
           "n.num_batches_tracked": Stored(np.zeros(()))}
    found = modern(old)
    assert set(found) == {"a.weight_orig", "a.weight_u", "a.weight_v"}
    assert u @ weight.reshape(4, -1) @ found["a.weight_v"].astype(np.float64) == pytest.approx(sigma, rel=1e-6)
    del old["a.weight"]
    v = modern(old)["a.weight_v"].astype(np.float64)
    assert np.linalg.norm(v) == pytest.approx(1, rel=1e-6)
    assert u @ weight.reshape(4, -1) @ v == pytest.approx(np.linalg.norm(u @ weight.reshape(4, -1)), rel=1e-6)
