"""Comparing objectives: evaluated run folders in, estimates and paired differences out."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from otr.errors import UserError
from otr.evaluation.statistics import (
    Estimate,
    mean_estimate,
    paired_difference,
    rejected_by_holm,
)
from otr.runs import CONFIG, SCORES, read_json

Scores = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """What a comparison needs to know of one run folder."""

    folder: Path
    objective: dict[str, Any]
    learning_rate: float
    seed: int
    scores: Scores
    """scores.json: by benchmark, each with `accuracy` and `n`."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveResult:
    """One objective at the learning rate that validation chose for it. Shares, not percent."""

    label: str
    """Its name in capitals, with the options that tell it from others of that name."""

    objective: dict[str, Any]

    learning_rate: float

    validation: dict[float, float]
    """Mean validation accuracy of each learning rate tried."""

    seeds: tuple[int, ...]

    accuracy: dict[str, Estimate]
    """By benchmark, over seeds."""

    change: dict[str, Estimate]
    """By benchmark, accuracy minus that of the untuned model; empty if it was not given."""

    difference: dict[str, Estimate | None]
    """By benchmark, paired by seed, minus the first objective; empty for the first itself."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Objectives compared under one regime: the same model, data and budget."""

    name: str
    """The regime's."""

    benchmarks: tuple[str, ...]
    """Compared benchmarks; the first is the one verdicts speak of."""

    untuned: dict[str, float]
    """Accuracy of the untuned model by benchmark, where known."""

    objectives: tuple[ObjectiveResult, ...]
    """The first is the one others are compared with."""

    def verdicts(self) -> list[str]:
        """For each objective after the first, in words: ahead, behind or not distinguishable."""
        first = self.objectives[0].label
        return [
            verdict(other.label, first, other.difference[self.benchmarks[0]])
            for other in self.objectives[1:]
        ]

    def side_verdicts(self) -> list[str]:
        """The same for the other benchmarks, but only what can be told apart.

        By an objective's paired t tests on them, at 5 % after Holm's correction for their number.
        """
        first, found = self.objectives[0].label, []
        for other in self.objectives[1:]:
            differences = {name: other.difference[name] for name in self.benchmarks[1:]}
            p_values = {
                name: difference.p_value
                for name, difference in differences.items()
                if difference is not None and difference.p_value is not None
            }
            found += [
                f"{name}: {verdict(other.label, first, differences[name])}"
                for name in rejected_by_holm(p_values)
                if (difference := differences[name]) is not None and difference.distinguishable
            ]
        return found

    def as_json(self) -> dict[str, Any]:
        """The whole comparison as plain values, with its verdicts."""
        return dataclasses.asdict(self) | {
            "verdicts": self.verdicts(),
            "side_verdicts": self.side_verdicts(),
        }


def read_run(folder: Path) -> ScoredRun:
    """The configuration and scores of an evaluated run folder.

    Raises: UserError if either file is missing, broken or lacks a field.
    """
    path = folder / CONFIG
    try:
        config = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        return ScoredRun(
            folder=folder,
            objective=dict(config["objective"]),
            learning_rate=float(config["training"]["learning_rate"]),
            seed=int(config["seed"]),
            scores=read_json(folder / SCORES),
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, so {folder} is not a run folder") from None
    except YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: needs objective, training.learning_rate and seed; missing: {error}"
        ) from None


def compare(
    name: str,
    runs: list[ScoredRun],
    *,
    benchmarks: list[str],
    validation: str,
    untuned: Scores | None = None,
) -> Comparison:
    """Compare the objectives of some runs that differ in objective, learning rate and seed only.

    For each objective the learning rate with the highest mean accuracy on `validation` is kept
    (the lower one of equals); `benchmarks` have no say in it. Objectives come in the order of
    their first run.

    Raises: UserError if there are no runs, two of them are the same, a score is missing, or
    scores stand on different numbers of questions.
    """
    if not runs:
        raise UserError(f"{name}: there are no runs to compare")
    _check(runs, [*benchmarks, validation])
    untuned_accuracy = {
        benchmark: untuned[benchmark]["accuracy"]
        for benchmark in benchmarks
        if untuned is not None and benchmark in untuned
    }
    labels = _labels([run.objective for run in runs])
    chosen = {
        label: _best_learning_rate(
            [run for run, other in zip(runs, labels, strict=True) if other == label], validation
        )
        for label in dict.fromkeys(labels)
    }
    first = next(iter(chosen.values()))[0]
    return Comparison(
        name=name,
        benchmarks=tuple(benchmarks),
        untuned=untuned_accuracy,
        objectives=tuple(
            _result(label, kept, tried, benchmarks, untuned_accuracy, first)
            for label, (kept, tried) in chosen.items()
        ),
    )


