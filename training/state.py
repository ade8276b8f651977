"""The state of a training run: the steps taken, weights, their average, the optimiser's moments, loss scale."""
import numpy as np

from runtime.backend import jt
from training.adamw import AdamW, learning_rate
from training.ema import EMA
from training.loss_scale import LossScale


class TrainingState:
    """All that a step changes; saved whole, it is resumed exactly.

    parameters: {name: Var} of the network; options: a StageConfig; scaled: whether the loss is multiplied on
    its way back, so that float16 gradients neither vanish nor overflow.
    """

    def __init__(self, parameters, options, scaled=False):
        self.parameters, self.options, self.steps_done = parameters, options, 0
        self.optimizer = AdamW(parameters, weight_decay=options.weight_decay)
        self.ema = EMA(parameters, options.ema)
        self.loss_scale = LossScale(scaled)

    def step(self, loss):
        """One step down a scalar loss, and the average after it; a step whose float16 gradients overflow
        moves nothing."""
        rate = learning_rate(self.steps_done, self.options)
        self.steps_done += 1
        if not self.loss_scale.active:
            self.optimizer.step(loss, rate, self.ema)
        elif self.optimizer.step(loss, rate, self.ema, self.loss_scale.value):
            self.loss_scale.passed()
        else:
            self.loss_scale.overflowed(self.steps_done)
        jt.sync_all()

    def assign(self, name, array):
        """Gives one parameter, and its average, new values from outside the optimiser."""
        self.parameters[name].update(jt.array(array))
        self.ema.average[name].update(jt.array(array))

    def tensors(self):
        """All there is to save, {prefixed name: Var}: ema., raw., m., v. and, for float16, loss_scale."""
        scale = {"loss_scale": jt.array(self.loss_scale.state())} if self.loss_scale.active else {}
        return {**{f"ema.{name}": var for name, var in self.ema.average.items()},
                **{f"raw.{name}": var for name, var in self.parameters.items()}, **self.optimizer.state(), **scale}

    def restore(self, tensors, steps_done):
        """Goes on from tensors() as arrays and the number of steps taken."""
        under = lambda prefix: {name[len(prefix):]: a for name, a in tensors.items() if name.startswith(prefix)}
        for name, array in under("raw.").items():
            self.parameters[name].update(jt.array(array))
        if self.loss_scale.active:
            self.loss_scale.load(np.asarray(tensors["loss_scale"]))
        self.steps_done, updates = steps_done, steps_done - self.loss_scale.skipped
        self.ema.load(under("ema."), updates)
        self.optimizer.load(tensors, updates)
