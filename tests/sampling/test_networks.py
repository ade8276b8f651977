"""What test.py loads, without running a network of any size."""
import numpy as np
import pytest

from configs.reading import config_dict
from configs.schema import Config
from runtime.backend import jt
from sampling.networks import contradictions, in_parts, rows_at_once


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_a_network_in_parts_sees_so_many_images_at_most_and_answers_alike(rows):
    seen = []

    def double(x, plus):
        seen.append(x.shape[0])
        return 2 * x + plus

    x = np.arange(7 * 6, dtype=np.float32).reshape(7, 6)
    np.testing.assert_array_equal(in_parts(double, rows)(jt.array(x), plus=1).numpy(), 2 * x + 1)
    assert max(seen) <= rows and sum(seen) == 7


def test_more_memory_takes_more_images_and_at_least_one_goes():
    config = Config()
    found = [rows_at_once(config.autoencoder, config.data, gigabytes) for gigabytes in (0, 1.3, 6.1)]
    assert found == [1, 2, 10]


@pytest.mark.parametrize("text, free, words", [
    ("unet: {channels: 64}", (), ["unet.channels is 64, the checkpoint has 256"]),
    ("data: {height: 96, cache: elsewhere}", (), ["data.height is 96"]),
    ("data: {height: 96}", ("data",), []),
    ("autoencoder: {path: other.safetensors}", (), []),
    ("diffusion: {timesteps: 1000}", (), [])])
def test_a_yaml_beside_a_checkpoint_contradicts_it_only_where_it_names_something_else(text, free, words, tmp_path):
    from configs.reading import load_config
    path = tmp_path / "c.yaml"
    path.write_text(text)
    theirs = config_dict(load_config(path, whole=False))
    found = contradictions(path, theirs, config_dict(Config()), free)
    assert len(found) == len(words) and all(part in line for part, line in zip(words, found))
