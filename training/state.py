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

    def __init__(self, parameters, options, scaled=False, ranks=None):
        self.parameters, self.options, self.steps_done, self.ranks = parameters, options, 0, ranks
        self.optimizer = AdamW(parameters, weight_decay=options.weight_decay)
        self.averages = [EMA(parameters, decay) for decay in (options.ema, *options.more_ema)]
        self.loss_scale = LossScale(scaled)

    @property
    def ema(self):
        """The moving average of train.STAGE.ema."""
        return self.averages[0]

    def accumulate(self, loss):
        """Adds the gradient of one part of a batch, whose loss is its share of the whole's."""
        self.optimizer.accumulate(loss, self.loss_scale.value if self.loss_scale.active else None)
        jt.sync_all()

    def step(self, loss):
        """One step down a scalar loss, and of what was accumulated, and the averages after it; a step whose float16
        gradients overflow moves nothing."""
        rate = learning_rate(self.steps_done, self.options)
        self.steps_done += 1
        scale = self.loss_scale.value if self.loss_scale.active else None
        taken = self.optimizer.step(loss, rate, self.ema, scale, self.options.clip, self.ranks)
        if taken:
            for average in self.averages[1:]:
                average.update(self.parameters)
        if self.loss_scale.active and taken:
            self.loss_scale.passed()
        elif self.loss_scale.active:
            self.loss_scale.overflowed(self.steps_done)
        jt.sync_all()

    def assign(self, name, array):
        """Gives one parameter, and its average, new values from outside the optimiser."""
        self.parameters[name].update(jt.array(array))
        for ema in self.averages:
            ema.average[name].update(jt.array(array))

    def tensors(self):
        """All there is to save, {prefixed name: Var}: ema., ema2. and so on, raw., m., v. and, for float16, loss_scale."""
        scale = {"loss_scale": jt.array(self.loss_scale.state())} if self.loss_scale.active else {}
        return {**{f"{prefix(i)}{name}": var for i, ema in enumerate(self.averages) for name, var in ema.average.items()},
                **{f"raw.{name}": var for name, var in self.parameters.items()}, **self.optimizer.state(), **scale}

    def restore(self, tensors, steps_done):
        """Goes on from tensors() as arrays and the number of steps taken."""
        under = lambda prefix: {name[len(prefix):]: a for name, a in tensors.items() if name.startswith(prefix)}
        for name, array in under("raw.").items():
            self.parameters[name].update(jt.array(array))
        # Or an array of one element, such as the bias of a convolution with one output, becomes a constant in the
        # operators that read it, and some of those do not compile.
        jt.sync(list(self.parameters.values()))
        if self.loss_scale.active:
            self.loss_scale.load(np.asarray(tensors["loss_scale"]))
        self.steps_done, updates = steps_done, steps_done - self.loss_scale.skipped
        for i, ema in enumerate(self.averages):
            ema.load(under(prefix(i)), updates)
        self.optimizer.load(tensors, updates)


def prefix(i):
    """Of the names of the i-th moving average in a state: "ema.", "ema2.", "ema3.", ..."""
    return f"ema{i + 1}." if i else "ema."
