"""Answers that are programs: found in what a model wrote, joined with their tests, and run.

Questions are as HumanEval (`test`, `entry_point`), MBPP (`test_list`), and EvalPlus's editions of
both on the hub (`test`) give them; these columns are looked for in `Question.details`.
"""

import ast
import builtins
import re
from collections.abc import Callable, Sequence

from otr.errors import UserError
from otr.evaluation.benchmarks import Benchmark, Question
from otr.evaluation.fences import as_body, blocks, joined, without_prose
from otr.evaluation.grading import Graded, Item, cut
from otr.evaluation.python_library import python_library
from otr.evaluation.sandbox import Limits, Outcome, Program, protections, run_all

_PROBLEMS = {
    "cpu time": "timed out",
    "wall time": "timed out",
    "memory": "out of memory",
    "exited": "left before its tests ended",
    "crashed": "crashed",
    "killed": "killed",
}


def unguarded(benchmarks: Sequence[Benchmark], *, run_code: bool) -> list[str]:
    """What this machine cannot guard when answers are run, and what is copied for them, a sentence
    each; nothing where none are.

    Asked before the first answer is generated, so that none is generated in vain.
    Raises: UserError if answers are programs and `run_code` does not allow to run them, or if no
    program can be confined here.
    """
    of_programs = [each for each in benchmarks if each.rule == "code"]
    if not of_programs:
        return []
    if not run_code:
        raise UserError(
            f"benchmark: the answers to {of_programs[0].name} are programs; --run-code runs them, "
            "in a sandbox"
        )
    guards = protections()
    told = guards.missing()
    if copied_mb := python_library(namespaces=guards.namespaces).copied_mb:
        told.append(f"Python's library is copied, {copied_mb:.0f} MB, and removed at the end")
    return [f"--run-code: {each}" for each in told]


def grade_code(
    items: Sequence[Item],
    *,
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    limits: Limits | None = None,
) -> list[Graded]:
    """Run the answers with their tests in the sandbox; right are those whose tests all passed.

    Answers that are the same are run once. `problem` is None where a test failed or the program
    raised something else than for want of memory.

    Raises: UserError if a question has no tests that are known here, or no program can be
    confined on this machine. SandboxError if the sandbox fails.
    """
    programs = [
        Program(text=answer_code(item.said, item.question, item.benchmark.stop), tests=tests)
        for item, tests in zip(items, [joined_tests(item.question) for item in items], strict=True)
    ]
    distinct = list(dict.fromkeys(programs))

    def report(num_done: int, num_distinct: int) -> None:
        if progress is not None:
            progress(len(items) - num_distinct + num_done, len(items))

    outcomes = run_all(
        distinct, num_workers=num_workers, limits=limits or Limits(), progress=report
    )
    found = dict(zip(distinct, outcomes, strict=True))
    return [_graded(program, found[program]) for program in programs]


def answer_code(output: str, question: Question, stop: Sequence[str] = ()) -> str:
    """The program in a model's output, without its tests.

    A fenced block that defines what the tests call is taken, the last one of several, whole; the
    prompt, where it is code, comes before it with its imports and helpers. So is text without a
    fence that defines it, without prose around it. Else a block may hold the body of the prompt's
    function alone. Anything else is the prompt's continuation, up to the first of `stop`.
    """
    name = entry_point(question)
    prompt = _prompt_code(question, name)
    text = output.removeprefix("[BEGIN]\n")
    continues = text.lstrip("\n")[:1].isspace()
    found = blocks(output)
    defining = [block for block in found if _defines(block, name)]
    if defining:
        return joined(prompt, defining[-1])
    stops = [*stop, "\n```", "[DONE]"]
    definition = _definition(text, name)
    if definition is None or continues:
        bodies = [] if continues or not prompt else [as_body(prompt, block) for block in found]
        body = next((body for body in reversed(bodies) if body is not None), None)
        return prompt + (cut(text, stops) if body is None else body)
    # A stop such as `\ndef` ends what comes after the definition, not the lines before it.
    begun = definition.end()
    return joined(prompt, without_prose(text[:begun] + cut(text[begun:], stops)))


def entry_point(question: Question) -> str | None:
    """The function that the tests call: the column of this name, or found in `test_list`."""
    named = question.details.get("entry_point")
    if named:
        return str(named)
    for test in _lines(question, "test_list"):
        try:
            nodes = list(ast.walk(ast.parse(test)))
        except (SyntaxError, ValueError):
            continue
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if not hasattr(builtins, node.func.id):
                    return node.func.id
    return None


def joined_tests(question: Question) -> str:
    """The question's tests as a program to be run after the answer.

    Raises: UserError if it has none in a known form.
    """
    details = question.details
    before = [*_lines(question, "test_imports"), str(details.get("test_setup_code") or "")]
    test = details.get("test")
    if isinstance(test, str) and test.strip():
        calls = []
        if re.search(r"^def check\(", test, re.MULTILINE):
            if not details.get("entry_point"):
                raise UserError(f"{question.id}: has a test but no 'entry_point' for it to check")
            calls = [f"check({details['entry_point']})"]
        return "\n".join([*before, test, *calls])
    test_list = _lines(question, "test_list")
    if test_list:
        return "\n".join([*before, *test_list])
    if "plus_input" in details:
        raise UserError(
            f"{question.id}: has inputs but no tests, as EvalPlus's release files do; take the "
            "editions on the hub, evalplus/humanevalplus and evalplus/mbppplus"
        )
    raise UserError(
        f"{question.id}: holds no tests; needs 'test' and 'entry_point', or 'test_list', has "
        f"{sorted(details)}"
    )


def _lines(question: Question, column: str) -> list[str]:
    found = question.details.get(column)
    return [] if found is None else [str(line) for line in found]


def _prompt_code(question: Question, name: str | None) -> str:
    """The prompt if it is code that begins what the tests call, otherwise nothing."""
    prompt = str(question.details.get("prompt") or question.prompt)
    return prompt if _defines(prompt, name) else ""


def _defines(text: str, name: str | None) -> bool:
    return _definition(text, name) is not None


def _definition(text: str, name: str | None) -> re.Match | None:
    """Where a text defines this name, or any where there is none, at its left edge."""
    if name is None:
        return re.search(r"^(?:async\s+def|def|class)\s", text, re.MULTILINE)
    word = re.escape(name)
    begins = rf"^(?:(?:async\s+)?def\s+{word}\s*\(|class\s+{word}\b|{word}\s*=)"
    return re.search(begins, text, re.MULTILINE)


def _graded(program: Program, outcome: Outcome) -> Graded:
    return Graded(
        extracted=program.text or None,
        correct=outcome.finished,
        problem=_PROBLEMS.get(outcome.reason),
    )
