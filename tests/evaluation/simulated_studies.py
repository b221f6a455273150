"""Studies with a known truth: what intervals cover, and how often verdicts are false.

`python -m tests.evaluation.simulated_studies` prints the tables of docs/statistics.md.

    logit P(method m with seed s is right on question q)
        = ability_m + question_q + method_question_mq + seed_ms + rest_msq

All terms but ability are normal, fresh in every study; half of the variance of seed_ms is common
to both methods, as they see the same data in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from otr.evaluation.comparison import compare
from otr.evaluation.methods import HEADLINE
from otr.evaluation.scored_run import Answered, ScoredRun
from otr.evaluation.statistics import accuracy_estimate, paired_difference

Array = NDArray[np.float64]

SEEDS, QUESTIONS = (1, 3, 5, 10), (40, 200, 600)


@dataclass(frozen=True, kw_only=True)
class Regime:
    """Where the answers' variation comes from, in logits."""

    name: str
    ability: float
    advantage: float = 0.0
    """How much better the first method is."""
    question: float = 1.5
    method_question: float = 0.5
    seed: float = 0.15
    rest: float = 0.5


REGIMES = (
    Regime(name="80 % right", ability=1.8),
    Regime(name="80 % right, a difference", ability=1.8, advantage=0.4),
    Regime(name="half right", ability=0.0, method_question=0.7, seed=0.2),
    Regime(name="seeds alike", ability=1.8, method_question=0.7, seed=0.0),
    Regime(name="seeds far apart", ability=1.0, advantage=0.3, question=1.0, seed=0.5),
    Regime(name="questions alike", ability=1.0, question=0, method_question=0, seed=0.2, rest=0),
    Regime(name="coins", ability=1.0, question=0, method_question=0, seed=0, rest=0),
    Regime(name="questions far apart", ability=1.0, question=4.0, method_question=2.0, seed=0.2),
    Regime(name="97 % right", ability=4.2, question=1.0, seed=0.2, rest=0.3),
    Regime(name="97 and 94 % right", ability=3.6, advantage=0.8, question=1.0, seed=0.2),
    Regime(name="99 % right", ability=5.0, question=0.5, method_question=0.2, seed=0, rest=0),
)


def draw(
    rng: np.random.Generator, regime: Regime, num_seeds: int, num_questions: int
) -> tuple[Array, Array, float, float]:
    """Answers of both methods [seeds, questions], the true difference, the second's accuracy.

    The truth is over new seeds and questions; for one seed over new questions only.
    """
    common = rng.normal(size=(num_seeds, 1))
    question = rng.normal(size=num_questions) * regime.question
    answers, truths = [], []
    for ability in (regime.ability + regime.advantage, regime.ability):
        own = rng.normal(size=(num_seeds, 1))
        seed = regime.seed * np.sqrt(0.5) * (common + own)
        logits = ability + question + seed
        logits = logits + rng.normal(size=num_questions) * regime.method_question
        logits = logits + rng.normal(size=(num_seeds, num_questions)) * regime.rest
        answers.append((rng.random(logits.shape) < expit(logits)).astype(np.float64))
        spread = [regime.question, regime.method_question, regime.rest]
        if num_seeds == 1:
            truths.append(_mean_share(ability + float(seed[0, 0]), spread))
        else:
            truths.append(_mean_share(ability, [*spread, regime.seed]))
    return answers[0], answers[1], truths[0] - truths[1], truths[1]


def _mean_share(mean: float, spreads: list[float]) -> float:
    """The mean of expit of a normal variable, by Gauss and Hermite."""
    points, weights = _nodes()
    return float((expit(mean + np.hypot.reduce(spreads) * points) * weights).sum() / weights.sum())


@lru_cache
def _nodes() -> tuple[Array, Array]:
    return np.polynomial.hermite_e.hermegauss(61)


def coverage(
    num_seeds: int,
    num_questions: int,
    num_studies: int,
    *,
    seed: int = 0,
    regimes: Sequence[Regime] = REGIMES,
) -> Array:
    """In each regime, how often the intervals of the difference and of the accuracy hold the truth.

    [regimes, 2]
    """
    rng = np.random.default_rng([seed, num_seeds, num_questions])
    seeds, rows = range(num_seeds), []
    for regime in regimes:
        hits = []
        for _ in range(num_studies):
            first, second, difference, accuracy = draw(rng, regime, num_seeds, num_questions)
            paired = paired_difference(seeds, [first], [second]).estimate.interval_95
            own = accuracy_estimate(seeds, [second]).interval_95
            hits.append((_holds(paired, difference), _holds(own, accuracy)))
        rows.append(np.mean(hits, axis=0))
    return np.array(rows)


