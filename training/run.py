"""A training run and its folder. Each trainer (unet.py, autoencoder.py, segmenter.py) writes its loop itself:

    for batch in run.batches(make_batch):        # from the saved step to the last
        run.step(losses)                         # AdamW, moving average, a line in the log
        if run.due("save"): ...                  # run.save(metrics), run.save_picture(image)

    runs/NAME/config.yaml                        resolved, as it was run
    runs/NAME/STAGE/log.jsonl  loss.png          every logged step
    runs/NAME/STAGE/samples/00005000.png         pictures
    runs/NAME/STAGE/state.safetensors            weights, averages, moments: --resume goes on from here (saved_state.py)
    runs/NAME/checkpoints/STAGE-00005000.safetensors
"""
import time
from pathlib import Path

from configs.reading import config_dict, config_yaml
from data.batches import prefetch
from models.layers import parameters_of
from models.weights.checkpoint import Header, kind_of, write_checkpoint
from models.weights.ranking import ranked
from runtime import pictures
from runtime.errors import RunError, Stopped, UserError
from runtime.files import write_bytes
from runtime.log import RunLog, progress_bar
from training.adamw import learning_rate
from training.finite import check_weights
from training.memory import in_use
from training.meter import LossMeter
from training.pace import Pace
from training.ranks import Alone
from training.resume import check_resume
from training.saved_state import SavedState
from training.signals import Stop
from training.state import TrainingState, prefix
from training.tracking import tracker
from training.writer import Writer, copied