def _result(
    label: str,
    kept: list[ScoredRun],
    tried: dict[float, float],
    benchmarks: list[str],
    untuned: dict[str, float],
    first: list[ScoredRun],
) -> ObjectiveResult:
    grains = {benchmark: 1 / kept[0].scores[benchmark]["n"] for benchmark in benchmarks}
    accuracies = {benchmark: _by_seed(kept, benchmark) for benchmark in benchmarks}
    return ObjectiveResult(
        label=label,
        objective=kept[0].objective,
        learning_rate=kept[0].learning_rate,
        validation=tried,
        seeds=tuple(run.seed for run in kept),
        accuracy={
            benchmark: mean_estimate(list(values.values()), grain=grains[benchmark])
            for benchmark, values in accuracies.items()
        },
        change={
            benchmark: mean_estimate(
                [value - untuned[benchmark] for value in values.values()],
                grain=grains[benchmark],
            )
            for benchmark, values in accuracies.items()
            if benchmark in untuned
        },
        difference={}
        if kept is first
        else {
            benchmark: paired_difference(
                values, _by_seed(first, benchmark), grain=grains[benchmark]
            )
            for benchmark, values in accuracies.items()
        },
    )


def _by_seed(runs: list[ScoredRun], benchmark: str) -> dict[int, float]:
    return {run.seed: run.scores[benchmark]["accuracy"] for run in runs}


def _best_learning_rate(
    runs: list[ScoredRun], validation: str
) -> tuple[list[ScoredRun], dict[float, float]]:
    """The runs, by seed, of the best learning rate, and every rate's validation accuracy."""
    by_rate: dict[float, list[ScoredRun]] = {}
    for run in sorted(runs, key=lambda run: (run.learning_rate, run.seed)):
        by_rate.setdefault(run.learning_rate, []).append(run)
    tried = {
        rate: mean_estimate(list(_by_seed(group, validation).values())).mean
        for rate, group in by_rate.items()
    }
    # The first of equals is the lowest rate, as they are in rising order.
    return by_rate[max(tried, key=tried.__getitem__)], tried


def _labels(objectives: list[dict[str, Any]]) -> list[str]:
    """A label for each objective: its name, and where names are shared, what tells them apart."""
    labels = []
    for objective in objectives:
        same_name = [other for other in objectives if other["name"] == objective["name"]]
        differing = sorted(
            option
            for option in set().union(*same_name)
            if any(other.get(option) != objective.get(option) for other in same_name)
        )
        options = ", ".join(f"{option}={objective.get(option)}" for option in differing)
        labels.append(str(objective["name"]).upper() + (f" ({options})" if options else ""))
    return labels


def _check(runs: list[ScoredRun], benchmarks: list[str]) -> None:
    """Every run has every score, on as many questions as the others, and no run is there twice."""
    seen: dict[str, Path] = {}
    for run in runs:
        key = str((sorted(run.objective.items(), key=str), run.learning_rate, run.seed))
        if key in seen:
            raise UserError(
                f"{seen[key]} and {run.folder} have the same objective, learning rate and seed; "
                "leave one out"
            )
        seen[key] = run.folder
        for benchmark in benchmarks:
            if benchmark not in run.scores:
                raise UserError(
                    f"{run.folder}/{SCORES}: has no {benchmark!r}; "
                    f"otr eval {run.folder} --benchmark {benchmark}"
                )
            n, expected = run.scores[benchmark]["n"], runs[0].scores[benchmark]["n"]
            if n != expected:
                raise UserError(
                    f"{benchmark}: {run.folder} was scored on {n} questions, "
                    f"{runs[0].folder} on {expected}; evaluate both with the same --limit"
                )


def verdict(label: str, reference: str, difference: Estimate | None) -> str:
    """A paired difference of accuracies in words, in percentage points."""
    if difference is None:
        return f"{label} and {reference} have no seed in common: no verdict"
    points = 100 * difference.mean
    if difference.half_width is None:
        return f"{label} and {reference}: {points:+.1f} points in one run each: no verdict"
    width = f"{100 * difference.half_width:.1f} points"
    if not difference.distinguishable:
        return f"{label} and {reference} are not distinguishable: {points:+.1f} ± {width}"
    direction = "ahead of" if points > 0 else "behind"
    return f"{label} {direction} {reference} by {abs(points):.1f} ± {width}"
