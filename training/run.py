"""The folder of a training run: its config, log, loss curve, checkpoints, and the state it resumes from.

    runs/NAME/config.yaml                       resolved, as it was run
    runs/NAME/STAGE/log.jsonl  loss.png         every logged step
    runs/NAME/STAGE/samples/00005000.png        pictures
    runs/NAME/STAGE/state.safetensors           weights, averages, moments: --resume goes on from here
    runs/NAME/checkpoints/STAGE-00005000.safetensors
"""
from pathlib import Path

from configs.schema import config_dict, config_from, config_yaml
from models.kernels.adamw_ema import adamw_ema
from models.layers import parameters_of
from models.weights.checkpoint import Header, open_checkpoint, read_header, write_checkpoint
from runtime import pictures
from runtime.errors import UserError
from runtime.files import write_bytes
from runtime.log import RunLog
from training.state import Training, train

# Options that do not change what a step computes: a resumed run may differ in them.
FREE = {"steps", "save_every", "sample_every", "keep", "keep_best", "workers"}
# What a stage computes depends on these sections, besides its own options.
SECTIONS = {"autoencoder": ("autoencoder", "data"), "unet": ("autoencoder", "data", "unet", "diffusion"),
            "segmenter": ("data", "segmenter")}
SHARED = {"autoencoder": ("seed",), "unet": ("seed", "precision"), "segmenter": ("seed",)}   # of `train`


class Run:
    """One stage (of SECTIONS) of a run."""

    def __init__(self, config, stage, model, extra=None, precision="float32"):
        self.config, self.stage, self.model, self.extra = config, stage, model, extra or {}
        self.precision = precision
        self.root = Path(config.train.run)
        self.folder, self.checkpoints = self.root / stage, self.root / "checkpoints"
        self.options = getattr(config.train, stage)
        self.log = RunLog(self.folder)
        self.training = None
        self.state = self.folder / "state.safetensors"

    def start(self, resume):
        """Begins, or goes on from the state. UserError when there is a state and no --resume, or one of another config."""
        self.check(resume)
        self.training = Training(parameters_of(self.model), self.options, adamw_ema, self.precision == "float16")
        if self.state.exists():
            self.training.restore(state_tensors(self.state), read_header(self.state).step)
            self.log.truncate_after(self.training.n)
        write_bytes(self.root / "config.yaml", config_yaml(self.config).encode())

    def check(self, resume):
        """UserError when there is a state and no --resume, or one of another config, with the options that differ."""
        if not self.state.exists():
            return
        header = read_header(self.state, self.stage)
        if not resume:
            raise UserError(f"{self.folder}: has a run at step {header.step}; --resume goes on with it, "
                            "--set train.run=runs/OTHER starts another")
        # The number of steps shapes a cosine decay.
        free = FREE - {"steps"} if self.options.decay else FREE
        # What the state's version did not know yet has its default.
        old, new, problems = config_dict(config_from(header.config, whole=False)), config_dict(self.config), []
        if header.extra != self.extra:
            problems.append(f"{self.state}: was trained on latents of another autoencoder than {self.config.autoencoder.path}")
        for section, options in (*((name, new[name]) for name in SECTIONS[self.stage]),
                                 (f"train.{self.stage}", new["train"][self.stage]),
                                 ("train", {name: new["train"][name] for name in SHARED[self.stage]})):
            before = old
            for part in section.split("."):
                before = before[part]
            problems += [f"{self.state}: {section}.{name} was {before.get(name)!r}, now {value!r}; expected the same to resume"
                         for name, value in options.items()
                         if before.get(name) != value and name not in free | {"path", "cache"}]
        if problems:
            raise UserError(problems)

    def fit(self, batches, losses, validate, draw):
        """Trains to the end. validate() -> {"val_...": float} and draw() -> an image or None see the averaged weights."""
        training = self.training

        def save():
            with training.ema.swapped(training.parameters):
                metrics = validate()
            self.log.write("validate", stage=self.stage, step=training.n, **metrics)
            header = self.header(metrics)
            write_checkpoint(self.checkpoint(training.n),
                             {**training.ema.average, **{f"raw.{n}": p for n, p in training.parameters.items()}}, header)
            write_checkpoint(self.state, training.tensors(), header)
            self.prune()
            self.curve()

        def picture():
            with training.ema.swapped(training.parameters):
                image = draw()
            if image is not None:
                pictures.save(self.folder / "samples" / f"{training.n:08d}.png", image)

        train(training, batches(training.n), losses, self.log, save, picture, self.stage)

    def header(self, metrics):
        """What a checkpoint of the present step says of itself."""
        return Header(kind=self.stage, config=config_dict(self.config), step=self.training.n, weights="ema",
                      metrics=metrics, extra=self.extra)

    def checkpoint(self, step):
        """The path of the checkpoint of a step."""
        return self.checkpoints / f"{self.stage}-{step:08d}.safetensors"

    def prune(self):
        """Removes checkpoints that are neither among the newest nor among the best."""
        found = ranked(self.root, self.stage)
        newest = sorted(path for path, _ in found)[-self.options.keep:]
        best = [path for path, _ in found[:self.options.keep_best]]
        for path, _ in found:
            if path not in newest and path not in best:
                path.unlink()

    def curve(self):
        """Draws loss.png from the log."""
        series = {}
        for entry in self.log.history():
            for name in ("loss", "l1", "mse", "val_loss"):
                if name in entry:
                    steps, values = series.setdefault(name, ([], []))
                    steps.append(entry["step"])
                    values.append(entry[name])
        pictures.loss_curve(self.folder / "loss.png", series, title=f"{self.root.name}: {self.stage}", log_y=True)


def ranked(root, stage="unet"):
    """[(path, Header)] of a run's checkpoints of one stage, the lowest validation loss first."""
    found = [(path, read_header(path, stage)) for path in sorted((Path(root) / "checkpoints").glob(f"{stage}-*.safetensors"))]
    return sorted(found, key=lambda item: (item[1].metrics.get("val_loss", float("inf")), -item[1].step))


def state_tensors(path):
    """{prefixed name: array} of a state file."""
    with open_checkpoint(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}
