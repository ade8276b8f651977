"""A run shown by TensorBoard, SwanLab or Weights & Biases as well (train.track); only the one asked for is imported.

Training never ends by it: an error of the service is said once, and the run goes on with its own log. A run that is resumed
goes on in the same record, and what was recorded past its state is written over.
"""
import importlib
from pathlib import Path

from configs.reading import config_dict
from runtime.errors import UserError

INSTALL = {"tensorboard": ("tensorboardX", "pip install -r requirements-track.txt"),
           "swanlab": ("swanlab", "pip install swanlab"), "wandb": ("wandb", "pip install wandb")}


def tracker(config, stage, folder, step):
    """The Guarded tracker of train.track, None for none. folder: the stage's; step: where it begins. UserError as package()."""
    module = package(config.train.track)
    if module is None:
        return None
    kind = {"tensorboard": TensorBoard, "swanlab": SwanLab, "wandb": WandB}[config.train.track]
    return Guarded(lambda: kind(module, Path(config.train.run).name, stage, Path(folder), step, config_dict(config)))


def package(track):
    """The module that a train.track takes, None for none. UserError where it is missing."""
    if track == "none":
        return None
    name, install = INSTALL[track]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"train.track is {track}, and {error}; {install}") from None


class Guarded:
    """A tracker whose errors end it, not the run. It begins with the first number."""

    def __init__(self, make):
        self.make, self.inner, self.failed = make, None, False

    def numbers(self, step, values):
        """{name: number} of a step; what is not a number is left out."""
        self._call("numbers", step, {name: value for name, value in values.items() if isinstance(value, (int, float))})

    def picture(self, step, image):
        """A picture (H, W, 3) uint8 of a step."""
        self._call("picture", step, image)

    def close(self):
        """Writes what waits."""
        if self.inner is not None:
            self._call("close")

    def _call(self, method, *args):
        if self.failed:
            return
        try:
            self.inner = self.inner or self.make()
            getattr(self.inner, method)(*args)
        except Exception as error:      # noqa: BLE001 (whatever a service raises, training is worth more)
            self.failed = True
            print(f"tracking ends here, training goes on: {type(error).__name__}: {error}", flush=True)


class TensorBoard:
    """Event files in folder/tensorboard, which `tensorboard --logdir runs` shows."""

    def __init__(self, module, run, stage, folder, step, config):
        # What earlier processes recorded past this step is hidden.
        self.writer = module.SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None,
                                           filename_suffix=f".{step}")

    def numbers(self, step, values):
        """See Guarded."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def picture(self, step, image):
        """See Guarded."""
        self.writer.add_image("samples", image, step, dataformats="HWC")

    def close(self):
        """See Guarded."""
        self.writer.close()


class SwanLab:
    """An experiment of swanlab.cn, or a local one by SwanLab's own settings."""

    def __init__(self, module, run, stage, folder, step, config):
        self.module = module
        kept = kept_id(folder / "swanlab.id")
        module.init(project="iidm", experiment_name=f"{run}-{stage}", config=config, logdir=str(folder / "swanlab"), id=kept,
                    resume="allow")

    def numbers(self, step, values):
        """See Guarded."""
        self.module.log(values, step=step)

    def picture(self, step, image):
        """See Guarded."""
        self.module.log({"samples": self.module.Image(image)}, step=step)

    def close(self):
        """See Guarded."""
        self.module.finish()


class WandB:
    """A run of Weights & Biases, online or offline by its own settings."""

    def __init__(self, module, run, stage, folder, step, config):
        self.module = module
        self.run = module.init(project="iidm", name=f"{run}-{stage}", config=config, dir=str(folder),
                               id=kept_id(folder / "wandb.id"), resume="allow")
        # W&B drops steps that do not rise: the step is a number like others, and what is plotted against.
        self.run.define_metric("*", step_metric="training_step")

    def numbers(self, step, values):
        """See Guarded."""
        self.run.log({**values, "training_step": step})

    def picture(self, step, image):
        """See Guarded."""
        self.run.log({"samples": self.module.Image(image), "training_step": step})

    def close(self):
        """See Guarded."""
        self.run.finish()


def kept_id(path):
    """A run's id with a service: drawn once, then read from its file, so that a resumed run is the same one."""
    import secrets
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(8))
    return path.read_text().strip()
