"""The state that a run resumes from: written beside the one before it, and looked for among both.

    state.safetensors           the newest
    state.before.safetensors    the one before, for the case that the newest is damaged
    state.new.safetensors       whole, and not yet given its name when the process was killed
"""
import os
from pathlib import Path

from models.weights.checkpoint import is_whole, kind_of, open_checkpoint, read_header, write_checkpoint
from runtime.errors import RunError


class SavedState:
    """The files of a stage's folder that hold a run's state."""

    def __init__(self, folder):
        self.path = Path(folder) / "state.safetensors"
        self.before, self.new = (self.path.with_name(f"state.{name}.safetensors") for name in ("before", "new"))

    def exists(self):
        """Whether there is a state, whole or not."""
        return any(path.exists() for path in (self.path, self.before, self.new))

    def write(self, tensors, header):
        """Writes a state; killed at any moment, the newest that was whole stays so."""
        write_checkpoint(self.new, tensors, header)
        if self.path.exists():
            os.replace(self.path, self.before)
        os.replace(self.new, self.path)

    def find(self, stage):
        """(path, Header) of the newest state that is whole, with a line printed for one that is not. RunError where none is."""
        damaged, whole = [], []
        for path in (self.new, self.path, self.before):
            if path.exists():
                (whole if is_whole(path) else damaged).append(path)
        if not whole:
            raise RunError(f"{', '.join(map(str, damaged))}: damaged, its bytes are not those that were written; a checkpoint "
                           f"can still begin another run: --set train.run=runs/OTHER --set train.{stage}.init_from=CHECKPOINT")
        header, path = max(((read_header(path, kind_of(stage)), path) for path in whole), key=lambda found: found[0].step)
        for bad in damaged:
            print(f"{bad}: damaged, its bytes are not those that were written; going on from step {header.step} in {path}")
        return path, header

    def tensors(self, path):
        """{prefixed name: array} of a state file."""
        with open_checkpoint(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}
