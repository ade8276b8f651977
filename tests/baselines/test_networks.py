"""Fresh networks."""
import numpy as np

from baselines.config import GeneratorConfig
from baselines.networks import build_generator, initialise
from models.layers import parameters_of


def values(spectral):
    """{name: array} of a small CLADE."""
    model = build_generator(GeneratorConfig("clade", classes=5, channels=4))
    initialise(model, 3, spectral)
    return {name: var.numpy() for name, var in parameters_of(model).items()}


def test_weights_begin_as_the_authors_meant_or_as_they_trained():
    meant, trained = values("xavier"), values("default")
    name = "head_0.conv_0.weight_orig"                            # (64, 64, 3, 3)
    assert abs(meant[name].std() / (0.02 * np.sqrt(2 / (2 * 64 * 9))) - 1) < 0.02
    assert abs(trained[name].std() / (1 / np.sqrt(3 * 64 * 9)) - 1) < 0.02
    for found in (meant, trained):
        np.testing.assert_array_equal(found["fc.weight"], meant["fc.weight"])
        gamma = found["head_0.norm_0.class_specified_affine.weight"]
        assert 0 <= gamma.min() < 0.1 and 0.9 < gamma.max() < 1
        assert not found["head_0.norm_0.class_specified_affine.bias"].any() and not found["conv_img.bias"].any()
        assert abs(np.linalg.norm(found["head_0.conv_0.weight_u"]) - 1) < 1e-5


def test_a_tensor_is_drawn_by_its_name_and_the_seed_alone():
    np.testing.assert_array_equal(values("xavier")["up_0.conv_s.weight_orig"], values("xavier")["up_0.conv_s.weight_orig"])
