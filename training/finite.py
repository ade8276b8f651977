"""Checks that losses, gradients and weights are finite: what is saved is good to go on from."""
import math

import numpy as np

from runtime.backend import jt
from runtime.errors import RunError

# A run resumes with its own options only, so that what changes the rate is another run.
ADVICE = ("the checkpoints of earlier steps are as they were. A lower learning rate or a longer warm-up often helps, in a "
          "new run: --set train.run=runs/OTHER --set train.STAGE.lr=... --set train.STAGE.init_from=CHECKPOINT")


def check_losses(means, step):
    """RunError when one of the mean losses {name: float} of the steps up to `step` is not finite."""
    if not all(math.isfinite(value) for value in means.values()):
        found = ", ".join(f"{name} {value}" for name, value in means.items())
        raise RunError(f"the loss is not finite at or shortly before step {step} ({found}); {ADVICE}")


def check_weights(parameters, step):
    """RunError when one of the weights {name: Var} is not finite: a gradient may not be, before the loss."""
    for name, p in parameters.items():
        if not np.isfinite(p.numpy()).all():
            raise RunError(f"the weights of {name} are not finite after step {step}; {ADVICE}")


def all_finite(gradients):
    """Whether every number of a list of arrays is."""
    return bool(np.isfinite(squares(gradients)).all())


def norm_of(gradients):
    """The Euclidean norm of a list of arrays as one vector."""
    return math.sqrt(squares(gradients).sum(dtype=np.float64))


def squares(gradients):
    """The sum of squares of each of a list of arrays, (N,)."""
    return jt.concat([(g * g).sum().reshape(1) for g in gradients]).numpy()
