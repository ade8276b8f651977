"""evaluation/metrics/aesthetic.py: mean and spread of distributions that are known."""
import numpy as np
import pytest

from evaluation.metrics.aesthetic import aesthetic_score, mean_and_spread


def test_mean_and_spread_are_those_of_the_marks_people_gave(rng):
    people = rng.integers(1, 11, (3, 500))
    shares = np.stack([np.bincount(marks, minlength=11)[1:] / 500 for marks in people])
    mean, spread = mean_and_spread(shares)
    np.testing.assert_allclose(mean, people.mean(1), rtol=1e-12)
    np.testing.assert_allclose(spread, people.std(1), rtol=1e-12)


@pytest.mark.parametrize("marks, mean, spread", [({1: 1}, 1, 0), ({10: 1}, 10, 0), ({1: 0.5, 10: 0.5}, 5.5, 4.5)])
def test_the_first_share_is_of_mark_1_and_the_last_of_10(marks, mean, spread):
    shares = [marks.get(mark, 0) for mark in range(1, 11)]
    assert mean_and_spread(shares) == (pytest.approx(mean), pytest.approx(spread))


def test_a_is_ten_times_the_mean_mark():
    assert aesthetic_score([4.0, 5.0, 6.5]) == pytest.approx(51.666666666)


def test_a_in_percent_gives_the_published_total_of_the_rule_of_2022():
    # M (A / 2 + (100 - FID) / 2) with the marks as published: 0.8334, 5.0361, 37.9765 and 0.4683
    assert 0.8334 * (aesthetic_score([5.0361]) + 100 - 37.9765) / 200 == pytest.approx(0.4683, abs=5e-5)


@pytest.mark.parametrize("shares", [np.full(10, 0.2), np.full(9, 1 / 9), 0.1, [1.1, -0.1] + 8 * [0], [np.nan] + 9 * [0.1]])
def test_what_is_no_distribution_is_an_error(shares):
    with pytest.raises(ValueError, match="aesthetic score: found"):
        mean_and_spread(shares)


@pytest.mark.parametrize("means", [[], [0.5, 5], [50.4], [np.nan]])
def test_marks_outside_of_1_to_10_are_an_error(means):
    with pytest.raises(ValueError, match="expected the mean mark"):
        aesthetic_score(means)
