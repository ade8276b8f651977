"""benchmarks/ablation.py: the rows of Table 2."""
from benchmarks.ablation import PAPER, markdown, sampling_of
from configs.reading import config_dict, config_from, load_config

WHOLE = config_dict(load_config("iidm"))["sampling"]


def rounds_of(name):
    """A row's sampling section, as the schema reads it."""
    return config_from({"sampling": sampling_of(name, WHOLE)}).sampling


def test_each_row_adds_one_part_to_the_row_above():
    dm, i2i, rf, ct, me = map(rounds_of, ("DM", "I2I", "+RF", "+CT", "+ME"))
    assert [len(row.rounds) for row in (dm, i2i, rf, ct, me)] == [1, 1, 3, 3, 3]
    assert dm.rounds[0].from_noise and (dm.rounds[0].t_start, dm.rounds[0].steps) == (998, 500) and dm.rounds[0].guidance == 3.5
    assert not any(round_.from_noise for row in (i2i, rf, ct) for round_ in row.rounds)
    assert i2i.rounds == rf.rounds[:1] and rf.rounds == ct.rounds and ct == me
    assert [row.colour_transfer for row in (dm, i2i, rf, ct)] == ["none", "none", "none", "cielab8"]


def test_the_table_names_stand_ins_and_says_why_a_score_is_missing():
    no = lambda reason: {"value": None, "reason": reason}
    row = {"n": 7, "M": no("no --segformer"), "M(deeplab-mnv2)": {"value": 51.234, "reason": None}, "A": no("no --nima"),
           "FID": no("no --inception"), "S": {"value": 60.0, "reason": None}, "T": no("M, A and FID are missing")}
    text = markdown({"rows": [{"name": "DM", **row}, {"name": "I2I", **row}]})
    assert "| | M | M(deeplab-mnv2) | A | FID | S | T | the paper's M, A, FID, S, T |" in text
    assert "| DM | - | 51.23 | - | - | 60.00 | - | 91.01, 49.12, 35.41, 27.90, 55.79 |" in text
    assert "7 masks. A not measured: no --nima; FID not measured: no --inception; M not measured: no --segformer" in text


def test_the_papers_figures_agree_with_its_eq_8_but_for_the_last_row():
    for name, (m, a, fid, s, t) in PAPER.items():
        total = m / 100 * (0.2 * a + 0.3 * (s * 0.5 + 50) + 0.5 * (100 - fid))
        assert (abs(total - t) < 0.01) == (name != "+ME"), (name, total, t)
