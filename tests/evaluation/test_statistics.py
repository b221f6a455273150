"""Estimates and tests against published numbers, scipy and statsmodels."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from otr.evaluation import statistics
from otr.evaluation.scores import pass_at_k, score
from otr.evaluation.statistics import (
    accuracy_estimate,
    holm,
    paired_difference,
    wilson_interval,
)
from otr.evaluation.variance import variance_of
from tests.evaluation.simulated_studies import REGIMES, bootstrap_means, draw


def paired(better: int, worse: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One run each, [1, n]: `better` questions that only the first got right, `worse` the other."""
    first, second = np.zeros((1, n)), np.zeros((1, n))
    first[0, :better] = 1
    second[0, better : better + worse] = 1
    return first, second


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


def test_one_seed_has_wilsons_interval_also_for_shares() -> None:
    values = np.array([[1.0, 0.5, 0.0, 1.0, 0.25]])
    estimate = accuracy_estimate([3], [values])
    assert estimate.mean == pytest.approx(0.55)
    assert estimate.interval_95 == pytest.approx(wilson_interval(0.55, 5))
    assert (estimate.n, estimate.by_seed) == (5, {3: pytest.approx(0.55)})


def test_for_one_seed_the_test_is_mcnemars_exact_one() -> None:
    # Siegel (1956), Nonparametric Statistics, the sign test's first example: of 17 couples 11
    # differ one way, 3 the other, 3 not at all; one-tailed p 0.029.
    first, second = paired(11, 3, 17)
    assert paired_difference([0], [first], [second]).p_value / 2 == pytest.approx(0.029, abs=5e-4)
    from statsmodels.stats.contingency_tables import mcnemar

    for better, worse in [(0, 0), (1, 0), (6, 0), (12, 5), (40, 61)]:
        first, second = paired(better, worse, 120)
        expected = mcnemar([[0, better], [worse, 0]], exact=True)
        found = paired_difference([0], [first], [second]).p_value
        assert found == pytest.approx(float(expected.pvalue))  # type: ignore[attr-defined]


def test_the_exact_interval_is_clopper_and_pearsons() -> None:
    for better, worse in [(1, 0), (0, 6), (12, 5), (40, 61)]:
        first, second = paired(better, worse, 120)
        _, found = statistics._mcnemar((first - second)[0])
        chance = stats.binomtest(better, better + worse).proportion_ci(method="exact")
        share = (better + worse) / 120
        assert found == pytest.approx([(2 * end - 1) * share for end in chance])


def test_the_interval_of_one_seed_each_is_the_textbook_one_where_many_questions_differ() -> None:
    # Agresti, Categorical Data Analysis, approval ratings of 1,600 people asked twice: 86 came
    # to approve, 150 ceased to; difference -0.04, standard error 0.0095, interval -0.06 to -0.02.
    first, second = paired(86, 150, 1600)
    difference = paired_difference([0], [first], [second])
    assert difference.estimate.mean == pytest.approx(-0.04)
    assert difference.estimate.interval_95 == pytest.approx((-0.06, -0.02), abs=5e-3)
    variance = variance_of([first - second], smoothed=False)
    assert math.sqrt(variance.questions) == pytest.approx(0.0095, abs=1e-4)


def test_the_interval_leaves_out_0_where_mcnemars_test_rejects_and_only_there() -> None:
    for n in (40, 300):
        for better in range(21):
            for worse in range(better + 1):
                if better + worse <= n:
                    first, second = paired(better, worse, n)
                    found = paired_difference([0], [first], [second])
                    low, high = found.estimate.interval_95
                    assert (low > 0 or high < 0) == (found.p_value <= 0.05)


def test_the_questions_part_is_the_standard_error_of_paired_differences() -> None:
    # arXiv:2411.00640: the standard error of the mean of paired differences d over n questions
    # is sqrt(sum (d - mean)² / (n - 1) / n).
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(1, 50))
    variance = variance_of([differences], smoothed=False)
    assert math.sqrt(variance.questions) == pytest.approx(stats.sem(differences[0]))


def test_where_questions_do_not_matter_the_interval_is_students() -> None:
    # Student's sleep data, in tens of hours: paired t 4.0621 on 9 degrees of freedom, p 0.002833,
    # interval 0.70 to 2.46.
    first = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]) / 10
    second = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]) / 10
    values = [np.repeat(each[:, None], 4000, axis=1) for each in (second, first)]
    found = paired_difference(range(10), [values[0]], [values[1]])
    assert found.estimate.mean == pytest.approx(0.158)
    assert found.p_value == pytest.approx(0.002833, abs=1e-5)
    assert found.estimate.interval_95 == pytest.approx((0.07001, 0.24599), abs=1e-4)


def test_the_parts_are_what_the_bootstrap_of_seeds_and_questions_sees() -> None:
    # Drawing both with replacement, a mean varies by each part's plain (biased) variance.
    rng = np.random.default_rng(0)
    first, second, _, _ = draw(rng, REGIMES[4], 5, 80)
    differences = first - second
    parts = variance_of([differences], smoothed=False)
    expected = parts.seeds * 4 / 5 + parts.questions * 79 / 80 + parts.rest * 4 / 5 * 79 / 80
    assert bootstrap_means(rng, differences, 40_000).var() == pytest.approx(expected, rel=0.03)


