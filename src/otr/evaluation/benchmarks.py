"""Benchmarks: questions, the rule that finds their answers, and how long an answer may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from otr.demo import tasks
from otr.errors import UserError, suggestion
from otr.evaluation.answers import BENCHMARK_RULES, extract, rule_name
from otr.runs import read_jsonl


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question of a benchmark."""

    id: str
    """Unique within the benchmark, the same every time it is read."""

    prompt: str
    """What the model sees."""

    reference: str
    """The right answer."""

    category: str
    """The part of the benchmark it belongs to, for scores by category."""

    messages: tuple[Mapping[str, str], ...] = ()
    """What a chat model sees, `role` and `content` each; none if the benchmark has no such prompt."""

    details: Mapping[str, Any] = field(default_factory=dict)
    """What else its rule needs: a unit, an allowed error, the tests of a program."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Questions that are scored together."""

    name: str
    """The key in scores.json; its family, up to a slash, has the answer rule."""

    questions: tuple[Question, ...]
    """In a fixed order, categories interleaved."""

    max_new_tokens: int
    """Longest answer; a longer one is cut and counted as truncated."""

    rule: str
    """How answers are found and compared; see `otr.evaluation.grading`."""

    stop: tuple[str, ...] = ()
    """Texts that end an answer, as its end token does; not part of it."""

    tolerance: float = 0.0
    """Relative error that a decimal number may have."""

    temperature: float = 0.0
    """What its published scores were sampled at; 0 is greedy."""

    samples: int = 1
    """How many answers a question its published scores were taken over."""


DEMO = "demo"
VALIDATION = f"{DEMO}/validation"
"""Held out for choosing a learning rate, and never reported as a result."""

_DEMO_PARTS = tuple(f"{DEMO}/{part}" for part in tasks.PARTS)


def load_benchmarks(names: list[str], limit: int | None = None) -> list[Benchmark]:
    """The benchmarks named: `demo` for all its parts, one part, or `gsm8k=path.jsonl`.

    `limit` keeps the first questions of each.
    Raises: UserError if a name is unknown, given twice, or its file cannot be used.
    """
    if not names:
        raise UserError(f"benchmark: name at least one, for example {DEMO}")
    if limit is not None and limit < 1:
        raise UserError(f"limit: must be at least 1, is {limit}")
    expanded = [part for name in names for part in (_DEMO_PARTS if name == DEMO else (name,))]
    benchmarks = [_load(name) for name in expanded]
    loaded = [benchmark.name for benchmark in benchmarks]
    twice = sorted({name for name in loaded if loaded.count(name) > 1})
    if twice:
        raise UserError(f"benchmark: {twice[0]!r} is given twice; name it once")
    return [replace(each, questions=each.questions[:limit]) for each in benchmarks]


def _load(name: str) -> Benchmark:
    family, equals, path = name.partition("=")
    rule_name(family)
    if family in _DEMO_PARTS:
        return _demo_part(family)
    if family.startswith(f"{DEMO}/"):
        raise UserError(
            f"benchmark: there is no part {family!r}{suggestion(family, _DEMO_PARTS)}; "
            f"there are {', '.join(_DEMO_PARTS)}"
        )
    if family not in BENCHMARK_RULES:
        raise UserError(f"benchmark: {family!r} has no parts; name {family.split('/')[0]!r}")
    if not equals or not path:
        raise UserError(f"benchmark: say where {family} lies, as {family}=path/to/test.jsonl")
    return _gsm8k(Path(path).expanduser())


def _demo_part(name: str) -> Benchmark:
    problems = tasks.evaluation_problems()[name.removeprefix(f"{DEMO}/")]
    questions = tuple(
        Question(
            id=f"{name}/{number}",
            prompt=problem.prompt,
            reference=problem.answer,
            category=problem.task,
        )
        for number, problem in enumerate(problems)
    )
    return Benchmark(name=name, questions=questions, max_new_tokens=48, rule="symbols")


def _gsm8k(path: Path) -> Benchmark:
    questions = []
    for number, row in enumerate(read_jsonl(path)):
        for column in ("question", "answer"):
            if not isinstance(row.get(column), str):
                raise UserError(
                    f"{path}, row {number + 1}: needs a text {column!r}, has {sorted(row)}"
                )
        if extract(row["answer"], "gsm8k") is None:
            raise UserError(f"{path}, row {number + 1}: the answer holds no number")
        questions.append(
            Question(
                id=f"gsm8k/{number}",
                prompt=row["question"] + "\n",
                reference=row["answer"],
                category="gsm8k",
            )
        )
    if not questions:
        raise UserError(f"{path}: holds no questions")
    return Benchmark(name="gsm8k", questions=tuple(questions), max_new_tokens=400, rule="number")
