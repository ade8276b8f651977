"""evaluation/metrics/total.py: Eq. (8) gives the paper's tables, and T exists only when its four parts do."""
import pytest

from evaluation.metrics.total import Measured, total, total_score

# Tables 1 and 2 of the paper: M, A, FID, S and T.
ROWS = {"SEAN": (76.03, 47.72, 75.36, 68.38, 35.82), "SCGAN": (87.74, 49.14, 56.13, 30.66, 45.06),
        "GauGAN": (89.54, 49.59, 43.39, 54.42, 54.96), "CLADE": (92.09, 50.98, 40.63, 48.14, 57.18),
        "DM": (91.01, 49.12, 35.41, 27.90, 55.79), "I2I": (93.76, 49.61, 32.98, 62.68, 63.60),
        "I2I, RF": (94.57, 50.43, 30.63, 49.24, 63.51), "I2I, RF, CT": (94.11, 49.78, 31.38, 66.03, 65.09)}
IIDM = (94.15, 50.43, 30.75, 63.76, 65.27)


@pytest.mark.parametrize("name", ROWS)
def test_eq_8_gives_the_row_of_the_paper(name):
    *parts, t = ROWS[name]
    assert total_score(*parts) == pytest.approx(t, abs=0.01)


def test_the_papers_row_iidm_is_0_05_above_eq_8():
    *parts, t = IIDM
    assert total_score(*parts) == pytest.approx(65.2224, abs=1e-4)
    assert t - total_score(*parts) == pytest.approx(0.0476, abs=1e-4)


def test_a_fid_above_100_counts_as_100():
    assert total_score(80, 50, 250, 20) == total_score(80, 50, 100, 20) == pytest.approx(0.8 * (10 + 18))
    assert total_score(80, 50, 99, 20) == pytest.approx(0.8 * 28.5)


def test_the_best_scores_give_100_and_m_0_gives_0():
    assert total_score(100, 100, 0, 100) == pytest.approx(100)
    assert total_score(0, 100, 0, 100) == 0
    assert total_score(100, 0, 100, -100) == 0


@pytest.mark.parametrize("parts, name", [
    ((101, 50, 30, 60), "M 101"), ((-1, 50, 30, 60), "M -1"), ((90, 101, 30, 60), "A 101"), ((90, 50, -1e-9, 60), "FID -1e-09"),
    ((90, 50, 30, -101), "S -101"), ((90, float("nan"), 30, 60), "A nan"), ((90, 50, float("nan"), 60), "FID nan")])
def test_a_part_outside_of_its_range_is_an_error(parts, name):
    with pytest.raises(ValueError, match=f"found {name}, expected percent"):
        total_score(*parts)


FOUR = {"m": Measured(94.15), "a": Measured(50.43), "fid": Measured(30.75), "s": Measured(63.76)}


def test_t_of_four_measured_parts_is_eq_8():
    assert total(**FOUR) == Measured(total_score(94.15, 50.43, 30.75, 63.76))


@pytest.mark.parametrize("part", FOUR)
def test_without_one_part_there_is_no_t_and_the_reason_names_it(part):
    found = total(**{**FOUR, part: Measured(reason="no weights were given")})
    assert found == Measured(reason=f"{part.upper()} is not measured")


def test_a_stand_in_is_no_part_of_t():
    found = total(**{**FOUR, "m": Measured(82.5, stand_in="deeplab-mnv2"), "a": Measured(reason="no weights")})
    assert found == Measured(reason="M is by deeplab-mnv2, A is not measured")


def test_scores_are_shown_with_what_they_are():
    assert str(Measured(94.149)) == "94.15"
    assert str(Measured(82.5, stand_in="deeplab-mnv2")) == "82.50 (by deeplab-mnv2, not comparable)"
    assert str(Measured(reason="no weights")) == "not measured: no weights"


@pytest.mark.parametrize("values", [{}, {"value": 3.0, "reason": "none"}])
def test_a_score_is_a_value_or_a_reason(values):
    with pytest.raises(ValueError, match="expected one of the two"):
        Measured(**values)


def test_0_is_a_value():
    assert Measured(0.0).counts and str(Measured(0.0)) == "0.00"
