"""The training run of an autoencoder: training/run.py's, with what its adversary and its codebook add to the state."""
import numpy as np

from models.layers import parameters_of
from runtime.backend import jt
from runtime.errors import RunError
from training.adamw import learning_rate
from training.autoencoder_loss import init_codebook
from training.finite import check_weights
from training.run import Run
from training.state import TrainingState

CODEBOOK = "quantize.embedding.weight"


class AutoencoderRun(Run):
    """One run of the stage "autoencoder". Its checkpoints hold the autoencoder; the adversary is in the state alone."""

    def __init__(self, config, model, adversary=None):
        super().__init__(config, "autoencoder", model)
        self.adversary = adversary

    def new_state(self):
        """The state of step 0."""
        codes = self.config.autoencoder.codes if self.options.revive_every and self.config.autoencoder.kind == "vq" else 0
        return AutoencoderState(parameters_of(self.model), self.options, self.adversary, codes)

    def step(self, losses):
        """As in any run."""
        super().step(losses)
        if self.adversary and self.due("save"):
            try:
                check_weights(parameters_of(self.adversary.model), self.steps_done)
            except RunError:
                self.progress.close()
                raise

    def move_adversary(self, losses):
        """One step of the discriminator down the sum of {name: (B,)}, before the autoencoder's. -> the losses, for the log."""
        self.state.move_adversary(losses)
        return {name: value.detach() for name, value in losses.items()}


class AutoencoderState(TrainingState):
    """What a step changes. codes: rows of the codebook whose use is watched, 0 for none."""

    def __init__(self, parameters, options, adversary=None, codes=0):
        super().__init__(parameters, options)
        self.adversary, self.code_used = adversary, np.zeros(codes, np.float32)

    def move_adversary(self, losses):
        """One step of the discriminator."""
        loss = sum(losses.values())
        self.adversary.optimizer.step(loss.sum() / loss.shape[0], learning_rate(self.steps_done, self.options))

    def notice(self, index):
        """Codes (N,) that a batch uses."""
        self.code_used[np.unique(index)] = 1

    def revive(self, latents, rng):
        """Places the codes that were not used since the last time on latents (N, D); their moments begin anew."""
        dead = self.code_used == 0
        placed = init_codebook(latents, int(dead.sum()), rng)
        for var in (self.parameters[CODEBOOK], *(ema.average[CODEBOOK] for ema in self.averages)):
            put(var, dead, placed)
        for moments in (self.optimizer.m, self.optimizer.v):
            put(moments[CODEBOOK], dead, 0)
        self.code_used[:] = 0

    def tensors(self):
        """All there is to save, {prefixed name: Var}."""
        found = super().tensors()
        if len(self.code_used):
            found["code_used"] = self.code_used
        if self.adversary:
            found.update({f"discriminator.{name}": var for name, var in parameters_of(self.adversary.model).items()})
            found.update({f"d.{name}": var for name, var in self.adversary.optimizer.state().items()})
        return found

    def restore(self, tensors, steps_done):
        """Goes on from tensors() as arrays and the number of steps taken."""
        super().restore(tensors, steps_done)
        if len(self.code_used):
            self.code_used[:] = tensors["code_used"]
        if self.adversary:
            for name, var in parameters_of(self.adversary.model).items():
                var.update(jt.array(tensors[f"discriminator.{name}"]))
                var.sync()
            under = {name[2:]: array for name, array in tensors.items() if name.startswith("d.")}
            self.adversary.optimizer.load(under, max(0, steps_done - self.options.adversarial_start))


def put(var, rows, values):
    """Gives some rows of a Var other values."""
    array, learns = var.numpy().copy(), not var.is_stop_grad()
    array[rows] = values
    var.update(jt.array(array) if learns else jt.array(array).stop_grad())
