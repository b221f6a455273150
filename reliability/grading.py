"""Grading tried on real references: said in many ways they are right, changed a little they are wrong.

Needs the data sets, one folder each with test.jsonl, in the form that `otr eval NAME=path` reads.
"""

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from otr.evaluation.benchmarks import Benchmark, Question, load_benchmarks
from otr.evaluation.brackets import bracketed, elements
from otr.evaluation.grading import Item, grade_all
from otr.evaluation.latex import normalized
from otr.evaluation.mathematics import boxed
from otr.evaluation.numbers import number_of

DATA = Path(__file__).parents[2] / "shared" / "data"
NAMES = ("gsm8k", "amc23", "minerva_math", "olympiadbench")


@dataclass(frozen=True, kw_only=True)
class Case:
    """An output and whether it is right."""

    kind: str
    """How the output was made from the reference."""

    output: str
    question: Question
    benchmark: Benchmark
    correct: bool


def load(folder: Path = DATA) -> list[Benchmark]:
    """The benchmarks whose data are there."""
    return load_benchmarks([f"{name}={folder / name / 'test.jsonl'}" for name in NAMES])


def cases(benchmarks: list[Benchmark], *, every: int = 1) -> Iterator[Case]:
    """The cases of every so-manyth question."""
    for benchmark in benchmarks:
        for question in benchmark.questions[::every]:
            reference = answer_alone(question.reference, benchmark)
            for correct, made in ((True, said(reference)), (False, changed(reference))):
                for kind, output in made.items():
                    yield Case(
                        kind=kind,
                        output=output,
                        question=question,
                        benchmark=benchmark,
                        correct=correct,
                    )
            if question.reference != reference:
                yield Case(
                    kind="the data's own solution",
                    output=question.reference,
                    question=question,
                    benchmark=benchmark,
                    correct=True,
                )


def answer_alone(reference: str, benchmark: Benchmark) -> str:
    """A reference without its solution."""
    if benchmark.rule == "number":
        return reference.rpartition("####")[2].strip().replace(",", "")
    inside = boxed(reference)
    return reference if inside is None else inside


def said(reference: str) -> dict[str, str]:
    """Outputs that give a reference, each in another way."""
    plain = reference.replace("$", "")
    outputs = {
        "in a sentence": f"We add up. The final answer is ${plain}$.",
        "in a box": f"Since $1<2$, it is $\\boxed{{{plain}}}$, as was to be shown.",
        "in bold": f"So we are done.\n\n**Answer:** ${plain}$",
    }
    spaced = re.sub(r"(?<![A-Za-z\\])\(", r"\\left( ", plain)
    spaced = re.sub(r"\)", r" \\right)", spaced).replace("\\frac", "\\dfrac ")
    outputs["spaced otherwise"] = f"Hence \\[\\boxed{{ {spaced} }}\\]"
    parts = elements(normalized(reference))
    number = number_of(parts[0]) if len(parts) == 1 else None
    if len(parts) > 1:
        outputs["in reverse order"] = f"\\boxed{{{', '.join(reversed(parts))}}}"
        listed = " and ".join(f"${part}$" for part in parts)
        outputs["listed with and"] = f"The answers are {listed}."
    elif number is not None:
        outputs["with a unit"] = f"\\boxed{{{plain} \\text{{ units}}}}"
        outputs["with a name"] = f"Thus $x = {plain}$."
        if number.value.denominator > 1 and not number.is_percent:
            outputs["as a decimal"] = f"\\boxed{{{float(number.value):.10g}}}"
    rewritten = _rewritten(parts)
    if rewritten is not None:
        outputs["rewritten by sympy"] = f"\\boxed{{{rewritten}}}"
    return outputs


def changed(reference: str) -> dict[str, str]:
    """Outputs that are wrong, each by another change."""
    parts = list(elements(normalized(reference)))
    first, rest = parts[0], parts[1:]
    changes: dict[str, list[str]] = {}
    inner = bracketed(first)
    if inner is not None:
        kind, (one, *others) = inner
        for name, new in _changed_scalar(one).items():
            changes[name] = [_put(kind, [new, *others]), *rest]
        if kind != "{}" and one != others[-1]:
            changes["ends swapped"] = [_put(kind, [others[-1], *others[:-1], one]), *rest]
        closed = {"(": "[", "[": "("}.get(kind[0])
        if closed and len(others) == 1:
            changes["another bracket"] = [_put(closed + kind[1], [one, *others]), *rest]
        if len(others) > 1:
            changes["one item missing"] = [_put(kind, [one, *others[:-1]]), *rest]
    elif "\\cup" not in first:
        for name, new in _changed_scalar(first).items():
            changes[name] = [new, *rest]
    if rest:
        changes["one answer missing"] = rest
    changes["one answer too many"] = [*parts, "77" if parts[-1] != "77" else "78"]
    return {name: f"\\boxed{{{', '.join(new)}}}" for name, new in changes.items()}


