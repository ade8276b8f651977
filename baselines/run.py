"""The training run of a GAN: training/run.py's folder, log, checkpoints and resuming, around the state of two
networks."""
from baselines.gan import trained
from baselines.state import GanState
from runtime.errors import RunError, UserError
from training.finite import check_weights
from training.run import Run


class GanRun(Run):
    """One run of the stage "gan". Its checkpoints hold generator and encoder; the discriminator is in the
    state alone."""

    def __init__(self, config, gan, discriminator):
        super().__init__(config, "gan", gan)
        for name, plain in (("accumulate", 1), ("clip", 0), ("more_ema", [])):
            if getattr(self.options, name) != plain:
                raise UserError(f"train.gan.{name} is {getattr(self.options, name)}, expected {plain}: GANs train without it")
        self.discriminator = discriminator

    def new_state(self):
        """The state of step 0."""
        return GanState(self.model, self.discriminator, self.options, self.config.gan)

    def move_generator(self, losses):
        """The first half of a step: generator and encoder down losses["loss"], and their moving average. ->
        the other losses, for the log."""
        loss, others = losses.pop("loss"), {name: value.detach() for name, value in losses.items()}
        losses.clear()                                       # or they would keep every activation
        self.state.move_generator(loss)
        return others

    def step(self, losses):
        """The second half: the discriminator down losses["loss"], then as in any run."""
        super().step(losses)
        if self.due("save"):
            try:
                check_weights(trained(self.discriminator), self.steps_done)
            except RunError:
                self.progress.close()
                raise
