"""The state of a GAN's training: both sides' weights and moments, the generator's moving average, the steps
taken."""
import numpy as np

from baselines.gan import statistics, trained
from baselines.layers import VECTORS
from baselines.networks import settle
from models.layers import parameters_of
from runtime.backend import jt
from training.adamw import AdamW
from training.ema import EMA
from training.loss_scale import LossScale

TTUR = 0.5, 2.0       # factors of the rate for generator and discriminator (Heusel et al. 2017, two time-scale update rule)


class GanState:
    """What a step changes. gan: GAN; discriminator; options: StageConfig; config: GanConfig."""

    def __init__(self, gan, discriminator, options, config):
        self.gan, self.discriminator, self.options, self.config = gan, discriminator, options, config
        self.parameters, self.steps_done = parameters_of(gan), 0
        betas = 0.0, config.beta2
        self.adam_g = AdamW(trained(gan), betas=betas)
        self.adam_d = AdamW(trained(discriminator), betas=betas)
        self.ema, self.loss_scale = EMA(self.parameters, options.ema), LossScale(False)

    @property
    def averages(self):
        """Its moving averages: one."""
        return [self.ema]

    def rate(self):
        """The learning rate of the step at hand: constant, then down to 0 in a line."""
        steps, start = self.options.steps, self.config.decay_from * self.options.steps
        falling = max(0.0, self.steps_done - start) / (steps - start) if start < steps else 0.0
        return self.options.lr * (1 - falling)

    def move_generator(self, loss):
        """One step of generator and encoder down a scalar loss, and their average after it."""
        self.adam_g.step(loss, self.rate() * TTUR[0], self.ema)
        jt.sync_all()

    def step(self, loss):
        """One step of the discriminator down a scalar loss, which ends the step of both."""
        self.adam_d.step(loss, self.rate() * TTUR[1])
        self.steps_done += 1
        self.follow_statistics()
        jt.sync_all()

    def follow_statistics(self):
        """The averaged weights' statistics: batch normalisation's are averaged too, spectral norm's vectors
        and SEAN's mean codes are those of now."""
        weight = 1 - self.ema.decay
        with jt.no_grad():
            for name, var in statistics(self.gan).items():
                average = self.ema.average[name]
                copied = name.rpartition(".")[2] in (*VECTORS, "mean_codes", "codes_seen")
                self.ema.average[name] = (var + 0 if copied else average + weight * (var - average)).stop_grad()

    def tensors(self):
        """All there is to save, {prefixed name: Var}."""
        return {**{f"ema.{name}": var for name, var in self.ema.average.items()},
                **{f"raw.{name}": var for name, var in self.parameters.items()},
                **{f"discriminator.{name}": var for name, var in parameters_of(self.discriminator).items()},
                **{f"g.{name}": var for name, var in self.adam_g.state().items()},
                **{f"d.{name}": var for name, var in self.adam_d.state().items()}}

    def restore(self, tensors, steps_done):
        """Goes on from tensors() as arrays and the number of steps taken."""
        under = lambda prefix: {name[len(prefix):]: np.asarray(array) for name, array in tensors.items()
                                if name.startswith(prefix)}
        put(self.gan, under("raw."))
        put(self.discriminator, under("discriminator."))
        self.ema.load(under("ema."), steps_done)
        self.adam_g.load(under("g."), steps_done)
        self.adam_d.load(under("d."), steps_done)
        self.steps_done = steps_done


def put(model, arrays):
    """Gives a network all its tensors; statistics stay without gradient."""
    fixed = statistics(model)
    for name, var in parameters_of(model).items():
        array = jt.array(arrays[name])
        var.update(array.stop_grad() if name in fixed else array)
    settle(model)