class Run:
    """One stage of a run: autoencoder, unet or segmenter. extra: what its checkpoints say besides the config; ranks: the
    processes that train it together, of which the first writes."""

    def __init__(self, config, stage, model, extra=None, precision="float32", ranks=None):
        self.config, self.stage, self.model, self.extra = config, stage, model, extra or {}
        self.precision, self.ranks = precision, ranks or Alone()
        self.root = Path(config.train.run)
        self.folder, self.checkpoints = self.root / stage, self.root / "checkpoints"
        self.options = getattr(config.train, stage)
        self.log = RunLog(self.folder)
        self.saved = SavedState(self.folder)
        self.state_file = self.saved.path
        self.stop, self.writer, self.pace = Stop(), Writer(), Pace()
        self.part, self.ended = 0, time.monotonic()          # parts of the present batch that are done; when the last step was
        self.saved_at = None                                 # the step of the newest state on the disk
        self.state = self.meter = self.progress = self.tracker = None       # from start() and batches() on

    def check(self, resume):
        """UserError when there is a state and no --resume, or one of a config with other options; RunError where no state
        is whole. -> the state's (path, Header), or None."""
        if not self.saved.exists():
            return None
        path, header = self.saved.find(self.stage)
        if not resume:
            raise UserError(f"{self.folder}: has a run at step {header.step}; --resume goes on with it, "
                            "--set train.run=runs/OTHER starts another")
        check_resume(path, header, self.config, self.stage, self.extra)
        return path, header

    def start(self, resume):
        """Begins, or goes on from the state. UserError as check()."""
        share = self.ranks.size * self.options.accumulate
        if self.options.batch_size % share:
            raise UserError(f"train.{self.stage}.batch_size is {self.options.batch_size}, expected a multiple of {share}: "
                            f"{self.ranks.size} processes, each in {self.options.accumulate} parts (accumulate)")
        found = self.check(resume)
        with self.ranks.first():
            self.state = self.new_state()
            if found:
                path, header = found
                self.state.restore(self.saved.tensors(path), header.step)
                self.saved_at = header.step
        if self.ranks.size > 1:
            self.ranks.same([*self.state.parameters.values(), *self.state.ema.average.values()])
        if self.writes:
            self.log.truncate_after(self.state.steps_done)   # also what a first attempt without a state left
            write_bytes(self.root / "config.yaml", config_yaml(self.config).encode())
            self.tracker = tracker(self.config, self.stage, self.folder, self.state.steps_done)

    def new_state(self):
        """The state of step 0."""
        return TrainingState(parameters_of(self.model), self.options, scaled=self.precision == "float16",
                             **({"ranks": self.ranks} if self.ranks.size > 1 else {}))

    @property
    def writes(self):
        """Whether this process is the one that writes, draws and validates."""
        return self.ranks.rank == 0

    # -------------------------------------------------------------------------------------------- the loop

    @property
    def steps_done(self):
        """Steps taken so far, in this process and those before it."""
        return self.state.steps_done

    def batches(self, make_batch):
        """Yields make_batch(step) for every step that is left, made ahead in threads: this process's rows of it, in
        train.STAGE.accumulate parts. Stopped at SIGTERM or Ctrl-C, when the step is done and saved."""
        first, steps = self.steps_done, self.options.steps
        self.meter, parts = LossMeter(), self.options.accumulate
        with self.stop.listening(), \
                progress_bar(total=steps, initial=first, label=self.stage, unit="step") as self.progress:
            try:
                for batch in self.timed(prefetch(make_batch, range(first, steps), self.options.workers)):
                    for self.part in range(parts):
                        yield rows_of_batch(batch, self.ranks.rank + self.ranks.size * self.part, self.ranks.size * parts)
                    self.meter.leaves_out(time.monotonic() - self.ended)
                    if self.asked_to_stop():
                        self.save_state()
                        self.written()
                        self.progress.close()
                        raise Stopped(f"stopped at step {self.steps_done}, which is saved; --resume goes on", self.stop.status)
                self.written()
            finally:
                self.writer.wait()
                if self.tracker:
                    self.tracker.close()

    def timed(self, batches):
        """The batches, the time they are waited for noted."""
        while True:
            begin = time.monotonic()
            batch = next(batches, None)
            self.meter.waits(time.monotonic() - begin)
            if batch is None:
                return
            yield batch

    def step(self, losses, quarters=None):
        """One step down the mean of losses["loss"], or its part of one; losses: {name: (B,) Var}, the others are logged only.
        quarters: (B,) array of the quarter of the timesteps, 0 to 3, that each sample's loss is logged under besides.

        RunError at a loss, or before save() weights, that are not finite, or where writing failed; what was saved before stays.
        """
        parts = self.options.accumulate
        loss = losses["loss"].sum() / losses["loss"].shape[0]
        try:
            if self.part < parts - 1:
                self.state.accumulate(loss / parts)
                self.meter.add(losses, False, quarters)
                return
            self.state.step(loss / parts if parts > 1 else loss)
            self.meter.add(losses, True, quarters)
            if self.due("save") or self.ranks.largest(int(self.meter.due()))[0]:
                self.log_losses()
            self.progress.update()
            self.passed()
            self.writer.check()
            if self.due("save"):
                check_weights(self.state.parameters, self.steps_done)
        except RunError:
            self.progress.close()                            # its line ends before the error's begins
            raise

    def passed(self):
        """Notes that a step is done: how long the rest will take is said once it is known, and processes that wait are told
        what is normal."""
        self.ended = time.monotonic()
        looks = self.due("save") or self.due("sample")
        line = self.pace.passed(self.options.steps - self.steps_done, counts=not looks)
        if line and self.writes:
            self.progress.write(f"{self.stage}: {line}")
        if looks:
            self.ranks.busy()
        elif self.pace.longest:
            self.ranks.expects(self.pace.longest)

    def due(self, what):
        """Whether it is time to "save" or to "sample": every save_every, sample_every steps, and at the end."""
        if self.part < self.options.accumulate - 1:
            return False                                     # in the middle of a step
        every = getattr(self.options, f"{what}_every")
        return self.steps_done % every == 0 or self.steps_done == self.options.steps

    def asked_to_stop(self):
        """Whether a signal came, to this process or another."""
        self.stop.signum = self.ranks.largest(self.stop.signum or 0)[0] or None
        return self.stop.signum is not None

    def averaged_weights(self, average=None):
        """Within the block the network holds the moving average of its weights, or another of run.state.averages."""
        return (average or self.state.ema).swapped(self.state.parameters)

    # -------------------------------------------------------------------------------------------- what it writes

    def log_losses(self):
        """A line in the log: the mean losses since the line before."""
        means, times = self.meter.read(self.steps_done, self.ranks)
        if not self.writes:
            return
        scale = self.state.loss_scale
        if scale.active:
            means.update(loss_scale=scale.value, skipped=scale.skipped)
        if self.options.clip:
            means.update(gradient_norm=self.state.optimizer.norm)
        values = {"lr": learning_rate(self.steps_done - 1, self.options), "ema_decay": self.state.ema.decay, **means, **times,
                  "images_per_second": times["steps_per_second"] * self.options.batch_size, "memory_gb": in_use() / 1e9}
        left = self.pace.hours(self.options.steps - self.steps_done)
        self.note("train", {**values, "hours_left": left} if left is not None else values)
        self.progress.set_postfix(loss=f"{means['loss']:.4f}", refresh=False)

    def note(self, kind, values):
        """A line in the log and, where training is tracked, its numbers there."""
        self.log.write(kind, stage=self.stage, step=self.steps_done, **values)
        if self.tracker:
            self.tracker.numbers(self.steps_done, values)

    def save(self, metrics, average=None):
        """Writes a checkpoint and the state to resume from, while training goes on. metrics: {"val_loss", ...} of the average:
        the first, or the one given of run.state.averages."""
        state, average = self.state, average or self.state.ema
        assert not any(ema.is_swapped for ema in state.averages), "saved within averaged_weights()"
        if not self.writes:
            return self.save_state()
        if len(state.averages) > 1:
            metrics = {**metrics, "ema": average.limit}
        self.note("validate", metrics)
        self.save_state(self.header(metrics), prefix(state.averages.index(average)))

    def save_state(self, header=None, of=None):
        """Writes the state to resume from, unless this step's is there; of: the prefix of the average that is written as a
        checkpoint as well, with the header."""
        step, header = self.steps_done, header or self.header({})
        if self.writes and (of or self.saved_at != step):
            self.writer.wait()                               # before the copy: there are never two
            tensors = self.state.tensors()
            copies = copied(tensors)
            if copies is None:                               # training waits for the disk
                self.write(step, tensors, header, of)
            else:
                self.writer.begin(lambda: self.write(step, copies, header, of))
        self.saved_at = step

    def write(self, step, tensors, header, of):
        """The checkpoint, if there is one, and then the state."""
        if of:
            under = lambda begin: {name[len(begin):]: value for name, value in tensors.items() if name.startswith(begin)}
            both = {**under(of), **{f"raw.{name}": value for name, value in under("raw.").items()}}
            write_checkpoint(self.checkpoints / f"{self.stage}-{step:08d}.safetensors", both, header)
        self.saved.write(tensors, header)
        if of:
            self.prune()
            self.draw_loss_curve()

    def written(self):
        """Waits until all that was saved is on the disk, in all processes."""
        self.ranks.busy()
        self.writer.wait()
        self.ranks.wait()

    def save_picture(self, image):
        """Writes a picture of what the network does now."""
        if not self.writes:
            return
        pictures.save(self.folder / "samples" / f"{self.steps_done:08d}.png", image)
        if self.tracker:
            self.tracker.picture(self.steps_done, image)

    def header(self, metrics):
        """What a checkpoint of the present step says of itself."""
        return Header(kind=kind_of(self.stage), config=config_dict(self.config), step=self.steps_done, weights="ema",
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


def rows_of_batch(batch, first, every):
    """Rows first, first + every, ... of a batch: of an array, or of each of a tuple of them."""
    if every == 1:
        return batch
    return tuple(array[first::every] for array in batch) if isinstance(batch, tuple) else batch[first::every]
