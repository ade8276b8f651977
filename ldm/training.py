"""A training run: the step, the weights, their moving average and the optimiser's moments, saved whole and resumed exactly.

The loop knows no network and no data: it is given a function from a batch to losses, one that validates and one that draws.
"""
import math
import time

import numpy as np

from ldm.adamw import AdamW, learning_rate
from ldm.ema import EMA
from runtime.backend import jt
from runtime.errors import RunError
from runtime.log import bar

LOG_SECONDS = 10  # between lines of the log, at most
# A run resumes with its own options only, so that what changes the rate is another run.
ADVICE = ("the checkpoints of earlier steps are as they were. A lower learning rate or a longer warm-up often helps, in a "
          "new run: --set train.run=runs/OTHER --set train.STAGE.lr=... --set train.STAGE.start=CHECKPOINT")


class Training:
    """What a step changes. parameters: {name: Var} of the network, config: a StageConfig."""

    def __init__(self, parameters, config):
        self.parameters, self.config, self.n = parameters, config, 0
        self.optimizer = AdamW(parameters, weight_decay=config.weight_decay)
        self.ema = EMA(parameters, config.ema)

    def step(self, loss):
        """One step down a scalar loss, and the average after it."""
        self.optimizer.step(loss, learning_rate(self.n, self.config), self.ema)
        self.n += 1
        jt.sync_all()

    def set(self, name, array):
        """Gives one parameter, and its average, new values from outside the optimiser."""
        self.parameters[name].update(jt.array(array))
        self.ema.average[name].update(jt.array(array))

    def check(self):
        """RunError when a weight is not finite: its gradient may be so a step before the loss."""
        for name, p in self.parameters.items():
            if not np.isfinite(p.numpy()).all():
                raise RunError(f"the weights of {name} are not finite after step {self.n}; {ADVICE}")

    def tensors(self):
        """All there is to save, {prefixed name: Var}: ema., raw., m., v."""
        return {**{f"ema.{name}": var for name, var in self.ema.average.items()},
                **{f"raw.{name}": var for name, var in self.parameters.items()}, **self.optimizer.state()}

    def restore(self, tensors, n):
        """Goes on from tensors() as arrays and the number of steps taken."""
        part = lambda prefix: {name[len(prefix):]: a for name, a in tensors.items() if name.startswith(prefix)}
        for name, array in part("raw.").items():
            self.parameters[name].update(jt.array(array))
        self.ema.load(part("ema."), n)
        self.optimizer.load(tensors, n)
        self.n = n


def train(training, batches, losses, log, save, draw, label):
    """Runs training.n .. config.steps, one step for each of the batches.

    losses(batch, step) -> {"loss", ...}, (B,) Vars; save() after every save_every steps and at the end; draw() after every
    sample_every steps and at the end. Raises RunError at a loss, or before save() weights, that are not finite: what was
    saved before stays as it is.
    """
    config, pending, since = training.config, [], time.monotonic()
    first = training.n
    with bar(total=config.steps, initial=first, label=label, unit="step") as progress:
        for batch in batches:
            values = losses(batch, training.n)
            loss = values["loss"].sum() / values["loss"].shape[0]
            training.step(loss)
            pending.append({name: value.detach() for name, value in values.items()})
            saving = training.n % config.save_every == 0 or training.n == config.steps
            if saving or time.monotonic() - since > LOG_SECONDS or training.n == first + 1:
                means = read(pending, training.n)
                log.write("train", stage=label, step=training.n, lr=learning_rate(training.n - 1, config), **means,
                          steps_per_second=len(pending) / (time.monotonic() - since))
                progress.set_postfix(loss=f"{means['loss']:.4f}", refresh=False)
                pending, since = [], time.monotonic()
            progress.update()
            if saving:
                training.check()
                save()
            if training.n % config.sample_every == 0 or training.n == config.steps:
                draw()


def read(pending, step):
    """The means of a list of {name: (B,) Var}; RunError when one is not finite."""
    means = {name: float(np.mean([np.mean(values[name].numpy(), dtype=np.float64) for values in pending]))
             for name in pending[0]}
    if not all(math.isfinite(value) for value in means.values()):
        found = ", ".join(f"{name} {value}" for name, value in means.items())
        raise RunError(f"the loss is not finite at or shortly before step {step} ({found}); {ADVICE}")
    return means