def test_the_p_value_and_the_interval_agree() -> None:
    rng = np.random.default_rng(1)
    outcomes = []
    for index in range(300):
        first, second, _, _ = draw(rng, REGIMES[index % 2], 2 + index % 4, 60)
        found = paired_difference(range(2 + index % 4), [first], [second])
        low, high = found.estimate.interval_95
        outcomes.append(low > 0 or high < 0)
        assert outcomes[-1] == (found.p_value <= 0.05)
    assert any(outcomes) and not all(outcomes)


def test_a_mean_over_benchmarks_has_its_seeds_in_common() -> None:
    # Two copies of a benchmark as if they were two: seeds say what one copy says, questions more.
    rng = np.random.default_rng(2)
    first, second, _, _ = draw(rng, REGIMES[0], 4, 100)
    one = variance_of([first - second], smoothed=True)
    two = variance_of([first - second, first - second], smoothed=True)
    assert two.seeds == pytest.approx(one.seeds)
    assert two.questions == pytest.approx(one.questions / 2)
    found = paired_difference(range(4), [first, first[:, :50]], [second, second[:, :50]])
    whole, half = (first - second).mean(), (first - second)[:, :50].mean()
    assert found.estimate.mean == pytest.approx((whole + half) / 2)
    assert found.estimate.n == 150


@pytest.mark.parametrize("num_seeds", [1, 2, 3, 10])
def test_identical_runs_are_not_told_apart(num_seeds: int) -> None:
    values = (np.arange(num_seeds * 50).reshape(num_seeds, 50) % 3 > 0).astype(float)
    found = paired_difference(range(num_seeds), [values], [values])
    low, high = found.estimate.interval_95
    assert found.p_value == 1.0 and found.estimate.mean == 0
    assert low < 0 < high and high < 0.06
    assert (found.questions_needed, found.seeds_needed) == (None, None)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_seeds_that_agree_by_chance_are_not_certainty(num_seeds: int) -> None:
    # One and the same question of 200 differs, in all seeds: their spread is 0.
    first, second = np.ones((num_seeds, 200)), np.ones((num_seeds, 200))
    second[:, 7] = 0
    found = paired_difference(range(num_seeds), [first], [second])
    assert found.estimate.mean == pytest.approx(0.005)
    assert found.p_value > 0.05


@pytest.mark.parametrize("num_seeds", [1, 2, 5])
def test_one_question_says_next_to_nothing(num_seeds: int) -> None:
    first, second = np.ones((num_seeds, 1)), np.zeros((num_seeds, 1))
    found = paired_difference(range(num_seeds), [first], [second])
    assert found.estimate.interval_95[0] < 0.05 and found.p_value > 0.05
    low, high = accuracy_estimate(range(num_seeds), [first]).interval_95
    assert low < 0.25 and high == 1.0


def test_the_questions_needed_give_the_power_that_they_promise() -> None:
    # One question in nine differs more than the other way round: by the normal approximation
    # (1.96 + 0.84)² · variance / difference² questions.
    first, second = paired(21, 12, 300)
    found = paired_difference([0], [first], [second])
    assert found.p_value > 0.05 and found.seeds_needed is None
    assert found.questions_needed is not None
    variance = 300 * variance_of([first - second], smoothed=True).questions
    assert found.questions_needed == math.ceil((1.959964 + 0.841621) ** 2 * variance / 0.03**2)
    rng = np.random.default_rng(3)
    told = 0
    for _ in range(300):
        better, worse, _ = rng.multinomial(found.questions_needed, [0.07, 0.04, 0.89])
        told += stats.binomtest(int(better), int(better + worse)).pvalue <= 0.05
    assert 0.70 <= told / 300 <= 0.90


def test_where_seeds_differ_too_much_seeds_are_needed() -> None:
    # The difference is +30, +5 and -5 points in the three seeds, on very many questions.
    rng = np.random.default_rng(4)
    first = (rng.random((3, 5000)) < np.array([[0.8], [0.55], [0.45]])).astype(float)
    second = (rng.random((3, 5000)) < 0.5).astype(float)
    found = paired_difference(range(3), [first], [second])
    assert found.questions_needed is None
    assert found.seeds_needed is not None and 10 <= found.seeds_needed <= 40


def test_holm_adjusts_as_the_textbook_does() -> None:
    # Four tests at 5 %: 0.005 <= 0.05/4 and 0.01 <= 0.05/3, but 0.03 > 0.05/2 ends it.
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({}) == {}


def test_holm_is_statsmodels_holm() -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(5)
    for size in (1, 2, 9):
        p_values = {str(index): float(p) for index, p in enumerate(rng.random(size) ** 3)}
        expected = np.asarray(multipletests(list(p_values.values()), method="holm")[1])
        assert list(holm(p_values).values()) == pytest.approx(expected.tolist())


def test_weights_divide_what_holm_may_spend() -> None:
    weights = {"main": 0.8, "side": 0.1, "other": 0.1}
    alone = holm({"main": 0.03, "side": 0.9, "other": 0.9}, weights)
    assert alone["main"] == pytest.approx(0.03 / 0.8) and alone["side"] == 1.0
    # Once the main one is rejected, the others share the whole.
    passed_on = holm({"main": 0.001, "side": 0.02, "other": 0.9}, weights)
    assert passed_on["side"] == pytest.approx(0.02 / 0.1 * 0.2)


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
