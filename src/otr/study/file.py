"""The study file: one YAML document, with dotted overrides from the command line."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from otr.errors import UserError
from otr.evaluation.sources import scored_name
from otr.runs import read_yaml
from otr.training.config import Location, Run, Section, checked, place
from otr.training.overrides import read_override

SET_BY_STUDY = ("objective", "seed", "output_dir")
"""Sections of a run that its study decides, and that `base` leaves out."""

GRPO = "grpo"
"""The method that is no objective: TRL's GRPOTrainer, rewarded by a benchmark's verifier."""


class Validation(Section):
    """What the learning rate is chosen on."""

    benchmark: str
    """A benchmark that is not among the compared ones."""


class Benchmarks(Section):
    """What the objectives are compared on."""

    in_domain: list[str] = Field(min_length=1)
    """What the training data teach; verdicts speak of these."""

    out_of_domain: list[str] = []
    """What they might help with."""

    retention: list[str] = []
    """What the model could do before and may forget."""

    def groups(self) -> dict[str, list[str]]:
        """The names in each group."""
        return {
            "in_domain": self.in_domain,
            "out_of_domain": self.out_of_domain,
            "retention": self.retention,
        }


class Study(Section):
    """Objectives compared on the same model, data, order and budget."""

    title: str | None = None
    """What the report is headed with; by default which objectives are compared on which model."""

    base: dict[str, Any]
    """A run without objective, seed and output_dir. `{seed}` in `data.train` stands for the seed,
    where seeds have data of their own. `max_seconds`, or `training.max_steps`, is the budget."""

    objectives: list[dict[str, Any]] = Field(min_length=1)
    """Each with its name and options; the others are compared with the first. One may be `grpo`
    with GRPOConfig's fields, a `reward` (the benchmark whose verifier rewards; the validation's
    unless given) and `max_seconds` (those of the first objective's runs unless given)."""

    learning_rates: list[float] = Field(min_length=1)
    """Tried for each objective; the best on `validation` is kept. An objective with
    `learning_rates` of its own is tried on these instead."""

    seeds: list[int] = Field(min_length=1)
    """Each objective is trained once a seed and learning rate."""

    validation: Validation
    """What the learning rate is chosen on."""

    benchmarks: Benchmarks
    """What the objectives are compared on."""

    limit: int | None = Field(default=None, ge=1)
    """Only the first questions of each benchmark."""

    keep_models: Literal["all", "none"] = "all"
    """Whether trained models stay on disk once they are scored."""

    inspect_rows: list[int] | None = None
    """Training rows, counted from 0, that the report shows token by token; unless given, those of
    the first three that training learns from."""

    output_dir: Location
    """The study folder."""

    @field_validator("learning_rates")
    @classmethod
    def _are_rates(cls, rates: list[float]) -> list[float]:
        return _checked_rates(rates)

    @field_validator("seeds")
    @classmethod
    def _are_seeds(cls, seeds: list[int]) -> list[int]:
        if any(not 0 <= seed < 2**32 for seed in seeds):
            raise ValueError("must be at least 0 and below 2^32 each")
        _require_once(seeds)
        return seeds

    @field_validator("objectives", mode="before")
    @classmethod
    def _are_sections(cls, objectives: Any) -> Any:
        for each in objectives if isinstance(objectives, list) else ():
            if isinstance(each, str):
                raise ValueError(f"each is a section: write {{name: {each}}} for {each}")
        return objectives

    @field_validator("objectives")
    @classmethod
    def _are_methods(cls, objectives: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number, options in enumerate(objectives):
            own = dict(options)
            if (rates := own.pop("learning_rates", None)) is not None:
                _checked_rates(rates)
            try:
                _check_method(own, is_first=number == 0)
            except ValueError as error:
                raise ValueError(f"number {number + 1}: {error}") from None
        _require_once(objectives)
        return objectives

    @property
    def name(self) -> str:
        """The study folder's own name."""
        return Path(self.output_dir).resolve().name


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """A study file with its overrides applied, checked as far as that goes without its data.

    Raises: UserError that names file, line and key, with the nearest right one.
    """
    document = read_yaml(Path(path))
    if "base" not in document and {"model", "data"} <= document.keys():
        raise UserError(
            f"{path}: is a run file; `otr train {shlex.quote(str(path))}` runs it, and a study has "
            "it under `base:`, as `otr compare --help` shows"
        )
    read = [read_override(override) for override in overrides]
    for override in read:
        override.apply(document)
    study = checked(Study, document, str(path), read)

    def where(*names: str) -> str:
        return place(document, str(path), read, names)

    base = document["base"]
    for key in SET_BY_STUDY:
        if key in base:
            raise UserError(f"{where('base', key)}: the study sets it for each run; leave it out")
    if "learning_rate" in (base.get("training") or {}):
        raise UserError(
            f"{where('base', 'training', 'learning_rate')}: each run has its own; give "
            "`learning_rates`"
        )
    for key, value in (("objective", {}), ("output_dir", "-"), ("seed", 0)):
        base[key] = value
    inside = [each.inside() for each in read if each.keys[0] == "base" and each.keys[1:]]
    checked(Run, base, f"{path}: base", inside)
    named = [study.validation.benchmark]
    named += dict.fromkeys(name for names in study.benchmarks.groups().values() for name in names)
    keys = [scored_name(name) for name in named]
    twice = [key for key in keys if keys.count(key) > 1]
    chosen_on, *compared_on = named
    file = chosen_on.partition("=")[2]
    shared = [
        name for name in compared_on if name == chosen_on or file and name.endswith(f"={file}")
    ]
    if shared:
        raise UserError(
            f"{where('validation', 'benchmark')}: {shared[0]!r} is also compared on, so choosing the "
            "learning rate on it would flatter the winner; give another one"
        )
    if twice:
        raise UserError(
            f"{where('benchmarks')}: two would be scored as {twice[0]!r}; name one of them "
            "otherwise, as in gsm8k/validation=FILE, or describe it in a YAML file of another name"
        )
    return study


def _check_method(options: dict[str, Any], *, is_first: bool) -> None:
    """Raise ValueError unless the options name a method, as far as that goes without its library."""
    if options.get("name") != GRPO:
        # Here, since it brings torch, and shells ask this file for its keys.
        from otr.objectives import objective_from_options

        objective_from_options(options)
        return
    if is_first:
        raise ValueError(f"{GRPO} has the first objective's seconds as its budget; name it later")
    seconds = options.get("max_seconds", 1.0)
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not 0 < seconds < math.inf
    ):
        raise ValueError(f"max_seconds must be a number above 0, found {seconds!r}")
    if not isinstance(options.get("reward", ""), str):
        raise ValueError(f"reward must be a benchmark's name, found {options['reward']!r}")


def _checked_rates(rates: Any) -> list[float]:
    if not isinstance(rates, list) or not rates:
        raise ValueError("learning_rates must be a list of numbers")
    for rate in rates:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise ValueError(f"learning rates must be above 0, found {rate!r}")
    _require_once(rates)
    return rates


def _require_once(values: list[Any]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is there twice; leave one out")
