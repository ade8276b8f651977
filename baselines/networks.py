"""A family's generator by its name, and how fresh networks are drawn."""
import numpy as np

from baselines.clade import CLADE
from baselines.gaugan import GauGAN
from baselines.layers import is_buffer
from baselines.scgan import SCGAN
from baselines.sean import SEAN
from models.layers import parameters_of
from runtime.backend import jt

GENERATORS = {"gaugan": GauGAN, "clade": CLADE, "sean": SEAN, "scgan": SCGAN}
GAIN = 0.02
SCALES = "xavier", "default"


def build_generator(config):
    """The network of a GeneratorConfig."""
    return GENERATORS[config.family](config)


def initialise(model, seed, spectral="xavier"):
    """Fills a network as the authors do: weights normal with deviation 0.02 sqrt(2 / (fan_in + fan_out)),
    biases 0, CLADE's gamma uniform in [0, 1), SCGAN's rows and all of SEAN's blending and noise 0, spectral
    norm's vectors normal at length 1.

    spectral: "xavier", or "default" for uniform +-1 / sqrt(fan_in) where there is spectral norm. The authors
    meant the first, and on a GPU trained with the second (SCGAN's generator excepted), about 30 times larger:
    their initialisation wrote into a copy. Every tensor has a generator of its own, keyed by the seed and its
    name.
    """
    tensors = parameters_of(model)
    for name, var in tensors.items():
        array = drawn(name, tuple(var.shape), np.random.default_rng([seed, *name.encode()]), tensors, spectral)
        fixed = jt.array(array.astype(np.float32))
        var.update(fixed.stop_grad() if is_buffer(name) else fixed)
    settle(model)


def settle(model):
    """Has a network's tensors computed. Jittor does not compile what is made of an array of one number, such
    as the bias of a discriminator's last layer, before the array itself has been."""
    jt.sync(list(parameters_of(model).values()))


def drawn(name, shape, rng, tensors, spectral):
    """The first values of one tensor."""
    kind = last(name)
    if kind in ("weight_u", "weight_v"):
        n = rng.standard_normal(shape)
        return n / np.linalg.norm(n)
    if kind == "running_var":
        return np.ones(shape)
    if name.endswith("class_specified_affine.weight"):
        return rng.uniform(size=shape)
    if kind == "weight_orig" and spectral == "default":
        bound = 1 / np.sqrt(np.prod(shape[1:]))
        return rng.uniform(-bound, bound, shape)
    if kind in ("weight", "weight_orig") and len(shape) > 1:
        area = np.prod(shape[2:], dtype=int)
        return rng.standard_normal(shape) * GAIN * np.sqrt(2 / (area * (shape[0] + shape[1])))
    return np.zeros(shape)


def last(name):
    """The last part of a tensor's name."""
    return name.rpartition(".")[2]
