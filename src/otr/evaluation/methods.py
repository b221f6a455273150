"""What one method's runs say: scores, change from the untuned model, tested differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from otr.evaluation.scored_run import Answered, ScoredRun
from otr.evaluation.statistics import Difference, Estimate, holm, paired_difference
from otr.evaluation.sweep import Sweep, accuracy_of, matrices_of
from otr.evaluation.variance import LEVEL
from otr.evaluation.verdicts import verdict, with_failures

GROUPS = ("in_domain", "out_of_domain", "retention")
HEADLINE, TRANSFER, _ = GROUPS

_HEADLINE_SHARE = 0.8
"""The headline's share of a method's 5 %, where there is something else to test."""


@dataclass(frozen=True, kw_only=True)
class TestedDifference:
    """A paired difference to the first method, corrected for how many benchmarks there are."""

    difference: Difference

    p_holm: float

    verdict: str

    @property
    def distinguishable(self) -> bool:
        """Whether there is a difference at 5 %, over all of the method's benchmarks; never so from one
        run each, which says nothing of other seeds."""
        return self.difference.num_seeds > 1 and self.p_holm <= LEVEL

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return self.difference.estimate.as_json() | {
            "p_value": self.difference.p_value,
            "p_holm": self.p_holm,
            "distinguishable": self.distinguishable,
            "questions_needed": self.difference.questions_needed,
            "seeds_needed": self.difference.seeds_needed,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """One method at the learning rate that validation chose for it. Shares, not percent."""

    sweep: Sweep

    learning_rates: tuple[dict[str, Any], ...]
    """Of each rate with a finished run: num_seeds, validation and accuracy by benchmark."""

    scores: dict[str, Estimate]
    """By group and benchmark."""

    cut: dict[str, float]
    """By group and benchmark, the share of answers that were cut off; without those not known."""

    change: dict[str, Estimate]
    """Minus the untuned model; empty if it was not given."""

    difference: dict[str, TestedDifference]
    """Minus the first method, over the seeds in common; empty for the first, or without any."""

    @property
    def label(self) -> str:
        """Its name, with the options that tell it from others."""
        return self.sweep.label

    def as_json(self) -> dict[str, Any]:
        """An entry of results.json's `methods`."""
        return {
            "label": self.label,
            "objective": self.sweep.objective,
            "learning_rate": self.sweep.learning_rate,
            "at_edge": self.sweep.at_edge,
            "learning_rates": list(self.learning_rates),
            "runs": [run.name for run in self.sweep.kept],
            "scores": {name: each.as_json() for name, each in self.scores.items()},
            "cut": self.cut,
            "change": {name: each.as_json() for name, each in self.change.items()},
            "difference": {name: each.as_json() for name, each in self.difference.items()},
            "cost": _mean_cost(self.sweep.kept),
        }


def keys_of(benchmarks: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What scores are given for, and the benchmarks each is the mean of: groups, benchmarks."""
    groups = {group: names for group, names in benchmarks.items() if names}
    return groups | {name: (name,) for names in groups.values() for name in names}


def side_keys(benchmarks: dict[str, tuple[str, ...]]) -> list[str]:
    """What is tested besides the headline, without benchmarks that are alone in their group."""
    groups = [group for group, names in benchmarks.items() if names and group != HEADLINE]
    alone = {names[0] for names in benchmarks.values() if len(names) == 1}
    names = [name for group in benchmarks.values() for name in group]
    return groups + [name for name in dict.fromkeys(names) if name not in alone]


def result_of(
    sweep: Sweep,
    first: Sweep,
    groups: dict[str, tuple[str, ...]],
    validation: str,
    untuned: dict[str, Answered],
) -> MethodResult:
    """What a method's runs say, beside those of the first method and the untuned model."""
    keys = keys_of(groups) if sweep.kept else {}
    benchmarks = dict.fromkeys(name for names in groups.values() for name in names)
    return MethodResult(
        sweep=sweep,
        learning_rates=tuple(
            {
                "learning_rate": rate,
                "num_seeds": len(runs),
                "validation": accuracy_of(runs, [validation]).as_json(),
                "accuracy": {name: accuracy_of(runs, [name]).as_json() for name in benchmarks},
            }
            for rate, runs in sweep.runs.items()
        ),
        scores={key: accuracy_of(sweep.kept, names) for key, names in keys.items()},
        cut={
            key: share
            for key, names in keys.items()
            if (share := cut_share([run.answered for run in sweep.kept], names)) is not None
        },
        change={
            key: _change(sweep.kept, names, untuned)
            for key, names in keys.items()
            if all(name in untuned for name in names)
        },
        difference={} if sweep is first else _differences(sweep, first, groups),
    )


def cut_share(
    answered: Sequence[Mapping[str, Answered]], benchmarks: Sequence[str]
) -> float | None:
    """The mean share of answers that were cut off, over runs and benchmarks; None where one is not
    known."""
    shares = [each[name].cut if name in each else None for each in answered for name in benchmarks]
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known and len(known) == len(shares) else None


def _change(
    runs: Sequence[ScoredRun], names: tuple[str, ...], untuned: dict[str, Answered]
) -> Estimate:
    """Accuracy minus that of the untuned model, paired by question."""
    values = matrices_of(runs, names)
    before = [
        np.broadcast_to(untuned[name].as_array(), matrix.shape)
        for name, matrix in zip(names, values, strict=True)
    ]
    return paired_difference([run.seed for run in runs], values, before).estimate


def _differences(
    sweep: Sweep, first: Sweep, groups: dict[str, tuple[str, ...]]
) -> dict[str, TestedDifference]:
    """Minus the first method, paired by seed and question; empty if they share no seed."""
    seeds = sorted({run.seed for run in sweep.kept} & {run.seed for run in first.kept})
    if not seeds:
        return {}
    own, other = ([run for run in each.kept if run.seed in seeds] for each in (sweep, first))
    found = {
        key: paired_difference(seeds, matrices_of(own, names), matrices_of(other, names))
        for key, names in keys_of(groups).items()
    }
    sides = side_keys(groups)
    weights = {key: (1 - _HEADLINE_SHARE) / len(sides) for key in sides}
    weights[HEADLINE] = _HEADLINE_SHARE if sides else 1.0
    p_holm = holm({key: found[key].p_value for key in weights}, weights)
    # A benchmark that is alone in its group is the same test as the group.
    for group, names in groups.items():
        if len(names) == 1:
            p_holm.setdefault(names[0], p_holm[group])
    # What is left undecided would have to be told apart at its own share of the 5 %.
    for group, names in groups.items():
        if len(names) == 1:
            weights.setdefault(names[0], weights[group])
    for key, each in found.items():
        if p_holm[key] > LEVEL:
            found[key] = each.needing(LEVEL * weights[key])
    return {
        key: TestedDifference(
            difference=difference,
            p_holm=p_holm[key],
            verdict=with_failures(
                verdict(sweep.label, first.label, difference, distinguishable=p_holm[key] <= LEVEL),
                sweep,
            ),
        )
        for key, difference in found.items()
    }


def _mean_cost(runs: Sequence[ScoredRun]) -> dict[str, float | None] | None:
    costs = [run.cost for run in runs if run.cost]
    if not costs:
        return None
    means: dict[str, float | None] = {}
    for field in ("seconds", "tokens_per_second", "peak_memory_mb", "head_share"):
        values = [cost[field] for cost in costs if cost.get(field) is not None]
        means[field] = float(np.mean(values)) if values else None
    return means
