"""Intervals against published numbers and scipy."""

import math

import pytest
from scipy import stats

from otr.evaluation.scores import pass_at_k, score
from otr.evaluation.statistics import (
    mean_estimate,
    paired_difference,
    rejected_by_holm,
    wilson_interval,
)


def test_the_wilson_interval_is_the_published_one() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3.
    for right, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson_interval(right / n, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [1, 7, 40, 1319])
def test_the_wilson_interval_agrees_with_scipy_on_whole_counts(n: int) -> None:
    for right in {0, 1, n // 3, n - 1, n}:
        expected = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert wilson_interval(right / n, n) == pytest.approx(
            (expected.low, expected.high), abs=1e-12
        )


def test_benchmarks_have_the_half_widths_users_are_told_to_expect() -> None:
    for n, widest in [(40, 0.148), (164, 0.0756), (1319, 0.0269)]:
        low, high = wilson_interval(0.5, n)
        assert (high - low) / 2 == pytest.approx(widest, abs=0.001)


def test_the_t_interval_is_the_textbook_one() -> None:
    # Student's (1908) sleep data, the second drug: n 10, mean 2.33, s 2.002, t(9) 2.262.
    hours = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    estimate = mean_estimate(hours)
    assert estimate.mean == pytest.approx(2.33)
    assert estimate.half_width == pytest.approx(2.262 * 2.002 / math.sqrt(10), abs=2e-3)
    assert estimate.distinguishable


def test_the_paired_difference_is_the_textbook_one() -> None:
    # Student's sleep data again: paired t 4.0621 on 9 degrees of freedom, p 0.002833,
    # interval 0.70 to 2.46.
    first = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
    second = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))
    estimate = paired_difference(second, first)
    assert estimate is not None and estimate.half_width is not None
    assert estimate.mean == pytest.approx(1.58)
    assert estimate.p_value == pytest.approx(0.002833, abs=1e-6)
    assert estimate.mean - estimate.half_width == pytest.approx(0.7001142, abs=1e-6)
    assert estimate.mean + estimate.half_width == pytest.approx(2.4598858, abs=1e-6)


def test_pairs_are_made_by_seed_and_the_rest_left_out() -> None:
    estimate = paired_difference({2: 0.9, 1: 0.5, 7: 0.0}, {1: 0.4, 2: 0.6, 3: 1.0})
    assert estimate is not None
    assert estimate.values == pytest.approx((0.1, 0.3))
    assert paired_difference({1: 0.5}, {2: 0.5}) is None


def test_one_run_has_no_interval_and_no_verdict() -> None:
    estimate = mean_estimate([0.7])
    assert (estimate.mean, estimate.half_width) == (0.7, None)
    assert not estimate.distinguishable
    difference = paired_difference({0: 0.9}, {0: 0.1})
    assert difference is not None and difference.p_value is None
    assert not difference.distinguishable


def test_seeds_that_agree_by_chance_are_not_certainty() -> None:
    estimate = paired_difference(
        {0: 0.995, 1: 0.995, 2: 0.995}, {0: 0.99, 1: 0.99, 2: 0.99}, grain=0.005
    )
    assert estimate is not None and estimate.half_width == 0.005
    same = paired_difference({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5}, grain=0.01)
    assert same is not None and same.p_value == 1.0 and not same.distinguishable


def test_holm_rejects_what_the_textbook_example_rejects() -> None:
    # Four tests at 5 %: 0.005 <= 0.05/4 and 0.01 <= 0.05/3, but 0.03 > 0.05/2 ends it.
    p_values = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert rejected_by_holm(p_values) == ["d", "a"]
    assert rejected_by_holm({"a": 0.04}) == ["a"]
    assert rejected_by_holm({}) == []


def test_pass_at_k_is_the_chance_that_a_drawn_subset_holds_a_right_answer() -> None:
    from itertools import combinations

    for n in range(1, 7):
        for c in range(n + 1):
            answers = [True] * c + [False] * (n - c)
            for k in range(1, n + 1):
                subsets = list(combinations(answers, k))
                expected = sum(map(any, subsets)) / len(subsets)
                assert pass_at_k(n, c, k) == pytest.approx(expected)


def test_scores_of_sampled_answers() -> None:
    scores = score([[True, False, False], [True, True, True]])
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["n"] == 2
    assert scores["avg_at_k"] == {"3": pytest.approx(2 / 3)}
    assert scores["pass_at_k"] == {
        "1": pytest.approx(2 / 3),
        "2": pytest.approx((2 / 3 + 1) / 2),
        "3": 1.0,
    }


def test_scores_of_single_answers_say_no_more_than_accuracy() -> None:
    scores = score([[True], [False], [True], [True]])
    assert scores == {"accuracy": 0.75, "n": 4, "interval_95": list(wilson_interval(0.75, 4))}
