"""Evaluated run folders as a comparison takes them, and the same as rows of results.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otr.errors import UserError
from otr.evaluation.statistics import wilson_interval
from otr.objectives import objective_from_options, options_of
from otr.runs import (
    ANSWERS,
    CONFIG,
    COST,
    SCORES,
    Scored,
    read_as,
    read_json,
    read_jsonl,
    read_yaml,
)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The questions of one benchmark, as one model answered them."""

    correct: tuple[float, ...]
    """Of each question, the share of its answers that are right; in the order of the answers."""

    ids: tuple[str, ...] = ()
    """The questions; empty where they are not known any more, as in results.json."""

    cut: float | None = None
    """The share of answers that were cut off at the limit of tokens; None if it was not noted."""

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(np.mean(self.correct))

    def as_array(self) -> NDArray[np.float64]:
        """`correct` [questions]."""
        return np.asarray(self.correct, dtype=np.float64)

    def as_json(self) -> dict[str, Any]:
        """Accuracy, n and `correct`: a character a question, or shares of several answers; and `cut`
        if it is known."""
        correct: str | list[float] = list(self.correct)
        if all(value in (0.0, 1.0) for value in self.correct):
            correct = "".join("1" if value else "0" for value in self.correct)
        known = {} if self.cut is None else {"cut": self.cut}
        return {"accuracy": self.accuracy, "n": len(self.correct), "correct": correct} | known

    def with_interval(self) -> dict[str, Any]:
        """The same with Wilson's interval."""
        interval = list(wilson_interval(self.accuracy, len(self.correct)))
        return self.as_json() | {"interval_95": interval}


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """One finished run: what it was, and which questions it got right."""

    run: str
    """The folder's name, or its path where it is known."""

    objective: dict[str, Any]
    """Its name and all of its options."""

    learning_rate: float

    seed: int

    answered: dict[str, Answered]
    """By benchmark."""

    cost: dict[str, Any] | None = None
    """cost.json, where there is one."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return Path(self.run).name

    def as_row(self, label: str, benchmarks: list[str]) -> dict[str, Any]:
        """The run as an entry of results.json's `runs`."""
        return {
            "run": self.name,
            "label": label,
            "objective": self.objective,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "scores": {name: self.answered[name].as_json() for name in benchmarks},
            "cost": self.cost,
        }


def run_from_row(row: dict[str, Any]) -> ScoredRun:
    """The run that `as_row` wrote."""
    return ScoredRun(
        run=row["run"],
        objective=complete_options(row["objective"]),
        learning_rate=row["learning_rate"],
        seed=row["seed"],
        answered={name: answered_from_row(entry) for name, entry in row["scores"].items()},
        cost=row.get("cost"),
    )


def complete_options(objective: dict[str, Any]) -> dict[str, Any]:
    """An objective's options, those that were not written (by an older release) at their defaults;
    as they are where they name no objective of ours."""
    try:
        return options_of(objective_from_options(objective))
    except ValueError:
        return objective


def answered_from_row(entry: Mapping[str, Any]) -> Answered:
    """What `Answered.as_json` wrote."""
    return Answered(correct=tuple(float(value) for value in entry["correct"]), cut=entry.get("cut"))


def read_run(folder: Path) -> ScoredRun:
    """The configuration, answers and cost of an evaluated run folder.

    Raises: UserError if a file is missing, broken or lacks a field.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{path}: no such file, so {folder} is not a run folder")
    config = read_yaml(path)
    try:
        objective = dict(config["objective"])
        learning_rate = float(config["training"]["learning_rate"])
        seed = int(config["seed"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: needs objective, training.learning_rate and seed; found wrong: {error}"
        ) from None
    return ScoredRun(
        run=str(folder),
        objective=complete_options(objective),
        learning_rate=learning_rate,
        seed=seed,
        answered=read_answered(folder),
        cost=read_json(folder / COST) if (folder / COST).is_file() else None,
    )


def read_answered(folder: Path) -> dict[str, Answered]:
    """By benchmark, the answers of an evaluated folder, benchmarks in the order of scores.json.

    Raises: UserError if a file is missing or broken, or the two do not belong together.
    """
    scores = read_as(folder / SCORES, dict[str, Scored])
    marks: dict[str, dict[str, list[float]]] = {}
    cut: dict[str, list[bool | None]] = {}
    for row in read_jsonl(folder / ANSWERS):
        try:
            questions = marks.setdefault(row["benchmark"], {})
            questions.setdefault(str(row["id"]), []).append(float(row["correct"]))
            cut.setdefault(row["benchmark"], []).append(row.get("truncated"))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{folder / ANSWERS}: an answer needs benchmark, id and correct; "
                f"found wrong: {error}"
            ) from None
    found = {}
    # What has scores but no answers of its own is a sum over others.
    for name in (name for name in scores if name in marks):
        questions = marks[name]
        if scores[name]["n"] != len(questions):
            raise UserError(
                f"{folder}: {SCORES} has {scores[name]['n']} questions of {name}, {ANSWERS} "
                f"{len(questions)}; evaluate it again"
            )
        found[name] = Answered(
            ids=tuple(questions),
            correct=tuple(float(np.mean(answers)) for answers in questions.values()),
            cut=_share(cut[name]),
        )
    return found


def _share(flags: list[bool | None]) -> float | None:
    """The share of true ones; None where one is not known."""
    known = [flag for flag in flags if flag is not None]
    return sum(known) / len(known) if len(known) == len(flags) else None
