"""Intervals and verdicts in simulated studies, where the truth is known. Fixed seeds throughout."""

import numpy as np
import pytest

from tests.evaluation.simulated_studies import (
    QUESTIONS,
    REGIMES,
    SEEDS,
    bootstrap_coverage,
    coverage,
    false_verdicts,
)


def test_intervals_cover_what_they_promise() -> None:
    held = {
        (num_seeds, num_questions): coverage(num_seeds, num_questions, 25).mean(axis=0)
        for num_seeds in SEEDS
        for num_questions in QUESTIONS
    }
    difference, accuracy = np.mean(list(held.values()), axis=0)
    assert 0.93 <= difference <= 0.97
    assert 0.93 <= accuracy <= 0.98
    # 275 studies a cell: one standard error is 1.3 points.
    assert all(0.92 <= min(each) for each in held.values())


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", SEEDS)
@pytest.mark.parametrize("num_questions", [40, 600])
def test_no_regime_is_covered_too_rarely(num_seeds: int, num_questions: int) -> None:
    held = coverage(num_seeds, num_questions, 300, seed=7)
    # 300 studies a regime: one standard error is 1.3 points, and 22 shares are looked at.
    assert held.min() >= 0.905
    assert 0.94 <= held[:, 0].mean() <= 0.99


def test_two_seeds_cover_too_much_rather_than_too_little() -> None:
    assert coverage(2, 40, 60)[:, 0].mean() >= 0.97
    assert coverage(2, 200, 60)[:, 0].mean() >= 0.97


def test_the_plain_bootstrap_would_cover_too_rarely_where_seeds_matter() -> None:
    (far_apart,) = (regime for regime in REGIMES if regime.name == "seeds far apart")
    assert bootstrap_coverage(3, 200, 150, regimes=[far_apart])[0] < 0.9
    assert coverage(3, 200, 300, regimes=[far_apart])[0, 0] > 0.93


@pytest.mark.parametrize("num_seeds", [3, 5])
def test_verdicts_on_equal_methods_are_rarely_false(num_seeds: int) -> None:
    _, anywhere = false_verdicts(num_seeds, 200, 120)
    # The bound is 5 %; ten of 120 would happen by chance in 8 of 100 such tests at that bound.
    assert anywhere <= 10 / 120


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [3, 10])
def test_verdicts_on_equal_methods_are_false_at_most_once_in_twenty(num_seeds: int) -> None:
    headline, anywhere = false_verdicts(num_seeds, 600, 450, seed=7)
    # One standard error at 5 % is one point.
    assert headline <= anywhere <= 0.065
