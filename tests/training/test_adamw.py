import math

import numpy as np
import pytest

from configs.schema import StageConfig
from runtime.backend import jt
from training.adamw import AdamW, learning_rate

SHAPES = {"a": (3, 6), "b": (7,)}


class Bowl:
    """Parameters and the loss sum of curve (p - low)^2 / 2, whose gradient is curve (p - low)."""

    def __init__(self, rng):
        draw = lambda: {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
        self.start, self.low, self.curve = draw(), draw(), {name: abs(array) for name, array in draw().items()}
        self.parameters = {name: jt.array(array) for name, array in self.start.items()}

    def loss(self):
        return sum((jt.array(self.curve[name]) * (p - jt.array(self.low[name])) ** 2).sum() * 0.5
                   for name, p in self.parameters.items())

    def values(self):
        return {name: p.numpy() for name, p in self.parameters.items()}


def test_steps_follow_the_published_algorithm(rng):
    bowl, decay, (b1, b2), eps = Bowl(rng), 0.1, (0.9, 0.95), 1e-3
    optimizer = AdamW(bowl.parameters, betas=(b1, b2), eps=eps, weight_decay=decay)
    p = {name: array.astype(np.float64) for name, array in bowl.start.items()}
    m, v = ({name: np.zeros(shape) for name, shape in SHAPES.items()} for _ in "mv")
    for n in range(1, 13):
        lr = 0.3 / n
        optimizer.step(bowl.loss(), lr)
        for name in p:
            g = bowl.curve[name] * (p[name] - bowl.low[name])
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g ** 2
            m_hat, v_hat = m[name] / (1 - b1 ** n), v[name] / (1 - b2 ** n)
            p[name] = p[name] - lr * (m_hat / (np.sqrt(v_hat) + eps) + decay * p[name])
            np.testing.assert_allclose(bowl.values()[name], p[name], rtol=1e-4, atol=1e-5)
    assert optimizer.n == 12


def test_the_loss_falls_and_parameters_stay_trainable(rng):
    bowl = Bowl(rng)
    optimizer, losses = AdamW(bowl.parameters), []
    for _ in range(20):
        loss = bowl.loss()
        optimizer.step(loss, lr=0.05)
        losses.append(loss.item())
        assert not any(p.is_stop_grad() for p in bowl.parameters.values())
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]


def test_a_step_leaves_nothing_behind(rng):
    bowl = Bowl(rng)
    optimizer, living = AdamW(bowl.parameters), []
    for _ in range(4):
        optimizer.step(bowl.loss(), lr=0.05)
        jt.sync_all()
        living.append(jt.liveness_info()["lived_vars"])
    assert living[1:] == living[:1] * 3                       # a graph that grew would also be compiled anew each step


def test_without_a_gradient_only_weight_decay_moves_a_parameter():
    for decay, expected in ((0.0, 2.0), (0.5, 2.0 * (1 - 0.1 * 0.5))):
        p = jt.array(np.full(5, 2, dtype=np.float32))
        AdamW({"p": p}, weight_decay=decay).step((p * 0).sum(), lr=0.1)
        np.testing.assert_allclose(p.numpy(), expected, rtol=1e-6)


def test_an_optimiser_that_was_saved_goes_on_bit_for_bit(rng):
    one, other = Bowl(np.random.default_rng(5)), Bowl(np.random.default_rng(5))
    first, second = AdamW(one.parameters, weight_decay=0.1), AdamW(other.parameters, weight_decay=0.1)
    for _ in range(3):
        first.step(one.loss(), lr=0.1)
    saved = {name: var.numpy() for name, var in first.state().items()}
    assert set(saved) == {"m.a", "m.b", "v.a", "v.b"}
    for name, array in one.values().items():
        other.parameters[name].update(jt.array(array))
    second.load(saved, first.n)
    for _ in range(2):
        first.step(one.loss(), lr=0.1)
        second.step(other.loss(), lr=0.1)
    for name in SHAPES:
        np.testing.assert_array_equal(one.values()[name], other.values()[name])
        assert not np.array_equal(one.values()[name], one.start[name])
    for name, var in first.state().items():
        np.testing.assert_array_equal(var.numpy(), second.state()[name].numpy())


def test_the_rate_is_constant_by_default():
    assert {learning_rate(step, StageConfig(lr=0.2, steps=10)) for step in range(20)} == {0.2}


def test_the_rate_rises_evenly_from_its_first_step_to_its_full_height():
    rates = [learning_rate(step, StageConfig(lr=0.2, warmup=4)) for step in range(6)]
    assert rates == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])


def test_the_rate_falls_as_half_a_cosine_to_zero():
    rates = [learning_rate(step, StageConfig(lr=0.2, steps=10, decay=True)) for step in range(11)]
    assert rates[0] == 0.2 and rates[5] == pytest.approx(0.1) and rates[10] == pytest.approx(0, abs=1e-12)
    assert rates == sorted(rates, reverse=True)
    assert rates[3] == pytest.approx(0.1 * (1 + math.cos(0.3 * math.pi)))
    both = StageConfig(lr=0.2, steps=10, warmup=2, decay=True)
    assert learning_rate(0, both) == pytest.approx(0.1)
