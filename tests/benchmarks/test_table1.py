"""Table 1: its rows, what a generator costs, and how it is printed."""
import pytest

from baselines.config import GeneratorConfig
from baselines.networks import build_generator
from benchmarks.gan_flops import generator_flops
from benchmarks.table1 import markdown, rows_of
from runtime.errors import UserError


@pytest.mark.parametrize("options, gflop", [({}, 865.3), ({"family": "clade"}, 252.8)])
def test_a_full_size_image_costs_what_was_counted_in_the_authors_code(options, gflop):
    generator = build_generator(GeneratorConfig(**options))
    assert generator_flops(generator, (384, 512)) / 1e9 == pytest.approx(gflop, abs=0.05)


def test_seans_style_maps_cost_a_twentieth_of_the_published_convolutions():
    published = 2054.4 + 18.2 - 127.2                      # of 29 classes, without the encoder
    ours = generator_flops(build_generator(GeneratorConfig(family="sean")), (384, 512)) / 1e9
    assert ours == pytest.approx(published - 1079.9 * (1 - 29 / 512), rel=0.01)


def test_rows_are_names_and_files(tmp_path):
    (tmp_path / "a").touch()
    assert rows_of([f"GauGAN={tmp_path / 'a'}"]) == {"GauGAN": str(tmp_path / "a")}
    with pytest.raises(UserError, match="twice"):
        rows_of([f"A={tmp_path / 'a'}", f"A={tmp_path / 'a'}"])
    with pytest.raises(UserError, match="expected NAME=CHECKPOINT"):
        rows_of([str(tmp_path / "a")])


def test_the_table_has_the_papers_figures_beside_ours():
    score = lambda value: {"value": value, "reason": None if value else "no weights"}
    row = {"name": "GauGAN", "folder": "", "n": 3, **{name: score(None) for name in ("M", "A", "FID", "T")},
           "M(own-segformer)": score(71.5), "S": score(40.0)}
    text = markdown({"rows": [row]}, {"GauGAN": {"parameters": 92838339, "GFLOP": 865.3, "seconds": None}})
    line = next(line for line in text.splitlines() if line.startswith("| GauGAN"))
    assert line == ("| GauGAN | - | 71.50 | - | - | 40.00 | - | 92,838,339 | 865.3 | - | 89.54, 49.59, 43.39, 54.42, 54.96 |")
    assert "M not measured: no weights" in text
