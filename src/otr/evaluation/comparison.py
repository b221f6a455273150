"""Comparing methods: scored runs in, estimates, paired differences and verdicts out.

`Comparison.as_json` is results.json; `comparison_from_results` makes the same comparison from it
again, as it holds each run's answers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otr.errors import UserError
from otr.evaluation.labels import labels_of, title_of
from otr.evaluation.methods import (
    GROUPS,
    HEADLINE,
    TRANSFER,
    MethodResult,
    cut_share,
    keys_of,
    result_of,
    side_keys,
)
from otr.evaluation.scored_run import (
    Answered,
    ScoredRun,
    answered_from_row,
    complete_options,
    read_answered,
    read_run,
    run_from_row,
)
from otr.evaluation.sweep import Sweep, sweep_of
from otr.evaluation.verdicts import NO_VERDICT, against_untuned, cut_warnings, warnings_of

__all__ = ["Comparison", "compare", "comparison_from_results", "read_answered", "read_run"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods compared on the same model, data and budget. Shares, not percent."""

    name: str

    title: str

    model: str

    budget: dict[str, Any]

    validation: str

    benchmarks: dict[str, tuple[str, ...]]
    """By group; some may be empty, in_domain is not."""

    untuned: dict[str, Answered]

    methods: tuple[MethodResult, ...]
    """The first is the one others are compared with."""

    failed: tuple[dict[str, Any], ...]
    """Runs without scores: run, label, objective, learning_rate, seed, error."""

    warnings: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Every benchmark once."""
        return list(dict.fromkeys(name for group in self.benchmarks.values() for name in group))

    @property
    def has_one_run_each(self) -> bool:
        """Whether all runs have one and the same seed."""
        return len({run.seed for method in self.methods for run in method.sweep.kept}) == 1

    def verdicts(self) -> list[str]:
        """In words: whether training beats the untuned model, if that was scored; and for each method
        after the first its difference on the in-domain and on the out-of-domain benchmarks. Where each
        has one run, that there is no verdict."""
        if self.has_one_run_each:
            return [NO_VERDICT]
        first = self.methods[0]
        words = self.untuned_verdict()
        return [
            *([] if words is None else [words]),
            *(_headline(method, first) for method in self.methods[1:]),
            *(
                f"{TRANSFER}: {method.difference[TRANSFER].verdict}"
                for method in self.methods[1:]
                if TRANSFER in method.difference
            ),
        ]

    def untuned_verdict(self) -> str | None:
        """Whether any method beats the untuned model in domain; None if that is not known, or from
        one run each."""
        names = self.benchmarks[HEADLINE]
        changes = {each.label: each.change[HEADLINE] for each in self.methods if each.change}
        if self.has_one_run_each or not changes or any(name not in self.untuned for name in names):
            return None
        before = sum(self.untuned[name].accuracy for name in names) / len(names)
        return against_untuned(before, changes)

    def side_verdicts(self) -> list[str]:
        """The same for retention and single benchmarks, but only what can be told apart."""
        return [
            f"{key}: {method.difference[key].verdict}"
            for method in self.methods[1:]
            for key in side_keys(self.benchmarks)
            if key != TRANSFER
            and key in method.difference
            and method.difference[key].distinguishable
        ]

    def untuned_cut(self) -> dict[str, float]:
        """By group and benchmark, the share of the untuned model's answers that were cut off; without
        those not known."""
        keys = keys_of(self.benchmarks)
        shares = {key: cut_share([self.untuned], names) for key, names in keys.items()}
        return {key: share for key, share in shares.items() if share is not None}

    def as_json(self) -> dict[str, Any]:
        """results.json, as plain values."""
        names = [*self.names, self.validation]
        return {
            "format": 1,
            "name": self.name,
            "title": self.title,
            "model": self.model,
            "budget": self.budget,
            "validation": self.validation,
            "benchmarks": {group: list(each) for group, each in self.benchmarks.items()},
            "questions": {name: self._num_questions(name) for name in names},
            "untuned": {name: each.with_interval() for name, each in self.untuned.items()},
            "failed": list(self.failed),
            "methods": [method.as_json() for method in self.methods],
            "untuned_verdict": self.untuned_verdict(),
            "verdicts": self.verdicts(),
            "side_verdicts": self.side_verdicts(),
            "warnings": list(self.warnings),
            "runs": [
                run.as_row(method.label, names)
                for method in self.methods
                for group in method.sweep.runs.values()
                for run in group
            ],
        }

    def _num_questions(self, name: str) -> int:
        answered = [self.untuned[name]] if name in self.untuned else []
        for method in self.methods:
            answered += [run.answered[name] for run in method.sweep.kept]
        return len(answered[0].correct) if answered else 0


def compare(
    name: str,
    title: str | None,
    runs: Sequence[ScoredRun | dict[str, Any]],
    failed: Sequence[dict[str, Any]] = (),
    *,
    model: str,
    budget: dict[str, Any],
    benchmarks: Mapping[str, Sequence[str]],
    validation: str,
    untuned: Mapping[str, Answered | dict[str, Any]] | None = None,
    objectives: Sequence[dict[str, Any]] = (),
) -> Comparison:
    """Compare the methods of some runs that differ in objective, learning rate and seed only.

    Runs and `untuned` are as they are read from folders, or the plain values of results.json.
    `failed` has run, objective, learning_rate, seed and error of each run without scores;
    Without a `title` it says which methods are compared on which model.
    `objectives` are all objectives with all of their options, in the order of the methods (without
    it, the order of their first run, failed ones last). For each method the learning rate with
    the highest mean accuracy on `validation` is kept; `benchmarks` have no say in it.

    Raises: UserError if there are no runs, two of them are the same, a score is missing, or
    runs were scored on different questions.
    """
    groups = {group: tuple(benchmarks.get(group, ())) for group in GROUPS}
    names = list(dict.fromkeys(each for group in groups.values() for each in group))
    if not groups[HEADLINE] or validation in names:
        raise UserError(f"{name}: needs in-domain benchmarks, and {validation!r} not among any")
    scored = [run if isinstance(run, ScoredRun) else run_from_row(run) for run in runs]
    _check(name, scored, [*names, validation])
    given = untuned or {}
    before = {each: _as_answered(given[each]) for each in names if each in given}
    for each in before:
        _check_questions(each, "the untuned model", before, scored[0].run, scored[0].answered)
    failed = [{**entry, "objective": complete_options(entry["objective"])} for entry in failed]
    objectives = [complete_options(objective) for objective in objectives]
    sweeps = _sweeps(scored, failed, objectives, validation)
    methods = tuple(result_of(each, sweeps[0], groups, validation, before) for each in sweeps)
    labels = {_key(sweep.objective): sweep.label for sweep in sweeps}
    return Comparison(
        name=name,
        title=title or title_of([each.label for each in methods], model),
        model=model,
        budget=budget,
        validation=validation,
        benchmarks=groups,
        untuned=before,
        methods=methods,
        failed=tuple(
            {
                "run": entry["run"],
                "label": labels[_key(entry["objective"])],
                "objective": entry["objective"],
                "learning_rate": entry["learning_rate"],
                "seed": entry["seed"],
                "error": entry["error"],
            }
            for entry in failed
        ),
        warnings=(
            *warnings_of(sweeps, sum(bool(each.difference) for each in methods)),
            *cut_warnings({each: _cut(each, before, methods) for each in names}),
        ),
    )


def comparison_from_results(results: dict[str, Any]) -> Comparison:
    """The comparison that a results.json holds, computed again from its runs' answers."""
    return compare(
        results["name"],
        results["title"],
        results["runs"],
        results["failed"],
        model=results["model"],
        budget=results["budget"],
        benchmarks=results["benchmarks"],
        validation=results["validation"],
        untuned=results["untuned"],
        objectives=[method["objective"] for method in results["methods"]],
    )


