"""Answers that are programs: what is taken from a model's output, and when it is right."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from otr.errors import UserError
from otr.evaluation import code_answers
from otr.evaluation.benchmarks import Benchmark, Question
from otr.evaluation.code_answers import (
    answer_code,
    entry_point,
    grade_code,
    joined_tests,
    unguarded,
)
from otr.evaluation.grading import Graded, Item, grade_all
from otr.evaluation.python_library import is_closed
from otr.evaluation.sandbox import Limits, Protections, protections

HUMANEVAL = Path(__file__).parents[2].parent / "shared" / "data" / "humaneval" / "test.jsonl"

STOP = ("\ndef ", "\nclass ", "\nif __name__", "\nprint(")

DOUBLE = {
    "task_id": "HumanEval/x",
    "prompt": (
        "from typing import List\n\n\ndef helper(x: int) -> int:\n    return x + x\n\n\n"
        'def double(numbers: List[int]) -> List[int]:\n    """ Each number twice over. """\n'
    ),
    "entry_point": "double",
    "test": (
        "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n"
        "    assert candidate([]) == []\n"
    ),
}
BODY = "    return [helper(x) for x in numbers]\n"

SUM = {
    "task_id": 7,
    "prompt": "Write a function to add two numbers.",
    "test_list": ["assert set([add(1, 2)]) == {3}", "assert add(2, 2) == 4"],
    "test_imports": ["import math"],
}

# The shape of EvalPlus's editions on the hub: inputs and results, compared by a function that
# takes numpy for floats. HumanEval+ wraps the loop in `check`, MBPP+ calls the function by name.
_COMPARISON = (
    "import numpy as np\n\n\ndef assertion(out, exp, atol):\n"
    "    if isinstance(exp, float):\n        assert np.allclose(out, exp, rtol=1e-7, atol=1e-6)\n"
    "    else:\n        assert out == exp\n\n\n"
)
DOUBLE_PLUS = DOUBLE | {
    "test": _COMPARISON + "def check(candidate):\n"
    "    for inp, exp in zip([[[1]], [[0.1]]], [[2], [0.2]]):\n"
    "        assertion(candidate(*inp), exp, 0)\n"
}
SUM_PLUS = SUM | {
    "test": _COMPARISON + "inputs = [[1, 2], [0.1, 0.2]]\nresults = [3, 0.3]\n"
    "for inp, exp in zip(inputs, results):\n    assertion(add(*inp), exp, 0)\n"
}


def _question(row: dict) -> Question:
    return Question(
        id=str(row["task_id"]),
        prompt=row["prompt"],
        reference=row.get("canonical_solution", ""),
        category="code",
        details=row,
    )


def _items(rows: list[dict], outputs: list[str]) -> list[Item]:
    questions = tuple(_question(row) for row in rows)
    benchmark = Benchmark(
        name="humaneval", questions=questions, max_new_tokens=512, rule="code", stop=STOP
    )
    return [
        Item(output=output, question=question, benchmark=benchmark)
        for output, question in zip(outputs, questions, strict=True)
    ]


@pytest.fixture(autouse=True)
def _confined() -> None:
    try:
        protections()
    except UserError as error:
        pytest.skip(f"this machine cannot: {error}")


def _grade(row: dict, *outputs: str, limits: Limits | None = None) -> list[Graded]:
    items = _items([row] * len(outputs), list(outputs))
    return grade_code(items, num_workers=2, limits=limits)


def test_a_continuation_is_cut_at_the_stops_and_at_a_fence() -> None:
    graded = _grade(
        DOUBLE,
        BODY,
        BODY + "\nprint(double([1]), undefined)\n",
        BODY + "```\nThis doubles.",
        BODY + "\ndef other(:\n",
        "    return [x for x in numbers]\n",
        "",
    )
    assert [grade.correct for grade in graded] == [True, True, True, True, False, False]
    assert graded[0].extracted == graded[1].extracted == DOUBLE["prompt"] + BODY.rstrip("\n") + "\n"
    assert {grade.problem for grade in graded} == {None}


def test_of_a_chat_answer_the_block_that_defines_the_function_is_run() -> None:
    whole = "def double(numbers: List[int]) -> List[int]:\n" + BODY
    graded = _grade(
        DOUBLE,
        f"Here it is:\n\n```python\n{whole}```\n\nUse it so:\n\n```python\nprint(undefined)\n```",
        f"```\n{whole}```",
        f"```python\nimport os\n\n\n{whole}",
        f"First:\n```python\ndef double(n): return n\n```\nBetter:\n```python\n{whole}```\n",
        f"```python\ndouble = lambda numbers: [2 * x for x in numbers]\nraise ValueError\n```{BODY}",
        whole,
        f"import math\n\n{whole}\ndef broken(:",
        "I cannot say.",
    )
    right = [True, True, True, True, False, True, True, False]
    assert [grade.correct for grade in graded] == right


WHOLE = "def double(numbers):\n" + BODY


@pytest.mark.parametrize(
    "output",
    [
        f"```python\n{BODY}```",
        f"The body is:\n```python\n{BODY.strip()}\n```\nDone.",
        "```python\nfound = []\nfor x in numbers:\n    found.append(2 * x)\nreturn found\n```",
        f"Here is the function:\n\n{WHOLE}\nThis doubles each number.",
        f"Sure!\n\nimport math\n\n{WHOLE}",
        "1. So:\n\n   ```python\n"
        + "".join(f"   {line}\n" for line in WHOLE.splitlines())
        + "   ```",
        f"````python\n{WHOLE}````\nDone.",
        f"~~~python\n{WHOLE}~~~\nDone.",
        'def double(numbers):\n    """\n    ```\n    x\n    ```\n    """\n' + BODY,
        '```python\ndef double(numbers):\n    """\n    ```\n    x\n    ```\n    """\n'
        + BODY
        + "```",
        f"```python\nfrom __future__ import annotations\n\n{WHOLE}```",
        f"from __future__ import annotations\n\n{WHOLE}",
        f"<think>\n```python\ndef double(numbers): return 0\n```\n</think>\n{WHOLE}",
    ],
)
def test_a_right_program_is_not_lost_to_what_stands_around_it(output: str) -> None:
    assert _grade(DOUBLE, output)[0].correct


@pytest.mark.parametrize(
    "output",
    [
        "```python\n    return numbers\n```",
        "```python\nprint(double([1]))\n```",
        "Use it so:\n```python\ndouble([1, 2]) == [2, 4]\n```",
        f"{WHOLE}\nraise ValueError\n",
        f"{WHOLE}\ndouble = = 3\n",
        f"{WHOLE}\nclass Broken(:\n",
        "Here it is:\n\ndef double(numbers):\n    return [x for x in numbers\n\nDone so.",
        f"<think>\n```python\n{WHOLE}```\n</think>\nI cannot.",
        f"```python\n{WHOLE}    return [\n```",
    ],
)
def test_a_wrong_program_stays_wrong_whatever_stands_around_it(output: str) -> None:
    items = [
        replace(item, benchmark=replace(item.benchmark, stop=()))
        for item in _items([DOUBLE], [output])
    ]
    assert not grade_code(items, num_workers=1)[0].correct


def test_guarded_main_parts_are_not_run() -> None:
    whole = "def double(numbers):\n" + BODY + "\nif __name__ == '__main__':\n    input()\n"
    assert _grade(DOUBLE, f"```python\n{whole}```")[0].correct


def test_the_joined_tests_mbpp_are_lines_and_its_prompt_is_no_code() -> None:
    right, wrong = "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return 3\n"
    graded = _grade(
        SUM, right, wrong, f"```python\n{right}```", f"[BEGIN]\n{right}[DONE]\nassert x"
    )
    assert [grade.correct for grade in graded] == [True, False, True, True]
    assert graded[0].extracted == f"\n{right}"
    assert entry_point(_question(SUM)) == "add"


def test_setup_code_and_imports_come_before_the_tests() -> None:
    row = SUM | {
        "test_setup_code": "one = math.floor(1.5)",
        "test_list": ["assert add(one, one) == 2"],
    }
    assert joined_tests(_question(row)).splitlines() == [
        "import math",
        "one = math.floor(1.5)",
        "assert add(one, one) == 2",
    ]
    assert _grade(row, "def add(a, b):\n    return a + b\n")[0].correct


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (DOUBLE_PLUS, "    return [x + x for x in numbers]\n", "    return [2 for _ in numbers]\n"),
        (
            SUM_PLUS,
            "def add(a, b):\n    return a + b\n",
            "def add(a, b):\n    return round(a + b)\n",
        ),
    ],
    ids=["HumanEval+", "MBPP+"],
)
def test_the_joined_tests_evalplus_may_use_numpy(row: dict, right: str, wrong: str) -> None:
    assert [grade.correct for grade in _grade(row, right, wrong)] == [True, False]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("    while True: pass\n", "timed out"),
        ("    return bytearray(4 << 30)\n", "out of memory"),
        ("    raise SystemExit(0)\n", "left before its tests ended"),
        ("    import os; os._exit(0)\n", "left before its tests ended"),
        ("    import ctypes; return ctypes.string_at(0)\n", "crashed"),
        ("    raise KeyError\n", None),
        ("    return [\n", None),
        ("    return 'a\0b\ud800'\n", None),
    ],
)
def test_what_kept_an_answer_from_its_tests_is_said(body: str, problem: str | None) -> None:
    limits = Limits(cpu_seconds=1, wall_seconds=60.0)
    assert _grade(DOUBLE, body, limits=limits)[0] == Graded(
        extracted=DOUBLE["prompt"] + body, correct=False, problem=problem
    )


def test_equal_answers_are_run_once_and_graded_each() -> None:
    done = []
    grades = grade_code(
        _items([DOUBLE] * 5, [BODY, "    pass\n", BODY, BODY, "    pass\n"]),
        num_workers=2,
        progress=lambda num_done, num_all: done.append((num_done, num_all)),
    )
    assert [grade.correct for grade in grades] == [True, False, True, True, False]
    assert done[-1] == (5, 5)


def test_programs_are_graded_only_when_that_is_asked_for() -> None:
    items = _items([DOUBLE], [BODY])
    assert grade_all(items)[0].problem == "code not run"
    assert grade_all(items, run_code=True)[0].correct


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({}, "holds no tests"),
        ({"test": "def check(candidate): pass"}, "no 'entry_point'"),
        ({"base_input": [], "plus_input": [], "entry_point": "f"}, "evalplus/humanevalplus"),
    ],
)
def test_a_question_without_known_tests_is_refused(details: dict, words: str) -> None:
    question = Question(id="q/1", prompt="", reference="", category="code", details=details)
    with pytest.raises(UserError, match=words) as refused:
        joined_tests(question)
    assert str(refused.value).startswith("q/1: ")


@pytest.mark.slow
@pytest.mark.skipif(not HUMANEVAL.is_file(), reason="the shared data folder is not here")
def test_humaneval_s_own_solutions_are_right_and_faulty_ones_wrong() -> None:
    rows = [json.loads(line) for line in HUMANEVAL.read_text().splitlines()]
    solutions = [row["canonical_solution"] for row in rows]
    assert len(rows) == 164
    right = grade_code(_items(rows, solutions), num_workers=2)
    assert [
        row["task_id"] for row, grade in zip(rows, right, strict=True) if not grade.correct
    ] == []
    # The fault comes after the solution's own work: the name means something else in the end.
    faulty = [
        f"{solution}\n\n{row['entry_point']} = lambda *_, **__: None\n"
        for row, solution in zip(rows, solutions, strict=True)
    ]
    wrong = grade_code(_items(rows, faulty), num_workers=2)
    assert [row["task_id"] for row, grade in zip(rows, wrong, strict=True) if grade.correct] == []


def test_text_before_a_block_is_no_part_of_it() -> None:
    question = _question(SUM)
    text = "Sure.\n\n  ```py\ndef add(a, b):\n    return a + b\n  ```\nDone."
    assert answer_code(text, question) == "\ndef add(a, b):\n    return a + b\n"


def test_what_a_machine_cannot_guard_is_said_for_programs_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Protections(namespaces=False, system_calls=True, landlock=True, why_no_namespaces="no")
    monkeypatch.setattr(code_answers, "protections", lambda: held)
    code = _items([DOUBLE], [BODY])[0].benchmark
    others = Benchmark(name="gsm8k", questions=(), max_new_tokens=1, rule="number")
    (gap, *copied) = unguarded([others, code], run_code=True)
    assert gap.startswith("--run-code: no namespaces (no): for a moment files may take more room")
    is_copied = os.geteuid() == 0 and is_closed()
    assert ["library is copied" in line for line in copied] == [True] * is_copied
    assert unguarded([others], run_code=False) == unguarded([others], run_code=True) == []
    with pytest.raises(UserError, match="humaneval are programs; --run-code runs them"):
        unguarded([others, code], run_code=False)
