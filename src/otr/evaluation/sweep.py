"""A method's runs over learning rates and seeds, and the rate that validation chooses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from otr.evaluation.scored_run import ScoredRun
from otr.evaluation.statistics import Estimate, accuracy_estimate
from otr.evaluation.variance import Matrix


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One method's runs at every learning rate, and which rate is kept."""

    label: str

    objective: dict[str, Any]

    runs: dict[float, tuple[ScoredRun, ...]]
    """Finished runs by rate, rates rising, by seed."""

    failed: dict[float, tuple[int, ...]]
    """Seeds of failed runs by rate."""

    learning_rate: float | None
    """The kept one; None if every run failed."""

    skipped: tuple[float, ...]
    """Rates that were not considered because some of their seeds are missing."""

    all_alike: bool
    """Whether several rates were considered and have the same mean accuracy on validation."""

    @property
    def kept(self) -> tuple[ScoredRun, ...]:
        """The runs of the kept rate."""
        return () if self.learning_rate is None else self.runs[self.learning_rate]

    @property
    def num_failed(self) -> int:
        """Failed runs at the kept rate; at all of them if none is kept."""
        if self.learning_rate is None:
            return sum(map(len, self.failed.values()))
        return len(self.failed.get(self.learning_rate, ()))

    @property
    def at_edge(self) -> bool:
        """Whether the kept rate is the lowest or highest of several tried."""
        tried = sorted(self.runs.keys() | self.failed.keys())
        return len(tried) > 1 and self.learning_rate in (tried[0], tried[-1])


def sweep_of(
    label: str,
    objective: dict[str, Any],
    runs: Sequence[ScoredRun],
    failed: Sequence[dict[str, Any]],
    validation: str,
) -> Sweep:
    """Keep the rate with the highest mean accuracy on validation; of equals the lower one.

    Rates that lack a seed have no say if another has all: a mean over the seeds that happened to
    finish is not comparable. If every rate lacks one, those that lack the fewest are considered.
    """
    by_rate: dict[float, list[ScoredRun]] = {}
    for run in sorted(runs, key=lambda run: (run.learning_rate, run.seed)):
        by_rate.setdefault(run.learning_rate, []).append(run)
    lost: dict[float, list[int]] = {}
    for entry in failed:
        lost.setdefault(float(entry["learning_rate"]), []).append(entry["seed"])
    most = max(map(len, by_rate.values()), default=0)
    considered = [rate for rate, group in by_rate.items() if len(group) == most]
    # The first of equals is the lowest rate, as they are in rising order.
    means = {
        rate: float(np.mean([run.answered[validation].accuracy for run in by_rate[rate]]))
        for rate in considered
    }
    return Sweep(
        label=label,
        objective=objective,
        runs={rate: tuple(group) for rate, group in by_rate.items()},
        failed={rate: tuple(sorted(seeds)) for rate, seeds in sorted(lost.items())},
        learning_rate=max(means, key=means.__getitem__, default=None),
        skipped=tuple(rate for rate in by_rate if rate not in considered),
        all_alike=len(means) > 1 and len(set(means.values())) == 1,
    )


def matrices_of(runs: Sequence[ScoredRun], benchmarks: Sequence[str]) -> list[Matrix]:
    """A matrix [seeds, questions] a benchmark, rows in the order of the runs."""
    return [np.stack([run.answered[name].as_array() for run in runs]) for name in benchmarks]


def accuracy_of(runs: Sequence[ScoredRun], benchmarks: Sequence[str]) -> Estimate:
    """The accuracy of a method from its runs, over one benchmark or the mean over several."""
    return accuracy_estimate([run.seed for run in runs], matrices_of(runs, benchmarks))
