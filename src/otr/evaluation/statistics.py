"""Estimates, paired differences and their tests, over training seeds and questions.

Values come as matrices [seeds, questions], one a benchmark: the share of a question's answers that
are right. Several matrices stand for the unweighted mean over benchmarks; they have their seeds in
common. Intervals are 95 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import bdtr, betaincinv, ndtri

from otr.evaluation.variance import LEVEL, Matrix, Variance, variance_of


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds and questions with its interval."""

    mean: float

    interval_95: tuple[float, float]

    n: int
    """The number of questions."""

    by_seed: dict[int, float]
    """The mean of each seed."""

    def as_json(self) -> dict[str, Any]:
        """Plain values, seeds as texts."""
        return {
            "mean": self.mean,
            "interval_95": list(self.interval_95),
            "n": self.n,
            "by_seed": {str(seed): mean for seed, mean in self.by_seed.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired difference of two methods, and how many questions or seeds would tell it apart."""

    estimate: Estimate

    p_value: float
    """Two-sided, of the expected difference being 0; agrees with the interval at 5 %."""

    questions_needed: int | None

    seeds_needed: int | None

    variance: Variance

    @property
    def num_seeds(self) -> int:
        """How many runs of each method were paired."""
        return len(self.estimate.by_seed)

    def needing(self, level: float) -> "Difference":
        """The same with how many questions or seeds would tell it apart at that level."""
        questions, seeds = self.variance.needed(self.estimate.mean, level)
        return replace(self, questions_needed=questions, seeds_needed=seeds)


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """The Wilson score interval of a share observed on n questions.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n),  z the normal quantile

    For whole counts it is scipy's `binomtest(…).proportion_ci(method="wilson")`; the share need
    not be a whole count here, because it may be a mean over several answers a question, and n may
    be the number of independent questions that would say as much.
    """
    assert n > 0 and 0 <= share <= 1
    z = float(ndtri(1 - LEVEL / 2))
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if share == 0 else low, 1.0 if share == 1 else high)


def accuracy_estimate(seeds: Sequence[int], values: Sequence[Matrix]) -> Estimate:
    """The expected accuracy of a method over new seeds and new questions.

    For one seed: that of this run over new questions, with Wilson's interval. For several:
    Wilson's interval for the effective number of questions p(1 - p) / v, where √v is the half
    width of `Variance` in standard errors; never more than seeds × questions, and the number of
    questions where all answers are right, or none.
    """
    mean, by_seed = _means(seeds, values)
    variance = variance_of(values, smoothed=False)
    # What a benchmark of one kind would have; the questions themselves for a single benchmark.
    num_questions = len(values) ** 2 / sum(1 / matrix.shape[1] for matrix in values)
    effective = num_questions
    if (len(seeds) > 1 or len(values) > 1) and 0 < mean < 1:
        squared = (variance.half_width() / float(ndtri(1 - LEVEL / 2))) ** 2
        most = num_questions * len(seeds)
        effective = min(most, mean * (1 - mean) / squared) if squared > 0 else most
    return Estimate(
        mean=mean,
        interval_95=wilson_interval(mean, effective),
        n=variance.num_questions,
        by_seed=by_seed,
    )


def paired_difference(
    seeds: Sequence[int], values: Sequence[Matrix], reference: Sequence[Matrix]
) -> Difference:
    """The expected difference, value minus reference, over new seeds and new questions.

    Both have the same seeds (rows) and questions (columns), so only what differs between the two
    counts. The interval is mean ± `Variance.half_width`, the p-value the level at which it
    reaches 0. For one seed each it is about these two runs alone, over new questions; then, for
    answers that are right or wrong, the p-value is the exact one of McNemar's test, and the
    interval the wider of two on either side: Bonett and Price's, and the exact binomial one of
    the questions that only one run got right. It leaves out 0 where the test rejects.

    Where hardly a question differs the interval is too wide rather than too narrow.
    `docs/statistics.md` has its coverage in simulated studies.
    """
    differences = [each - other for each, other in zip(values, reference, strict=True)]
    mean, by_seed = _means(seeds, differences)
    variance = variance_of(differences, smoothed=True)
    half = variance.half_width()
    low, high = mean - half, mean + half
    p_value = variance.p_value(mean)
    if len(seeds) == 1 and len(values) == 1 and _is_binary(values[0], reference[0]):
        p_value, exact = _mcnemar(differences[0][0])
        low, high = min(low, exact[0]), max(high, exact[1])
    questions, more_seeds = (None, None) if p_value <= LEVEL else variance.needed(mean)
    return Difference(
        estimate=Estimate(
            mean=mean,
            interval_95=(max(low, -1.0), min(high, 1.0)),
            n=variance.num_questions,
            by_seed=by_seed,
        ),
        p_value=p_value,
        questions_needed=questions,
        seeds_needed=more_seeds,
        variance=variance,
    )


def _means(seeds: Sequence[int], values: Sequence[Matrix]) -> tuple[float, dict[int, float]]:
    assert len(set(seeds)) == len(seeds) == values[0].shape[0] > 0
    by_seed = np.mean([matrix.mean(axis=1) for matrix in values], axis=0)
    return float(by_seed.mean()), dict(zip(seeds, by_seed.tolist(), strict=True))


def _is_binary(*matrices: Matrix) -> bool:
    return all(bool(np.isin(matrix, (0.0, 1.0)).all()) for matrix in matrices)


def _mcnemar(differences: Matrix) -> tuple[float, tuple[float, float]]:
    """The exact p-value of McNemar's test, and its interval for the mean difference.

    The test asks whether the questions that only one run got right fall to either run with
    chance 1/2; the interval is that chance's exact one (Clopper and Pearson), scaled by the share
    of such questions.
    """
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    if better + worse == 0:
        return 1.0, (0.0, 0.0)
    p_value = min(1.0, 2 * float(bdtr(min(better, worse), better + worse, 0.5)))
    low = betaincinv(better, worse + 1, LEVEL / 2) if better else 0.0
    high = betaincinv(better + 1, worse, 1 - LEVEL / 2) if worse else 1.0
    share = (better + worse) / len(differences)
    return p_value, ((2 * float(low) - 1) * share, (2 * float(high) - 1) * share)


def holm(
    p_values: Mapping[str, float], weights: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The p-values adjusted by Holm's step-down procedure: at most 5 % false rejections in all.

    In the order of p / w, with what is left of the weights:  max over those before of
    p_i / w_i · sum of w_j for j from i on, at most 1. The weights are shares of the 5 %; equal
    ones give the usual procedure. Source: Holm (1979), also for the weights.
    """
    weights = weights or {name: 1.0 for name in p_values}
    order = sorted(p_values, key=lambda name: p_values[name] / weights[name])
    adjusted, largest = {}, 0.0
    for index, name in enumerate(order):
        left = math.fsum(weights[other] for other in order[index:])
        largest = max(largest, min(1.0, p_values[name] / weights[name] * left))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
