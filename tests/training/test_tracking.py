import struct
import sys
import types

import numpy as np
import pytest

from configs.schema import Config
from runtime.errors import UserError
from training.tracking import Guarded, tracker


def config(track):
    found = Config()
    found.train.track = track
    return found


def test_nothing_is_tracked_unless_asked_for(tmp_path):
    assert tracker(config("none"), "unet", tmp_path, 0) is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize("track, install", [("tensorboard", "requirements-track.txt"), ("swanlab", "pip install swanlab"),
                                            ("wandb", "pip install wandb")])
def test_a_package_that_is_missing_is_said_before_training(tmp_path, monkeypatch, track, install):
    monkeypatch.setitem(sys.modules, "tensorboardX" if track == "tensorboard" else track, None)
    with pytest.raises(UserError, match=f"train.track is {track}.*{install}"):
        tracker(config(track), "unet", tmp_path, 0)


def test_an_error_of_a_service_is_said_once_and_ends_nothing(capsys):
    class Broken:
        def numbers(self, step, values):
            raise ConnectionError("no network")

    guarded = Guarded(Broken)
    for step in range(3):
        guarded.numbers(step, {"loss": 1.0})
    guarded.picture(3, None)
    guarded.close()
    assert capsys.readouterr().out.count("tracking ends here, training goes on: ConnectionError: no network") == 1
    Guarded(lambda: 1 / 0).numbers(1, {})                    # nor one while it begins


def test_tensorboard_has_numbers_and_pictures_and_hides_what_a_resumed_run_takes_back(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX: pip install -r requirements-track.txt")
    found = tracker(config("tensorboard"), "unet", tmp_path, 0)
    for step in (1, 2, 3):
        found.numbers(step, {"loss": 0.5 * step, "stage": "unet"})
    found.picture(3, np.zeros((4, 6, 3), np.uint8))
    found.close()
    again = tracker(config("tensorboard"), "unet", tmp_path, 2)
    again.numbers(3, {"loss": 9.0})
    again.close()
    values, purged = {}, []
    for event in events(tmp_path / "tensorboard"):
        if event.session_log.status == event.session_log.START:
            purged.append(event.step)
            values = {key: value for key, value in values.items() if key[1] < event.step}      # as TensorBoard reads it
        values.update({(value.tag, event.step): value.simple_value for value in event.summary.value})
    assert purged == [3]
    assert {key: value for key, value in values.items() if key[0] == "loss"} == {
        ("loss", 1): 0.5, ("loss", 2): 1.0, ("loss", 3): 9.0}


def events(folder):
    """The events of a folder's files, in the order in which they were written."""
    from tensorboardX.proto.event_pb2 import Event
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):                                # length, its checksum, the event, its checksum
            size = struct.unpack_from("<Q", data, at)[0]
            yield Event.FromString(data[at + 12:at + 12 + size])
            at += 16 + size


@pytest.mark.parametrize("track", ["swanlab", "wandb"])
def test_a_resumed_run_goes_on_in_the_same_record_of_a_service(tmp_path, monkeypatch, track):
    service = Service(track)
    monkeypatch.setitem(sys.modules, track, service)
    for step in (0, 2):
        found = tracker(config(track), "unet", tmp_path, step)
        found.numbers(step + 1, {"loss": 1.0, "kind": "train"})
        found.picture(step + 1, np.zeros((4, 6, 3), np.uint8))
        found.close()
    first, second = service.begun
    assert first["id"] == second["id"] and len(first["id"]) == 16 and first["resume"] == "allow"
    assert first["config"]["train"]["track"] == track
    assert [values["loss"] for values, _ in service.logged if "loss" in values] == [1.0, 1.0]
    assert service.finished == 2 and not any("kind" in values for values, _ in service.logged)
    assert [step or values.get("training_step") for values, step in service.logged] == [1, 1, 3, 3]


class Service(types.ModuleType):
    """What of swanlab and wandb is used, written down."""

    def __init__(self, name):
        super().__init__(name)
        self.begun, self.logged, self.finished, self.Image = [], [], 0, lambda array: ("image", array.shape)

    def init(self, **options):
        self.begun.append(options)
        return self

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("*", "training_step")

    def log(self, values, step=None):
        self.logged.append((values, step))

    def finish(self):
        self.finished += 1