def bootstrap_coverage(
    num_seeds: int, num_questions: int, num_studies: int, *, regimes: Sequence[Regime] = REGIMES
) -> Array:
    """The same for the percentile bootstrap of the difference that draws seeds and questions."""
    rng = np.random.default_rng([1, num_seeds, num_questions])
    covered = []
    for regime in regimes:
        hits = []
        for _ in range(num_studies):
            first, second, difference, _ = draw(rng, regime, num_seeds, num_questions)
            means = bootstrap_means(rng, first - second, 400)
            low, high = np.quantile(means, [0.025, 0.975])
            hits.append(_holds((float(low), float(high)), difference))
        covered.append(np.mean(hits))
    return np.array(covered)


def bootstrap_means(rng: np.random.Generator, differences: Array, num_draws: int) -> Array:
    """Means of samples that draw seeds and questions with replacement, independently (Owen 2007)."""
    num_seeds, num_questions = differences.shape
    rows = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_draws)
    columns = rng.multinomial(
        num_questions, np.full(num_questions, 1 / num_questions), size=num_draws
    )
    return ((rows @ differences) * columns).sum(axis=1) / differences.size


def _holds(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] - 1e-12 <= truth <= interval[1] + 1e-12


BENCHMARKS = {
    "in_domain": ["trained"],
    "out_of_domain": ["longer", "phrasing"],
    "retention": ["kept"],
}


def false_verdicts(
    num_seeds: int,
    num_questions: int,
    num_studies: int,
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """How many null studies have a false in-domain verdict, and how many have any false verdict.

    Two methods that differ in nothing but chance, on four benchmarks, through `compare`; regimes
    in turn.
    """
    rng = np.random.default_rng([seed, num_seeds, num_questions, 2])
    headline, anywhere = 0, 0
    for index in range(num_studies):
        regime = REGIMES[index % len(REGIMES)]
        while regime.advantage:
            regime = REGIMES[rng.integers(len(REGIMES))]
        told = null_study(rng, regime, num_seeds, num_questions)
        headline += HEADLINE in told
        anywhere += bool(told)
    return headline / num_studies, anywhere / num_studies


def null_study(
    rng: np.random.Generator, regime: Regime, num_seeds: int, num_questions: int
) -> list[str]:
    """The groups and benchmarks on which a study tells two methods apart that are equally good."""
    names = [name for group in BENCHMARKS.values() for name in group]
    drawn = {name: draw(rng, regime, num_seeds, num_questions)[:2] for name in names}
    runs = [
        ScoredRun(
            run=f"{method}-{seed}",
            objective={"name": method},
            learning_rate=1e-4,
            seed=seed,
            answered={name: Answered(correct=tuple(drawn[name][which][seed])) for name in names}
            | {"validation": Answered(correct=(1.0,))},
        )
        for which, method in enumerate(("first", "second"))
        for seed in range(num_seeds)
    ]
    comparison = compare(
        "null",
        "Null",
        runs,
        model="none",
        budget={},
        benchmarks=BENCHMARKS,
        validation="validation",
    )
    differences = comparison.methods[1].difference
    return [key for key, each in differences.items() if each.distinguishable]


def main() -> None:
    """Print the tables of docs/statistics.md."""
    print("coverage of the difference's interval: mean, lowest, highest regime; bootstrap's mean")
    for num_seeds in (1, 2, *SEEDS[1:]):
        for num_questions in QUESTIONS:
            held = 100 * coverage(num_seeds, num_questions, 1000)
            plain = 100 * bootstrap_coverage(num_seeds, num_questions, 200)
            difference, accuracy = held.T
            print(
                f"{num_seeds:2} {num_questions:3}: {difference.mean():.1f} "
                f"({difference.min():.1f} to {difference.max():.1f}); accuracy "
                f"{accuracy.mean():.1f} ({accuracy.min():.1f} to {accuracy.max():.1f}); "
                f"bootstrap {plain.mean():.1f} ({plain.min():.1f} to {plain.max():.1f})",
                flush=True,
            )
    print("null studies with a false in-domain verdict, with any false verdict, percent")
    for num_seeds in (2, *SEEDS[1:]):
        for num_questions in QUESTIONS:
            headline, anywhere = false_verdicts(num_seeds, num_questions, 1000)
            print(
                f"{num_seeds:2} {num_questions:3}: {100 * headline:.1f} {100 * anywhere:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
