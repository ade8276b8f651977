import numpy as np
from safetensors.numpy import load_file

from configs.schema import StageConfig
from ldm.losses import diffusion_loss
from ldm.schedule import make_schedule
from models.layers import parameters_of
from models.unet import build_unet
from models.weights.checkpoint import Header, write_checkpoint
from runtime.backend import jt
from tests.helpers import TINY_UNET, latents_and_labels, on_cpu
from training.state import TrainingState


class Diffusion:
    """A few steps of the tiny U-Net on latents drawn from the step's number."""

    def __init__(self, path, seed=0):
        self.path, self.model, self.schedule = path, build_unet(TINY_UNET, seed=seed), make_schedule()
        self.options = StageConfig(steps=5, lr=1e-3, warmup=2, decay=True, weight_decay=0.01)
        self.state = TrainingState(parameters_of(self.model), self.options)

    def losses(self, step):
        rng = np.random.default_rng(step)
        z, labels = latents_and_labels(rng)
        t, eps = rng.integers(1000, size=2), rng.standard_normal(z.shape, dtype=np.float32)
        return diffusion_loss(self.model, jt.array(z), jt.array(labels), t, jt.array(eps), self.schedule)

    def run(self, end):
        for step in range(self.state.steps_done, end):
            losses = self.losses(step)["loss"]
            self.state.step(losses.sum() / len(losses))
        write_checkpoint(self.path, self.state.tensors(), Header(kind="unet", config={}, step=self.state.steps_done))
        return load_file(self.path)


@on_cpu
def test_training_in_one_go_equals_stopping_and_going_on_bit_for_bit(tmp_path):
    whole = Diffusion(tmp_path / "whole.safetensors").run(5)
    first = Diffusion(tmp_path / "first.safetensors").run(2)
    second = Diffusion(tmp_path / "second.safetensors", seed=9)                   # other weights, which are replaced
    second.state.restore(first, 2)
    resumed = second.run(5)
    assert whole.keys() == resumed.keys() and len(whole) == 4 * len(parameters_of(second.model))
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)
    changed = {kind: sum(not np.array_equal(whole[name], first[name]) for name in whole if name.startswith(kind))
               for kind in ("ema.", "raw.", "m.", "v.")}
    assert all(count == len(whole) / 4 for count in changed.values()), changed


@on_cpu
def test_a_step_of_a_network_leaves_nothing_behind(tmp_path):
    run, living = Diffusion(tmp_path / "run.safetensors"), []
    for step in range(4):
        loss = run.losses(step)["loss"]
        run.state.step(loss.sum())
        del loss
        living.append(jt.liveness_info()["lived_vars"])
    assert len(set(living[1:])) == 1, living
