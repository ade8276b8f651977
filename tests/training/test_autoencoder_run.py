"""Autoencoders trained with all that may be asked for: killed and resumed, a run ends with the same bits."""
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from configs.reading import config_from
from configs.schema import AutoencoderStage
from data.landscape import find_train
from runtime.backend import jt
from tests.helpers import TINY_AUTOENCODER
from training.autoencoder import train_autoencoder
from training.autoencoder_run import CODEBOOK, AutoencoderState
from training.run import Run

STEPS = 5


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for name in ("imgs", "labels"):
        (folder / name).mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(folder / "imgs" / f"{i}.jpg")
        Image.fromarray(np.zeros((32, 48), np.uint8)).save(folder / "labels" / f"{i}.png")
    return find_train(folder, [])


def config_of(folder, kind):
    """A config with everything, at the smallest size."""
    tiny = {name: getattr(TINY_AUTOENCODER, name) for name in ("channels", "channel_mult", "res_blocks", "codes")}
    stage = dict(steps=STEPS, batch_size=2, crop=32, save_every=3, sample_every=STEPS, codebook_start=1, adversarial=0.5,
                 adversarial_start=2, discriminator=8, revive_every=2)
    train = dict(run=str(folder / "run"), checkpointing="blocks" if folder.name == "parts" else "none", autoencoder=stage)
    return config_from({"data": {"height": 32, "width": 48, "validation": 1},
                        "autoencoder": {**tiny, "kind": kind, "path": str(folder / "autoencoder.safetensors")},
                        "train": train}, whole=False)


@pytest.mark.parametrize("kind", ["vq", "kl"])
def test_a_run_that_is_stopped_resumed_and_computes_blocks_twice_ends_with_the_same_bits(tmp_path, pairs, monkeypatch, kind):
    train_autoencoder(config_of(tmp_path / "whole", kind), pairs, resume=False)

    def due(run, what):
        if run.steps_done == 4 and what == "save":
            raise KeyboardInterrupt                          # a step after the state was saved
        return whole(run, what)

    whole = Run.due
    monkeypatch.setattr(Run, "due", due)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(config_of(tmp_path / "parts", kind), pairs, resume=False)
    monkeypatch.setattr(Run, "due", whole)
    train_autoencoder(config_of(tmp_path / "parts", kind), pairs, resume=True)
    ours, theirs = (load_file(tmp_path / name / "run" / "autoencoder" / "state.safetensors") for name in ("parts", "whole"))
    assert ours.keys() == theirs.keys() and {"discriminator.last.weight", "d.m.last.weight"} <= ours.keys()
    assert ("code_used" in ours) == (kind == "vq")
    for name in ours:
        assert np.array_equal(ours[name].view(np.uint8), theirs[name].view(np.uint8)), name
    lines = (tmp_path / "whole" / "run" / "autoencoder" / "log.jsonl").read_text()
    for name in ("val_psnr", "d_real", "adversarial", *(("val_codes", "codes_used") if kind == "vq" else ("kl",))):
        assert f'"{name}"' in lines, name


def test_codes_that_are_not_used_are_placed_on_latents_and_the_others_stay(rng):
    codebook = rng.standard_normal((8, 3)).astype(np.float32)
    state = AutoencoderState({CODEBOOK: jt.array(codebook)}, AutoencoderStage(ema=0.9), codes=8)
    state.optimizer.m[CODEBOOK] = jt.ones((8, 3)).stop_grad()
    state.notice(np.array([1, 5, 5]))
    latents = 100 + rng.standard_normal((20, 3)).astype(np.float32)
    state.revive(latents, rng)
    kept = np.isin(np.arange(8), (1, 5))
    for var in (state.parameters[CODEBOOK], state.ema.average[CODEBOOK]):
        np.testing.assert_array_equal(var.numpy()[kept], codebook[kept])
        assert (abs(var.numpy()[~kept] - 100) < 5).all()
    assert (state.optimizer.m[CODEBOOK].numpy() == kept[:, None]).all() and not state.code_used.any()
    assert not state.parameters[CODEBOOK].is_stop_grad() and state.ema.average[CODEBOOK].is_stop_grad()

