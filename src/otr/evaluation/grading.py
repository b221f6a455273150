"""Grading of answers: what each one says, whether it is right, and what went wrong.

Most answers are told from texts and exact numbers, at once. Mathematics that needs computer algebra
is compared in processes of its own with a limit for each answer, and programs are run in a sandbox.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from otr.errors import UserError
from otr.evaluation.answers import RULES
from otr.evaluation.benchmarks import Benchmark, Question
from otr.evaluation.mathematics import boxed, find_answer, same_answer
from otr.evaluation.requests import cut
from otr.evaluation.sources import Source
from otr.evaluation.thoughts import without_thoughts
from otr.evaluation.workers import compare_all, compare_one

Progress = Callable[[int, int], None]
"""Told how many answers are graded, and how many there are."""

CODE_NOT_RUN = "code not run"


@dataclass(frozen=True, kw_only=True)
class Item:
    """An answer to grade."""

    output: str
    """What the model wrote after the prompt."""

    question: Question
    benchmark: Benchmark

    prompt: str = ""
    """What the chat template made, which may open a thought; else nothing."""

    @property
    def said(self) -> str:
        """The output without thoughts: the only place where an answer is looked for."""
        return without_thoughts(self.output, self.prompt)


@dataclass(frozen=True, kw_only=True)
class Graded:
    """What was found in an answer."""

    extracted: str | None
    """The answer alone, or None if there is none."""

    correct: bool

    problem: str | None = None
    """What kept it from being graded as usual, for example `timed out`; such an answer is wrong."""


def grade_all(
    items: Sequence[Item],
    *,
    run_code: bool = False,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> list[Graded]:
    """The grades of answers, in their order.

    `num_workers` is the number of processes, by default as many as there are processors. Code is
    run only if `run_code` says so; otherwise its answers are wrong with the problem
    `code not run`.

    Raises: UserError if a rule needs a package that is not installed.
    """
    graded: list[Graded | None] = [_at_once(item) for item in items]
    programs = [place for place, item in enumerate(items) if item.benchmark.rule == "code"]
    compared = [
        place
        for place, grade in enumerate(graded)
        if grade is None and items[place].benchmark.rule != "code"
    ]
    num_done = len(items) - len(compared) - len(programs)

    def report(num_more: int) -> None:
        if progress is not None:
            progress(num_done + num_more, len(items))

    report(0)
    for place, grade in zip(
        compared,
        _compared([items[place] for place in compared], num_workers, report),
        strict=True,
    ):
        graded[place] = grade
    num_done += len(compared)
    if programs:
        for place, grade in zip(
            programs,
            _programs([items[place] for place in programs], run_code, num_workers, report),
            strict=True,
        ):
            graded[place] = grade
    return [grade for grade in graded if grade is not None]


def grade_alone(output: str, reference: str, source: Source) -> bool:
    """Whether an output gives a reference's answer; what needs computer algebra is compared in a
    process that is kept for the next.

    Raises: UserError if answers are programs, or the reference holds no answer.
    """
    rule = source.rule
    if rule == "code":
        raise UserError(
            f"{source.name}: its answers are programs, which are run only by `otr eval` and "
            "`otr compare` with --run-code"
        )
    holds = bool(reference.strip()) if rule == "math" else RULES[rule].of_reference(reference)
    if not holds:
        raise UserError(f"{source.name}: the reference {reference!r} holds no answer")
    item = Item(
        output=output,
        question=Question(id="", prompt="", reference=reference, category=""),
        benchmark=Benchmark(
            name=source.name,
            questions=(),
            max_new_tokens=1,
            rule=rule,
            stop=tuple(source.file.stop) if source.file else (),
            tolerance=source.file.answer.tolerance if source.file else 0.0,
        ),
    )
    found = _at_once(item)
    if found is not None:
        return found.correct
    answer = find_answer(cut(item.said, item.benchmark.stop))
    return bool(compare_one(_comparison(item, answer))["correct"])


def _at_once(item: Item) -> Graded | None:
    """The grade of an answer that needs neither computer algebra nor a sandbox, or None."""
    rule = item.benchmark.rule
    if rule == "code":
        return None
    output = cut(item.said, item.benchmark.stop)
    if rule == "math":
        answer = find_answer(output)
        if answer is None:
            return Graded(extracted=None, correct=False)
        same = same_answer(**_comparison(item, answer))
        return None if same is None else Graded(extracted=answer, correct=same)
    found = RULES[rule].find(output)
    wanted = RULES[rule].of_reference(item.question.reference)
    correct = found is not None and wanted is not None and RULES[rule].same(found, wanted)
    return Graded(extracted=found, correct=correct)


def _comparison(item: Item, answer: str | None) -> dict[str, Any]:
    """The keywords of `same_answer`."""
    reference = item.question.reference
    inside = boxed(reference)
    return {
        "answer": answer,
        "reference": reference if inside is None else inside,
        "tolerance": item.benchmark.tolerance,
        "absolute": float(item.question.details.get("error") or 0),
        "unit": item.question.details.get("unit"),
    }


def _compared(
    items: Sequence[Item], num_workers: int | None, report: Callable[[int], None]
) -> list[Graded]:
    """Grades of mathematics by computer algebra, equal questions asked once."""
    if not items:
        return []
    answers = [find_answer(cut(item.said, item.benchmark.stop)) for item in items]
    questions = [_comparison(item, answer) for item, answer in zip(items, answers, strict=True)]
    keys = [tuple(question.values()) for question in questions]
    distinct = dict(zip(keys, questions, strict=True))
    verdicts = dict(
        zip(
            distinct,
            compare_all(list(distinct.values()), num_workers=num_workers, progress=report),
            strict=True,
        )
    )
    return [
        Graded(
            extracted=answer,
            correct=verdicts[key]["correct"],
            problem=verdicts[key]["problem"],
        )
        for answer, key in zip(answers, keys, strict=True)
    ]


def _programs(
    items: Sequence[Item],
    run_code: bool,
    num_workers: int | None,
    report: Callable[[int], None],
) -> list[Graded]:
    if not run_code:
        return [Graded(extracted=None, correct=False, problem=CODE_NOT_RUN) for _ in items]
    from otr.evaluation.code_answers import grade_code

    return grade_code(items, num_workers=num_workers, progress=lambda done, _: report(done))
