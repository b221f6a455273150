"""Where the uncertainty of a mean over training seeds and questions comes from."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

from otr.formats import LEVEL

Matrix = NDArray[np.float64]
"""A value for each answer: [seeds, questions]."""

_POWER = 0.8
_MOST_QUESTIONS = 1_000_000
_MOST_SEEDS = 1_000
_SMALLEST_P = 1e-15


@dataclass(frozen=True, kw_only=True)
class Variance:
    """The variance of a mean of S × Q values, in parts.

    value[s, q] = mean + a[s] + b[q] + e[s, q],  with variances A, B and E

    Each part is estimated from mean squares. A mean over G benchmarks has the seeds in common and
    questions of its own in each: `seeds` is of the seeds' means over benchmarks, the others are
    sums over benchmarks / G².
    """

    seeds: float
    """A/S + E/SQ: the seeds' means differ by this; 0 for one seed."""

    questions: float
    """B/Q + E/SQ: the questions' means differ by this."""

    rest: float
    """E/SQ, which is in both of the others; 0 for one seed, where it cannot be told from B."""

    least: float
    """What questions contribute at the very least, so that agreement by chance is not certainty."""

    num_seeds: int

    num_questions: int

    def half_width(self, level: float = LEVEL) -> float:
        """Half of the interval with coverage 1 - level.

        √(t² seeds + z² max(questions - rest, least)),  t with S - 1 degrees of freedom

        The squares of two half-widths are added, that of seeds and that of questions (Howe 1974;
        Zou and Donner 2008): a t quantile for all of it would be too wide where questions
        dominate, a normal one too narrow where seeds do. For one seed there is no part of seeds.
        Two seeds agree by chance too often, so there the interval is never narrower than
        z √questions, the one of these very runs.
        """
        z = -float(ndtri(level / 2))
        squared = z * z * max(self.questions - self.rest, self.least)
        if self.num_seeds > 1:
            t = -float(stdtrit(self.num_seeds - 1, level / 2))
            squared += t * t * self.seeds
        if self.num_seeds == 2:
            squared = max(squared, z * z * self.questions)
        return math.sqrt(squared)

    def p_value(self, mean: float) -> float:
        """The level at which the interval around `mean` just reaches 0."""
        if abs(mean) >= self.half_width(_SMALLEST_P):
            return _SMALLEST_P
        if mean == 0:
            return 1.0
        logarithm = brentq(
            lambda x: self.half_width(math.exp(x)) - abs(mean), math.log(_SMALLEST_P), 0.0
        )
        return math.exp(float(logarithm))  # type: ignore[arg-type]

    def needed(self, mean: float, level: float = LEVEL) -> tuple[int | None, int | None]:
        """How many questions, or else seeds, or both, would tell a true difference of `mean`.

        At that level, with 80 % power, all parts being what they are estimated to be here: the smallest
        numbers for which |mean| ≥ √((t + t₈₀)² seeds + (z + z₈₀)² questions). Questions where
        they suffice, seeds where the spread of seeds alone is too large, and both, an equal share
        each, where neither suffices. (None, None) for a mean of 0, and beyond a million questions
        or a thousand seeds.
        """
        allowed = mean * mean
        own = max(self.seeds - self.rest, 0.0)
        of_questions = _reach(None, level) * max(self.questions - self.rest, self.least)
        if allowed == 0:
            return None, None
        if self.num_seeds == 1:
            return self._questions(of_questions / allowed), None
        reach = _reach(self.num_seeds, level)
        if reach * own < allowed:
            factor = (reach * self.rest + of_questions) / (allowed - reach * own)
            questions = self._questions(factor)
            if questions is not None:
                return questions, None
        if of_questions < allowed:
            return None, self._seeds(allowed - of_questions, own + self.rest, level)
        questions = self._questions(2 * of_questions / allowed)
        seeds = self._seeds(allowed / 2, own + self.rest, level)
        return (None, None) if questions is None or seeds is None else (questions, seeds)

    def _questions(self, factor: float) -> int | None:
        """So many times the questions there are, but more than those."""
        if factor * self.num_questions > _MOST_QUESTIONS:
            return None
        return max(math.ceil(factor * self.num_questions), self.num_questions + 1)

    def _seeds(self, allowed: float, variance: float, level: float) -> int | None:
        """The smallest number of seeds whose part is as small as allowed."""

        def is_small(number: int) -> bool:
            return _reach(number, level) * variance * self.num_seeds / number <= allowed

        # More seeds make it smaller, always.
        numbers = range(self.num_seeds + 1, _MOST_SEEDS + 1)
        place = bisect_left(numbers, True, key=is_small)
        return numbers[place] if place < len(numbers) else None


def _reach(num_seeds: int | None, level: float) -> float:
    """The square of how many standard errors a difference must have; None for the normal one."""
    if num_seeds is None:
        return float(ndtri(1 - level / 2) + ndtri(_POWER)) ** 2
    degrees = num_seeds - 1
    return float(stdtrit(degrees, 1 - level / 2) + stdtrit(degrees, _POWER)) ** 2


def variance_of(matrices: Sequence[Matrix], *, smoothed: bool) -> Variance:
    """The variance of the mean over benchmarks of the means of their matrices [seeds, questions].

    `smoothed` adds two questions to each benchmark, one that speaks for either side as strongly
    as a typical one does: for one seed this is the interval of Bonett and Price (2012) for paired
    shares, which also holds where hardly a question differs.
    """
    num_seeds, num_benchmarks = matrices[0].shape[0], len(matrices)
    assert all(matrix.shape[0] == num_seeds and matrix.shape[1] > 0 for matrix in matrices)
    by_seed = np.mean([matrix.mean(axis=1) for matrix in matrices], axis=0)
    parts = np.sum([_question_parts(matrix, smoothed) for matrix in matrices], axis=0)
    questions, rest, least = (float(part) / num_benchmarks**2 for part in parts)
    return Variance(
        seeds=float(by_seed.var(ddof=1)) / num_seeds if num_seeds > 1 else 0.0,
        questions=questions,
        rest=rest,
        least=least,
        num_seeds=num_seeds,
        num_questions=sum(matrix.shape[1] for matrix in matrices),
    )


def _question_parts(matrix: Matrix, smoothed: bool) -> tuple[float, float, float]:
    """Of one benchmark: `questions`, `rest` and `least`."""
    num_seeds, num_questions = matrix.shape
    by_question = matrix.mean(axis=0)
    rest = 0.0
    if num_seeds > 1 and num_questions > 1:
        residual = matrix - matrix.mean(axis=1, keepdims=True) - by_question + matrix.mean()
        degrees = (num_seeds - 1) * (num_questions - 1)
        rest = float((residual**2).sum()) / degrees / matrix.size
    if not smoothed:
        spread = float(by_question.var(ddof=1)) if num_questions > 1 else 0.0
        return spread / num_questions, rest, 0.0
    squares, size = float((by_question**2).sum()), float(np.abs(by_question).sum())
    typical = squares / size if size > 0 else 1.0
    total, least = float(by_question.sum()), 2 * typical**2
    spread = squares + least - total**2 / (num_questions + 2)
    return spread / (num_questions + 2) ** 2, rest, least / (num_questions + 2) ** 2
