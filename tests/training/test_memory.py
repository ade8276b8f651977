from configs.schema import Config
from models.unet import UNet
from runtime.backend import jt
from tests.helpers import TINY_UNET
from training import memory


def config(**options):
    """A config of the tiny network on images of 48 x 64."""
    found = Config()
    found.unet, found.data.height, found.data.width = TINY_UNET, 48, 64
    for name, value in options.items():
        setattr(found.train if name in ("checkpointing", "precision") else found.train.unet, name, value)
    return found


def test_what_is_needed_grows_with_the_rows_that_are_computed_at_once():
    model = UNet(TINY_UNET)
    need = lambda way="none", processes=1, **options: memory.needed(config(batch_size=8, **options), model, way, processes)
    assert need() > need(processes=2) and need() > need("blocks") and need(precision="bfloat16") < need()
    assert need(more_ema=[0.9]) > need()
    assert not jt.flags.no_grad


def test_auto_computes_blocks_again_only_where_the_plain_network_would_not_fit(monkeypatch):
    model = UNet(TINY_UNET)
    auto = config(checkpointing="auto")
    for there, expected in ((1e12, False), (1e6, True)):
        monkeypatch.setattr(memory, "memory", lambda: there)
        assert memory.checkpoints(auto, model) is expected
        assert memory.checkpoints(config(checkpointing="blocks"), model) and not memory.checkpoints(config(), model)
    assert "will not fit" in memory.cost(config(), model) and "train.checkpointing=blocks" in memory.cost(config(), model)