def _cut(
    benchmark: str, untuned: Mapping[str, Answered], methods: Sequence[MethodResult]
) -> dict[str, float]:
    """By method, and for the untuned model, which share of the answers was cut off."""
    before = cut_share([untuned], [benchmark])
    shares = {} if before is None else {"untuned": before}
    return shares | {each.label: each.cut[benchmark] for each in methods if benchmark in each.cut}


def _as_answered(entry: Answered | dict[str, Any]) -> Answered:
    if isinstance(entry, Answered):
        return entry
    if "correct" not in entry:
        raise UserError(
            "untuned: scores without answers cannot be paired; read the folder's answers"
        )
    return answered_from_row(entry)


def _sweeps(
    runs: Sequence[ScoredRun],
    failed: Sequence[dict[str, Any]],
    objectives: Sequence[dict[str, Any]],
    validation: str,
) -> list[Sweep]:
    found = [*objectives, *(run.objective for run in runs), *(each["objective"] for each in failed)]
    methods = {_key(objective): objective for objective in reversed(found)}
    order = list(dict.fromkeys(map(_key, found)))
    labels = labels_of([methods[key] for key in order])
    sweeps = [
        sweep_of(
            label,
            methods[key],
            [run for run in runs if _key(run.objective) == key],
            [entry for entry in failed if _key(entry["objective"]) == key],
            validation,
        )
        for key, label in zip(order, labels, strict=True)
    ]
    return [sweep for sweep in sweeps if sweep.runs or sweep.failed]


def _key(objective: dict[str, Any]) -> str:
    return json.dumps(objective, sort_keys=True, default=str)


def _headline(method: MethodResult, first: MethodResult) -> str:
    if not method.sweep.kept:
        return f"{method.label}: every run failed"
    if not first.sweep.kept:
        return f"{method.label}: nothing to compare with, as every run of {first.label} failed"
    if not method.difference:
        return f"{method.label} and {first.label} have no seed in common: no verdict"
    return method.difference[HEADLINE].verdict


def _check(name: str, runs: Sequence[ScoredRun], benchmarks: Sequence[str]) -> None:
    """Every run has every benchmark, on the same questions as the others, and none is twice."""
    if not runs:
        raise UserError(f"{name}: there are no finished runs to compare")
    seen: dict[tuple[str, float, int], ScoredRun] = {}
    for run in runs:
        twin = seen.setdefault((_key(run.objective), run.learning_rate, run.seed), run)
        if twin is not run:
            raise UserError(
                f"{twin.run} and {run.run} have the same objective, learning rate and seed; "
                "leave one out"
            )
        for benchmark in benchmarks:
            if benchmark not in run.answered:
                raise UserError(
                    f"{run.run}: has no scores of {benchmark!r}; "
                    f"otr eval {run.run} --benchmark {benchmark}"
                )
            _check_questions(benchmark, run.run, run.answered, runs[0].run, runs[0].answered)


def _check_questions(
    benchmark: str,
    run: str,
    answered: dict[str, Answered],
    other_run: str,
    other_answered: dict[str, Answered],
) -> None:
    own, other = answered[benchmark], other_answered[benchmark]
    if len(own.correct) != len(other.correct):
        raise UserError(
            f"{benchmark}: {run} was scored on {len(own.correct)} questions, "
            f"{other_run} on {len(other.correct)}; evaluate both with the same --limit"
        )
    if own.ids and other.ids and own.ids != other.ids:
        raise UserError(
            f"{benchmark}: {run} and {other_run} were scored on different questions; "
            "evaluate both on the same"
        )
