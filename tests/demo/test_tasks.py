"""The generated tasks: right solutions, and no question twice."""

import re
from random import Random

import pytest

from otr.demo import tasks


def digits(text: str) -> int:
    return int(text.replace(" ", ""))


def solve(prompt: str) -> str:
    """The answer, worked out from the prompt's words alone, another way than the tasks do."""
    name, *words = prompt.removesuffix(" :").split()
    rest = " ".join(words)
    if name in ("add", "what"):
        first, second = re.split(" and | plus ", rest.removeprefix("is "))
        return " ".join(str(digits(first) + digits(second)))
    if name == "sub":
        small, large = rest.split(" from ")
        return " ".join(str(digits(large) - digits(small)))
    if name == "max":
        return " ".join(str(max(map(digits, rest.split(" , ")))))
    if name == "reverse":
        return rest[::-1]
    if name == "sort":
        return " ".join(sorted(words))
    if name == "count":
        return str(words[2:].count(words[0]))
    assert name == "chain"
    return " ".join(str(eval(rest.replace("plus", "+").replace("minus", "-"))))


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_answer_is_right(name: str) -> None:
    rng = Random(0)
    for problem in (tasks.TASKS[name](rng) for _ in range(200)):
        assert problem.task == name
        assert problem.answer == solve(problem.prompt)
        assert problem.completion.endswith(f"ans {problem.answer} .")


@pytest.mark.parametrize("name", ["add", "total", "sub", "chain"])
def test_every_worked_step_is_right(name: str) -> None:
    rng = Random(1)
    for problem in (tasks.TASKS[name](rng) for _ in range(200)):
        for step in problem.steps:
            left, right = step.split(" = ")
            # `1 3 - 8` means thirteen minus eight.
            assert eval(re.sub(r"(?<=\d) (?=\d)", "", left)) == digits(right), step


def test_the_documented_example_is_what_comes_out() -> None:
    rng = Random(0)
    found = next(
        problem
        for problem in (tasks.addition(rng, num_digits=2) for _ in range(100_000))
        if problem.prompt == "add 8 3 and 4 8 :"
    )
    assert found.text == ("add 8 3 and 4 8 : 3 + 8 = 1 1 ; 8 + 4 + 1 = 1 3 ; ans 1 3 1 .")


def test_a_sum_asked_the_other_way_round_is_the_same_content() -> None:
    rng = Random(3)
    problem = tasks.addition(rng, num_digits=2)
    first, second = problem.prompt[len("add ") : -len(" :")].split(" and ")
    rephrased = tasks.rephrased(problem)
    assert rephrased.prompt == f"what is {first} plus {second} :"
    assert (
        rephrased.content
        == problem.content
        == ("sum", *sorted((first.replace(" ", ""), second.replace(" ", ""))))
    )
