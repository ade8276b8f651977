"""AdamW (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization") over named parameters.

Jittor's own counts backward passes as steps and keeps all gradients until the next step, 2 GB of the
full-size network. Here they all exist at once too, while the weights move, and are gone when the step ends.
The arithmetic of one parameter's step is models/kernels/adamw_ema.py: here is what surrounds it.
"""
import math
from contextlib import nullcontext

import numpy as np

from models.kernels.adamw_ema import adamw_ema
from runtime.backend import jt
from training.finite import all_finite, norm_of

GROUP = 16  # parameters that move together


class AdamW:
    """Moves a dict {name: Var} of parameters; the moments are dicts of the same names."""

    def __init__(self, parameters, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        self.parameters = parameters
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.n = 0  # steps so far
        self.warm = False                # whether a step was taken in this process: all is compiled
        self.total = None                # gradients of the parts of a batch so far
        self.norm = None                 # of all gradients of the last step, where they are clipped
        self.m = {name: jt.zeros(p.shape).stop_grad() for name, p in parameters.items()}
        self.v = {name: jt.zeros(p.shape).stop_grad() for name, p in parameters.items()}

    def accumulate(self, loss, scale=None):
        """Adds the gradient of a part of a batch, whose loss is its share of the whole's, to those of the parts before. One
        more copy of the gradients is kept, however many the parts are."""
        parts = self.gradients(loss, scale)
        # Not a gradient itself, which would cut the graph in the backward pass: something made of it.
        self.total = ([(g * 1.0).stop_grad() for g in parts] if self.total is None else
                      [(total + g).stop_grad() for total, g in zip(self.total, parts)])
        del parts
        jt.sync(self.total)

    def gradients(self, loss, scale):
        """The gradients of a scalar loss, times the scale, in the parameters' order; the loss keeps no graph."""
        scaled = loss if scale is None else loss * scale
        found = [g.stop_grad() for g in jt.grad(scaled, list(self.parameters.values()), retain_graph=False)]
        loss.stop_grad()  # or the caller's loss would keep the whole graph, and every activation, to the end of the step
        return found

    def step(self, loss, lr, ema=None, scale=None, clip=0.0, ranks=None):
        """One step down the gradient of a scalar loss, and of those accumulated before, Algorithm 2 of the paper, and an
        EMA's update after it. -> whether it was taken: with a scale, by which the loss is multiplied on its way back,
        nothing moves where a gradient is not finite. clip: the largest norm of all gradients together (Pascanu et al.
        2013), 0 for any; ranks: the processes whose gradients are averaged first."""
        names, gradients = list(self.parameters), self.gradients(loss, scale)
        if self.total is not None:
            gradients, self.total = [(total + g).stop_grad() for total, g in zip(self.total, gradients)], None
        begins = ranks is not None and ranks.size > 1 and not self.warm
        if begins:                       # process 0 compiles what the others then find
            with ranks.first():
                gradients = [(g * 1.0).stop_grad() for g in gradients]
                ranks.mean(list(gradients), told=False)
        if ranks is not None and ranks.size > 1:
            gradients = ranks.mean(gradients)
        if scale is not None and not all_finite(gradients):
            return False
        self.norm = norm_of(gradients) / (scale or 1.0) if clip else None
        # Gradients are never clipped one by one: what they are multiplied by takes the factor along.
        factor = clip / self.norm if clip and math.isfinite(self.norm) and self.norm > clip else 1.0
        self.n += 1
        (b1, b2), n, scale = self.betas, self.n, (scale or 1.0) / factor
        # The gradients' scale is taken out with the factors they are multiplied by anyway.
        numbers = {"b1": b1, "rest1": (1 - b1) / scale, "b2": b2, "rest2": (1 - b2) / scale ** 2,
                   "keep": 1 - lr * self.weight_decay, "size": lr / (1 - b1 ** n), "root": math.sqrt(1 - b2 ** n),
                   "eps": self.eps, "weight": 1 - ema.decay if ema else 0}
        averages = ema.average if ema else {}
        with ranks.first() if begins else nullcontext():
            self._move(names, gradients, numbers, averages, ema)
        self.warm = True
        if ema:
            ema.n += 1
        return True

    def _move(self, names, gradients, numbers, averages, ema):
        """Weights, moments and average after their gradients; both lists are emptied."""
        # A few at a time, from the last layer, whose gradient comes first. The first group's sync computes
        # all gradients, for Jittor computes every pending array that is older than one it is asked for. What
        # the groups keep small is the new weights and moments: those of one group exist beside the old ones,
        # and its gradients are freed after it.
        while names:
            moved = []
            for name, g in zip(names[:-GROUP - 1:-1], gradients[:-GROUP - 1:-1]):
                p = self.parameters[name]
                moments = self.m[name], self.v[name]
                average = [averages[name]] if ema else []
                *new, e = adamw_ema(p, g, *moments, averages.get(name), numbers)
                # update, not =: else every step's graph is kept
                for var, value in zip((p, *moments, *average), (*new, e)):
                    var.update(value)
                moved += [p, *moments, *average]
            del names[-GROUP:], gradients[-GROUP:], g
            jt.sync(moved)

    def state(self):
        """{"m.NAME" and "v.NAME": Var}."""
        return {f"{kind}.{name}": moment for kind in "mv" for name, moment in getattr(self, kind).items()}

    def load(self, state, n):
        """Goes on from state() as arrays and its number of steps."""
        for kind in "mv":
            for name, p in self.parameters.items():
                array = np.asarray(state[f"{kind}.{name}"], dtype=np.float32)
                assert array.shape == tuple(p.shape), (name, array.shape, p.shape)
                getattr(self, kind)[name] = jt.array(array).stop_grad()
        self.n = int(n)


def learning_rate(step, config):
    """The rate of step 0, 1, ...: linear warm-up, then constant or a cosine that ends at 0."""
    rate = config.lr * min(1.0, (step + 1) / config.warmup) if config.warmup else config.lr
    return rate * 0.5 * (1 + math.cos(math.pi * step / config.steps)) if config.decay else rate
