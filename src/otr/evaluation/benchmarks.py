"""Benchmarks: questions, the rule that finds their answers, and how long an answer may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from otr.demo import tasks
from otr.errors import UserError, suggestion
from otr.evaluation.questions import read_questions
from otr.evaluation.sources import DEMO, Source, source_of
from otr.evaluation.workers import require_math_verify


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
    """The key in scores.json."""

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


VALIDATION = f"{DEMO}/validation"
"""Held out for choosing a learning rate, and never reported as a result."""

_DEMO_PARTS = tuple(f"{DEMO}/{part}" for part in tasks.PARTS)


def load_benchmarks(names: list[str], limit: int | None = None) -> list[Benchmark]:
    """The benchmarks named: `demo` for all its parts, one part, a name in the catalogue (from the
    hub, or `gsm8k=path.jsonl`), or a YAML file.

    `limit` keeps the first questions of each.
    Raises: UserError if a name is unknown, given twice, or its data cannot be used, or if its rule
        needs a package that is not installed.
    """
    if not names:
        raise UserError(f"benchmark: name at least one, for example {DEMO}")
    if limit is not None and limit < 1:
        raise UserError(f"limit: must be at least 1, is {limit}")
    benchmarks = [load_benchmark(source) for source in sources_of(names)]
    if any(each.rule == "math" for each in benchmarks):
        # Said before answers are generated, which may take hours.
        require_math_verify()
    return [replace(each, questions=each.questions[:limit]) for each in benchmarks]


def sources_of(names: Sequence[str]) -> list[Source]:
    """What benchmarks' names stand for, `demo` for all its parts.

    Raises: UserError if a name is unknown, or given twice.
    """
    expanded = [part for name in names for part in (_DEMO_PARTS if name == DEMO else (name,))]
    sources = [source_of(name) for name in expanded]
    known = [source.name for source in sources]
    twice = next((name for name in known if known.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"benchmark: {twice!r} is given twice; name it once")
    return sources


def load_benchmark(source: Source) -> Benchmark:
    """A benchmark with all its questions.

    Raises: UserError if it is no part of `demo`, or its data cannot be used.
    """
    if source.file is None:
        return _demo_part(source.name)
    described = source.file
    questions = tuple(
        Question(
            id=f"{source.name}/{row.id}",
            prompt=row.prompt,
            reference=row.reference,
            category=row.category or source.name,
            messages=tuple(row.messages),
            details=row.details,
        )
        for row in read_questions(source)
    )
    return Benchmark(
        name=source.name,
        questions=questions,
        max_new_tokens=described.max_new_tokens,
        rule=described.answer.rule,
        stop=tuple(described.stop),
        tolerance=described.answer.tolerance,
        temperature=described.sampling.temperature,
        samples=described.sampling.samples,
    )


def _demo_part(name: str) -> Benchmark:
    if name not in _DEMO_PARTS:
        raise UserError(
            f"benchmark: there is no part {name!r}{suggestion(name, _DEMO_PARTS)}; "
            f"there are {', '.join(_DEMO_PARTS)}"
        )
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
