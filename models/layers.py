"""The layers that the networks are made of: convolution, linear layer, group normalisation and what lies between.

A layer answers in numbers of its input's type. A convolution may change the type: models/precision.py sets it. Images are
(B, C, H, W), as the shapes here say, or (B, H, W, C) in layers that models/memory_format.py has told so (`last`).
"""
import numpy as np

from models.kernels.attention import attention
from models.kernels.casting import to, to_float32
from models.kernels.conv import conv2d
from models.kernels.norm_modulate import norm_modulate
from models.kernels.turn import sizes, to_first, to_last
from runtime.backend import jt, nn
from runtime.distributed import process

PROCESSES = process()[1]
GROUPS = 32  # of group normalisation in the published networks, which have at least 4 channels a group


class Conv(nn.Module):
    """Convolution, kernel 1 or 3, (B, Cin, H, W) -> (B, Cout, H', W'). models/precision.py sets both types; they
    are float32 until then. models/memory_format.py sets where channels lie coming in, going out and in the weight.

    `ndim` 1 stores the weight as Conv1d does, (Cout, Cin, 1): published attention blocks have it so.
    """
    compute_dtype = output_dtype = "float32"
    input_last = output_last = weight_last = False
    kept = None                                                # weights that no longer change, laid out for the CPU

    def __init__(self, inputs, outputs, kernel=3, stride=1, padding=None, ndim=2, bias=True):
        super().__init__()
        self._geometry = (kernel, stride, kernel // 2 if padding is None else padding)
        if ndim == 1:  # in this order published files have them
            self.bias = jt.zeros((outputs,))
        self.weight = jt.zeros((outputs, inputs) + (kernel,) * ndim)
        if ndim == 2 and bias:
            self.bias = jt.zeros((outputs,))
        self._no_bias = None if bias else jt.zeros((outputs,)).stop_grad()

    def execute(self, x, residual=None):
        """x (B, Cin, H, W), residual (B, Cout, H', W') or None, to be added -> (B, Cout, H', W')."""
        _, stride, padding = self._geometry
        bias = self.bias if self._no_bias is None else self._no_bias
        x, residual = to(x, self.compute_dtype), residual if residual is None else to(residual, self.compute_dtype)
        last = self.input_last or self.output_last             # at a network's edges the few channels are those to turn
        x = to_last(x) if last and not self.input_last else x
        y = to(conv2d(x, self.kernel(last), bias, stride, padding, residual, last=last, kept=self.kept), self.output_dtype)
        return to_first(y) if last and not self.output_last else y

    def kernel(self, last=False):
        """The weight as conv2d takes it: (Cout, Cin, k, k), or with `last` (Cout, k, k, Cin)."""
        weight = self.weight if len(self.weight.shape) == 4 else self.weight.reshape(*self.weight.shape, 1)
        return to_last(to(weight, self.compute_dtype)) if last and not self.weight_last else weight


class Linear(nn.Module):
    """(B, Cin) -> (B, Cout)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = jt.zeros((outputs, inputs))
        self.bias = jt.zeros((outputs,))

    def execute(self, x):
        """x (B, Cin) -> (B, Cout)."""
        if x.shape[0] == 1 and PROCESSES > 1 and not jt.flags.no_grad:
            # oneDNN multiplies one row in another way than several: a process that trains on one would round as no other does.
            return self.execute(jt.concat([x, x]))[:1]
        return nn.matmul_transpose(x, self.weight) + self.bias


class GroupNorm(nn.Module):
    """Group normalisation with affine weights, then SiLU when `act`; statistics in two passes."""
    last = False

    def __init__(self, channels, eps=1e-5, groups=GROUPS):
        super().__init__()
        self._eps, self._groups = eps, groups
        self.weight = jt.ones((channels,))
        self.bias = jt.zeros((channels,))

    def execute(self, x, timestep=None, act=True):
        """x (B, C, H, W), timestep (1 or B, 2C): scale, shift -> act(norm(x) * (1 + scale) + shift), like x."""
        return norm_modulate(x, self.weight, self.bias, self._groups, self._eps, timestep, act, last=self.last)


class Join(nn.Module):
    """Two images side by side along their channels."""
    last = False

    def execute(self, a, b):
        """a (B, Ca, H, W), b (B, Cb, H, W) -> (B, Ca + Cb, H, W)."""
        return jt.concat([a, b], dim=3 if self.last else 1)


class Down(nn.Module):
    """2 x 2 mean."""
    last = False

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, H/2, W/2)."""
        return down(x, self.last)


class Up(nn.Module):
    """Nearest neighbour."""
    last = False

    def execute(self, x):
        """x (B, C, H, W) -> (B, C, 2H, 2W)."""
        return up(x, self.last)


class NumberedModules(nn.Module):
    """Children under the numbers that published checkpoints give them: NumberedModules({0: norm, 2: conv})[2] is
    conv."""

    def __init__(self, children):
        super().__init__()
        self._numbers = list(children)
        for number, child in children.items():
            setattr(self, str(number), child)

    def __getitem__(self, number):
        return getattr(self, str(number))

    def __iter__(self):
        return (self[number] for number in self._numbers)

    def execute(self, *args):
        """A container: what its children compute, and in which order, is for their owner to say."""
        raise TypeError("NumberedModules are not called")


def relu(x):
    """max(x, 0), element by element."""
    return to(nn.relu(to_float32(x)), x.dtype)


def silu(x):
    """x * sigmoid(x), element by element."""
    return x * jt.sigmoid(x)


def same(x):
    """No resampling."""
    return x


def down(x, last=False):
    """2 x 2 mean, (B, C, H, W) -> (B, C, H/2, W/2)."""
    b, c, h, w = sizes(x, last)
    if last:
        squares = to_float32(x).reshape(b, h // 2, 2, w // 2, 2, c).sum(4).sum(2)
    else:
        squares = to_float32(x).reshape(b, c, h // 2, 2, w // 2, 2).sum(5).sum(3)
    return to(squares * 0.25, x.dtype)


def up(x, last=False):
    """Nearest neighbour, (B, C, H, W) -> (B, C, 2H, 2W)."""
    b, c, h, w = sizes(x, last)
    if last:
        return x.reshape(b, h, 1, w, 1, c).broadcast([b, h, 2, w, 2, c]).reshape(b, 2 * h, 2 * w, c)
    return x.reshape(b, c, h, 1, w, 1).broadcast([b, c, h, 2, w, 2]).reshape(b, c, 2 * h, 2 * w)


def self_attention(qkv, heads, last=False):
    """Attention over all positions of an image, qkv (B, 3C, H, W) -> (B, C, H, W)."""
    b, channels, h, w = sizes(qkv, last)
    if last:
        return attention(qkv.reshape(b, h * w, channels), heads, last=True).reshape(b, h, w, channels // 3)
    return attention(qkv.reshape(b, channels, h * w), heads).reshape(b, channels // 3, h, w)


def parameters_of(model):
    """{name: Var} of a model's weights, in the order of construction."""
    return dict(model.named_parameters())


def initialise(model, seed, zero=()):
    """Fills a model's weights: U(+-1/sqrt(fan_in)) for convolutions, linear layers and their biases (the default
    of both PyTorch and Jittor), zero for the layers whose names are in `zero` (weights and biases), norms left at
    1 and 0. Every tensor has a generator of its own, keyed by the seed and its name, so that sizes elsewhere do
    not change it."""
    zero = set(zero)
    tensors = parameters_of(model)
    for name, var in tensors.items():
        owner, _, kind = name.rpartition(".")
        weight = tensors[f"{owner}.weight"]
        if len(weight.shape) == 1:
            continue
        if owner in zero:
            var.update(jt.zeros(var.shape))
            continue
        bound = 1 / np.sqrt(np.prod(weight.shape[1:]))
        rng = np.random.default_rng([seed, *name.encode()])
        var.update(jt.array(rng.uniform(-bound, bound, size=tuple(var.shape)).astype(np.float32)))