def _put(kind: str, parts: list[str]) -> str:
    brackets = ("\\{", "\\}") if kind == "{}" else (kind[0], kind[1])
    return brackets[0] + ",".join(parts) + brackets[1]


def _changed_scalar(text: str) -> dict[str, str]:
    """A number or an expression, changed."""
    name, equals, value = text.rpartition("=")
    number = number_of(value)
    if number is None:
        if re.fullmatch(r"[A-Za-z ,]{4,}.*|.*(?:\\[lg]e ).*", value):
            return {}
        is_zero = value == "0"
        changed = {"one more": f"{name}{equals}{value}+1"}
        if not is_zero:
            changed["other sign"] = f"{name}{equals}-({value})"
            changed["doubled"] = f"{name}{equals}2({value})"
        return changed if "infty" not in value else {"other sign": changed["other sign"]}
    mantissa, mark, exponent = value.lower().partition("e")
    one_more = _written(number_of(mantissa).value + 1) + mark + exponent  # pyright: ignore
    changed = {"one more": name + equals + one_more}
    if number.value:
        other = value[1:] if value.startswith("-") else f"-{value.removeprefix('+')}"
        changed["other sign"] = name + equals + other
        changed["ten times"] = name + equals + _written(number.value * 10)
    if number.value.denominator > 1 and abs(number.value) != 1:
        changed["upside down"] = name + equals + _written(1 / number.value)
    return changed


def _written(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return f"{sign}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def _rewritten(parts: tuple[str, ...]) -> str | None:
    """Answers as sympy writes them after taking them in; None where it cannot."""
    import sympy

    from otr.evaluation.symbolic import parsed

    written = []
    for part in parts:
        name, equals, value = part.rpartition("=")
        found = parsed(value) if number_of(value) is None and len(value) < 60 else None
        if not isinstance(found, sympy.Expr):
            return None
        try:
            text = sympy.latex(sympy.expand(found.doit()), ln_notation=True)
            # The parser's own names for letters; see otr.evaluation.symbolic.
            if "q_" in text:
                return None
            written.append(name + equals + text)
        except Exception:
            return None
    return ", ".join(written)


def tried(folder: Path = DATA, *, num_workers: int = 2) -> dict[str, Any]:
    """How often grading was right, by data set and kind, with every case it got wrong."""
    benchmarks = load(folder)
    made = list(cases(benchmarks))
    began = time.perf_counter()
    graded = grade_all([as_item(case) for case in made], num_workers=num_workers)
    seconds = round(time.perf_counter() - began, 1)
    counts: dict[str, dict[str, dict[str, int]]] = defaultdict(
        lambda: defaultdict(lambda: {"cases": 0, "right": 0})
    )
    misses = []
    for case, found in zip(made, graded, strict=True):
        side = "said" if case.correct else "changed"
        count = counts[side][f"{case.benchmark.name}: {case.kind}"]
        count["cases"] += 1
        count["right"] += found.correct == case.correct
        if found.correct != case.correct:
            misses.append(
                {
                    "id": case.question.id,
                    "kind": case.kind,
                    "reference": answer_alone(case.question.reference, case.benchmark),
                    "output": case.output if len(case.output) < 300 else case.output[-300:],
                    "extracted": found.extracted,
                    "should_be": "right" if case.correct else "wrong",
                    "problem": found.problem,
                }
            )
    return {
        "counts": {side: dict(kinds) for side, kinds in counts.items()},
        "misses": misses,
        "num_cases": len(made),
        "seconds": seconds,
    }


def timed(folder: Path = DATA, *, num: int = 10_000, num_workers: int = 2) -> dict[str, Any]:
    """Seconds to grade so many ordinary answers: right and wrong ones spread over all data sets."""
    made = list(cases(load(folder)))
    chosen = [made[place * len(made) // num] for place in range(num)]
    began = time.perf_counter()
    grade_all([as_item(case) for case in chosen], num_workers=num_workers)
    return {
        "num": num,
        "num_workers": num_workers,
        "seconds": round(time.perf_counter() - began, 1),
    }


def as_item(case: Case) -> Item:
    """What `grade_all` takes."""
    return Item(output=case.output, question=case.question, benchmark=case.benchmark)
