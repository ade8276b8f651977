import numpy as np
import pytest

from ldm.noise import normal
from runtime.backend import jt, nn
from training.ema import EMA

SHAPE = (3, 6, 10)


class Net(nn.Module):
    def __init__(self):
        self.a, self.b = map(jt.array, normal(0, ["a", "b"], 0, SHAPE))

    def execute(self, x):
        return self.a * x + self.b


def train(net, optimizer, steps=1, target=5.0):
    """Gradient steps towards a constant picture; returns the loss before the last one."""
    for _ in range(steps):
        loss = ((net(jt.ones(SHAPE)) - target) ** 2).sum()
        optimizer.step(loss)
    return loss.item()


def named(net):
    return dict(net.named_parameters())


def test_the_average_follows_the_formula_through_its_warm_up():
    net = Net()
    ema, expected = EMA(named(net), decay=0.5), named(net)["a"].numpy().astype(np.float64)
    optimizer = nn.SGD(net.parameters(), 0.1)
    for n in range(12):
        train(net, optimizer)
        d = min(0.5, (1 + n) / (10 + n))
        assert ema.decay == d
        expected = d * expected + (1 - d) * net.a.numpy()
        ema.update(named(net))
    np.testing.assert_allclose(ema.state()["a"], expected, rtol=1e-5)
    assert ema.n == 12 and ema.decay == 0.5


def test_weights_that_rest_are_their_own_average():
    net = Net()
    ema = EMA(named(net))
    ema.n = 10 ** 6                                          # warmed up: decay 0.9999
    for _ in range(50):
        ema.update(named(net))
    np.testing.assert_array_equal(ema.state()["a"], net.a.numpy())


def test_the_network_goes_on_learning_beside_its_average():
    net = Net()
    optimizer = nn.SGD(net.parameters(), 0.1)
    ema = EMA(named(net))
    losses = []
    for _ in range(4):
        losses.append(train(net, optimizer))
        ema.update(named(net))
        assert not any(p.is_stop_grad() for p in net.parameters())
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
    assert all(e.is_stop_grad() for e in ema.average.values())


def test_training_does_not_move_the_average_and_averaging_does_not_move_the_weights():
    net = Net()
    ema, start = EMA(named(net)), net.a.numpy()
    train(net, nn.SGD(net.parameters(), 0.1))
    np.testing.assert_array_equal(ema.state()["a"], start)
    moved = net.a.numpy()
    assert not np.array_equal(moved, start)
    ema.update(named(net))
    np.testing.assert_array_equal(net.a.numpy(), moved)


def test_within_swapped_the_network_is_its_average_and_afterwards_itself_and_trainable():
    net = Net()
    optimizer = nn.SGD(net.parameters(), 0.1)
    ema, start = EMA(named(net)), net.a.numpy()
    train(net, optimizer)
    trained = net.a.numpy()
    with pytest.raises(RuntimeError, match="validation"):
        with ema.swapped(named(net)):
            np.testing.assert_array_equal(net.a.numpy(), start)
            raise RuntimeError("validation failed")          # comes back even then
    np.testing.assert_array_equal(net.a.numpy(), trained)
    np.testing.assert_array_equal(ema.state()["a"], start)
    before = train(net, optimizer)
    assert train(net, optimizer) < before and not net.a.is_stop_grad()


def test_an_average_that_was_saved_goes_on_bit_for_bit():
    net = Net()
    optimizer = nn.SGD(net.parameters(), 0.1)
    one = EMA(named(net))
    for _ in range(3):
        train(net, optimizer)
        one.update(named(net))
    saved, n = one.state(), one.n
    other = EMA({name: jt.zeros(SHAPE) for name in saved})
    other.load(saved, n)
    saved["a"][:] = 0                                        # a copy: changes nothing
    for _ in range(2):
        train(net, optimizer)
        one.update(named(net))
        other.update(named(net))
    for name in saved:
        np.testing.assert_array_equal(one.state()[name], other.state()[name])
    assert other.n == 5


@pytest.mark.parametrize("change, message", [
    (lambda s: s.pop("a"), "EMA: a: found nothing"),
    (lambda s: s.update(c=s["a"]), "EMA: c: found .* expected nothing"),
    (lambda s: s.update(b=s["b"][:2]), r"EMA: b: found \(2, 6, 10\), expected \(3, 6, 10\)")])
def test_a_state_that_does_not_fit_is_an_error_that_names_the_tensor(change, message):
    ema = EMA(named(Net()))
    state = ema.state()
    change(state)
    with pytest.raises(ValueError, match=message):
        ema.load(state, 0)
