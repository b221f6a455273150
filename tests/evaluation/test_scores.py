"""Intervals of answers that are clustered by question."""

import math

import numpy as np
import pytest

from otr.evaluation.scores import clustered_interval, score, scores_of
from otr.evaluation.statistics import wilson_interval


def test_the_interval_is_that_of_clustered_standard_errors_where_there_are_many_questions() -> None:
    random = np.random.default_rng(0)
    chance_Q = random.beta(2, 2, 20_000)
    correct = random.random((20_000, 4)) < chance_Q[:, None]
    # Formula (4) of arXiv:2411.00640, over all pairs of answers to one question.
    centred = correct - correct.mean()
    squared = (centred.sum(axis=1) ** 2).sum() / correct.size**2
    low, high = clustered_interval(correct.tolist())
    assert (high - low) / 2 == pytest.approx(1.959964 * math.sqrt(squared), rel=1e-3)
    assert (high + low) / 2 == pytest.approx(correct.mean(), abs=1e-4)


@pytest.mark.parametrize("spread", [0.3, 2.0, 50.0])
def test_the_interval_covers_the_true_accuracy_and_that_of_independent_answers_does_not(
    spread: float,
) -> None:
    """Chances of questions from nearly 0 or 1 to nearly all alike, around 60 %."""
    random = np.random.default_rng(1)
    num_studies, num_questions, k = 1500, 50, 6
    covered = naive = 0
    for _ in range(num_studies):
        chance_Q = random.beta(0.6 * spread, 0.4 * spread, num_questions)
        correct = (random.random((num_questions, k)) < chance_Q[:, None]).tolist()
        low, high = clustered_interval(correct)
        covered += low <= 0.6 <= high
        low, high = wilson_interval(float(np.mean(correct)), num_questions * k)
        naive += low <= 0.6 <= high
    # Three standard errors of 1,500 studies are 1.7 points.
    assert covered / num_studies == pytest.approx(0.95, abs=0.02)
    if spread < 10:
        assert naive / num_studies < 0.87


def test_one_answer_a_question_has_wilsons_interval_and_equal_answers_do_not_count_twice() -> None:
    single = [[True]] * 7 + [[False]] * 5
    assert score(single)["interval_95"] == list(wilson_interval(7 / 12, 12))
    doubled = clustered_interval([answers * 4 for answers in single])
    assert doubled == pytest.approx(wilson_interval(7 / 12, 11))
    assert clustered_interval([[True] * 4] * 9) == wilson_interval(1.0, 9)
    # Less spread than independent answers would have cannot claim more of them than there are.
    assert clustered_interval([[True, False]] * 9) == wilson_interval(0.5, 18)


def test_cut_answers_and_problems_are_counted_and_categories_scored_apart() -> None:
    rows = [
        {
            "benchmark": "some",
            "id": f"some/{number // 2}",
            "category": "ab"[number // 4],
            "correct": number < 3,
            "truncated": number == 7,
            "problem": "timed out" if number > 5 else None,
        }
        for number in range(8)
    ]
    scores = scores_of(rows)
    assert (scores["accuracy"], scores["n"]) == (3 / 8, 4)
    assert scores["num_truncated"] == 1
    assert scores["problems"] == {"timed out": 2}
    assert scores["pass_at_k"] == {"1": 3 / 8, "2": 0.5}
    assert {name: part["accuracy"] for name, part in scores["categories"].items()} == {
        "a": 3 / 4,
        "b": 0.0,
    }
