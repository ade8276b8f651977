"""The training run of a GAN: training/run.py's folder, log, checkpoints and resuming, around the state of two
networks."""
from baselines.gan import trained
from baselines.state import GanState
from configs.schema import config_yaml
from models.weights.checkpoint import read_header
from runtime.errors import RunError
from runtime.files import write_bytes
from training.finite import check_weights
from training.run import Run, state_tensors


class GanRun(Run):
    """One run of the stage "gan". Its checkpoints hold generator and encoder; the discriminator is in the
    state alone."""

    def __init__(self, config, gan, discriminator):
        super().__init__(config, "gan", gan)
        self.discriminator = discriminator

    def start(self, resume):
        """Begins, or goes on from the state. UserError as check()."""
        self.check(resume)
        self.state = GanState(self.model, self.discriminator, self.options, self.config.gan)
        if self.state_file.exists():
            self.state.restore(state_tensors(self.state_file), read_header(self.state_file).step)
            self.log.truncate_after(self.state.steps_done)
        write_bytes(self.root / "config.yaml", config_yaml(self.config).encode())

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
