"""A training run: the step, the weights, their moving average and the optimiser's moments, saved whole and resumed exactly.

The loop knows no network and no data: it is given a function from a batch to losses, one that validates and one that draws.
"""
import math
import time

import numpy as np

from runtime.backend import jt
from runtime.errors import RunError
from runtime.log import progress_bar
from training.adamw import AdamW, learning_rate
from training.ema import EMA
from training.loss_scale import LossScale

LOG_SECONDS = 10  # between lines of the log, at most
# A run resumes with its own options only, so that what changes the rate is another run.
ADVICE = ("the checkpoints of earlier steps are as they were. A lower learning rate or a longer warm-up often helps, in a "
          "new run: --set train.run=runs/OTHER --set train.STAGE.lr=... --set train.STAGE.init_from=CHECKPOINT")


class Training:
    """What a step changes. parameters: {name: Var} of the network, config: a StageConfig, update: as for AdamW, scaled: whether
    the loss is multiplied so that float16 gradients neither vanish nor overflow."""

    def __init__(self, parameters, config, update, scaled=False):
        self.parameters, self.config, self.n = parameters, config, 0
        self.optimizer = AdamW(parameters, update, weight_decay=config.weight_decay)
        self.ema = EMA(parameters, config.ema)
        self.scale = LossScale(scaled)

    def step(self, loss):
        """One step down a scalar loss, and the average after it; a step whose float16 gradients overflow moves nothing."""
        rate = learning_rate(self.n, self.config)
        self.n += 1
        if not self.scale.active:
            self.optimizer.step(loss, rate, self.ema)
        elif self.optimizer.step(loss, rate, self.ema, self.scale.value):
            self.scale.passed()
        else:
            self.scale.overflowed(self.n)
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
        """All there is to save, {prefixed name: Var}: ema., raw., m., v. and, for float16, loss_scale."""
        scale = {"loss_scale": jt.array(self.scale.state())} if self.scale.active else {}
        return {**{f"ema.{name}": var for name, var in self.ema.average.items()},
                **{f"raw.{name}": var for name, var in self.parameters.items()}, **self.optimizer.state(), **scale}

    def restore(self, tensors, n):
        """Goes on from tensors() as arrays and the number of steps taken."""
        part = lambda prefix: {name[len(prefix):]: a for name, a in tensors.items() if name.startswith(prefix)}
        for name, array in part("raw.").items():
            self.parameters[name].update(jt.array(array))
        if self.scale.active:
            self.scale.load(np.asarray(tensors["loss_scale"]))
        self.n, moved = n, n - self.scale.skipped
        self.ema.load(part("ema."), moved)
        self.optimizer.load(tensors, moved)


def train(training, batches, losses, log, save, draw, label):
    """Runs training.n .. config.steps, one step for each of the batches.

    losses(batch, step) -> {"loss", ...}, (B,) Vars; save() after every save_every steps and at the end; draw() after every
    sample_every steps and at the end. Raises RunError at a loss, or before save() weights, that are not finite: what was
    saved before stays as it is.
    """
    config, pending, since = training.config, [], time.monotonic()
    first = training.n
    with progress_bar(total=config.steps, initial=first, label=label, unit="step") as progress:
        for batch in batches:
            values = losses(batch, training.n)
            loss = values["loss"].sum() / values["loss"].shape[0]
            training.step(loss)
            pending.append({name: value.detach() for name, value in values.items()})
            saving = training.n % config.save_every == 0 or training.n == config.steps
            if saving or time.monotonic() - since > LOG_SECONDS or training.n == first + 1:
                means = read(pending, training.n)
                if training.scale.active:
                    means.update(loss_scale=training.scale.value, skipped=training.scale.skipped)
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
