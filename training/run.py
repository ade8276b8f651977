"""A training run and its folder. Each trainer (unet.py, autoencoder.py, segmenter.py) writes its loop itself:

    for batch in run.batches(make_batch):        # from the saved step to the last
        run.step(losses)                         # AdamW, moving average, a line in the log
        if run.due("save"): ...                  # run.save(metrics), run.save_picture(image)

    runs/NAME/config.yaml                        resolved, as it was run
    runs/NAME/STAGE/log.jsonl  loss.png          every logged step
    runs/NAME/STAGE/samples/00005000.png         pictures
    runs/NAME/STAGE/state.safetensors            weights, averages, moments: --resume goes on from here
    runs/NAME/checkpoints/STAGE-00005000.safetensors
"""
from pathlib import Path

from configs.schema import config_dict, config_yaml
from data.batches import prefetch
from models.layers import parameters_of
from models.weights.checkpoint import Header, open_checkpoint, read_header, write_checkpoint
from runtime import pictures
from runtime.errors import RunError, UserError
from runtime.files import write_bytes
from runtime.log import RunLog, progress_bar
from training.adamw import learning_rate
from training.finite import check_weights
from training.meter import LossMeter
from training.resume import check_resume
from training.state import TrainingState


class Run:
    """One stage of a run: autoencoder, unet or segmenter. extra: what its checkpoints say besides the config."""

    def __init__(self, config, stage, model, extra=None, precision="float32"):
        self.config, self.stage, self.model, self.extra = config, stage, model, extra or {}
        self.precision = precision
        self.root = Path(config.train.run)
        self.folder, self.checkpoints = self.root / stage, self.root / "checkpoints"
        self.options = getattr(config.train, stage)
        self.log = RunLog(self.folder)
        self.state_file = self.folder / "state.safetensors"
        self.state = self.meter = self.progress = None       # from start() and batches() on

    def check(self, resume):
        """UserError when there is a state and no --resume, or one of a config with other options."""
        if not self.state_file.exists():
            return
        header = read_header(self.state_file, self.stage)
        if not resume:
            raise UserError(f"{self.folder}: has a run at step {header.step}; --resume goes on with it, "
                            "--set train.run=runs/OTHER starts another")
        check_resume(self.state_file, header, self.config, self.stage, self.extra)

    def start(self, resume):
        """Begins, or goes on from the state. UserError as check()."""
        self.check(resume)
        self.state = self.new_state()
        if self.state_file.exists():
            self.state.restore(state_tensors(self.state_file), read_header(self.state_file).step)
        self.log.truncate_after(self.state.steps_done)       # also what a first attempt without a state left
        write_bytes(self.root / "config.yaml", config_yaml(self.config).encode())

    def new_state(self):
        """The state of step 0."""
        return TrainingState(parameters_of(self.model), self.options, scaled=self.precision == "float16")

    # -------------------------------------------------------------------------------------------- the loop

    @property
    def steps_done(self):
        """Steps taken so far, in this process and those before it."""
        return self.state.steps_done

    def batches(self, make_batch):
        """Yields make_batch(step) for every step that is left, made ahead in threads."""
        first, steps = self.steps_done, self.options.steps
        self.meter = LossMeter()
        with progress_bar(total=steps, initial=first, label=self.stage, unit="step") as self.progress:
            yield from prefetch(make_batch, range(first, steps), self.options.workers)

    def step(self, losses):
        """One step down the mean of losses["loss"]; losses: {name: (B,) Var}, the others are logged only.

        RunError at a loss, or before save() weights, that are not finite; what was saved before stays.
        """
        try:
            self.state.step(losses["loss"].sum() / losses["loss"].shape[0])
            self.meter.add(losses)
            if self.due("save") or self.meter.due():
                self.log_losses()
            self.progress.update()
            if self.due("save"):
                check_weights(self.state.parameters, self.steps_done)
        except RunError:
            self.progress.close()                            # its line ends before the error's begins
            raise

    def due(self, what):
        """Whether it is time to "save" or to "sample": every save_every, sample_every steps, and at the end."""
        every = getattr(self.options, f"{what}_every")
        return self.steps_done % every == 0 or self.steps_done == self.options.steps

    def averaged_weights(self):
        """Within the block the network holds the moving average of its weights."""
        return self.state.ema.swapped(self.state.parameters)

    # -------------------------------------------------------------------------------------------- what it writes

    def log_losses(self):
        """A line in the log: the mean losses since the line before."""
        means, speed = self.meter.read(self.steps_done)
        scale = self.state.loss_scale
        if scale.active:
            means.update(loss_scale=scale.value, skipped=scale.skipped)
        rate = learning_rate(self.steps_done - 1, self.options)
        self.log.write("train", stage=self.stage, step=self.steps_done, lr=rate, **means, steps_per_second=speed)
        self.progress.set_postfix(loss=f"{means['loss']:.4f}", refresh=False)

    def save(self, metrics):
        """Writes a checkpoint and the state to resume from. metrics: {"val_loss", ...} of the average."""
        state, header = self.state, self.header(metrics)
        assert not state.ema.is_swapped, "saved within averaged_weights()"
        self.log.write("validate", stage=self.stage, step=state.steps_done, **metrics)
        write_checkpoint(self.checkpoints / f"{self.stage}-{state.steps_done:08d}.safetensors",
                         {**state.ema.average, **{f"raw.{name}": p for name, p in state.parameters.items()}}, header)
        write_checkpoint(self.state_file, state.tensors(), header)
        self.prune()
        self.draw_loss_curve()

    def save_picture(self, image):
        """Writes a picture of what the network does now."""
        pictures.save(self.folder / "samples" / f"{self.steps_done:08d}.png", image)

    def header(self, metrics):
        """What a checkpoint of the present step says of itself."""
        return Header(kind=self.stage, config=config_dict(self.config), step=self.steps_done, weights="ema",
                      metrics=metrics, extra=self.extra)

    def prune(self):
        """Removes checkpoints that are neither among the newest nor among the best."""
        found = ranked(self.root, self.stage)
        newest = sorted(path for path, _ in found)[-self.options.keep:]
        best = [path for path, _ in found[:self.options.keep_best]]
        for path, _ in found:
            if path not in newest and path not in best:
                path.unlink()

    def draw_loss_curve(self):
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
    paths = sorted((Path(root) / "checkpoints").glob(f"{stage}-*.safetensors"))
    found = [(path, read_header(path, stage)) for path in paths]
    return sorted(found, key=lambda item: (item[1].metrics.get("val_loss", float("inf")), -item[1].step))


def state_tensors(path):
    """{prefixed name: array} of a state file."""
    with open_checkpoint(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}
