"""The generated tasks: right solutions, disjoint sets, the styles and the share of wrong answers."""

import itertools
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


def test_evaluation_questions_are_never_trained_on() -> None:
    questions = [problem for part in tasks.evaluation_problems().values() for problem in part]
    assert len(questions) == len({problem.content for problem in questions}) == 620
    prompts = {problem.prompt for problem in questions}
    sums = {problem.content for problem in questions if problem.content[0] == "sum"}
    for seed in range(3):
        shown = tasks.demonstrations("mild", num_demonstrations=256, wrong_share=0, seed=seed)
        assert not {problem.content for problem in shown} & sums
    for text in itertools.islice(tasks.pretraining_texts(0), 20_000):
        assert text[: text.index(" :") + 2] not in prompts


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


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_wrong_demonstrations_is_exact(share: float) -> None:
    shown = tasks.demonstrations("mild", num_demonstrations=250, wrong_share=share, seed=4)
    wrong = [problem for problem in shown if problem.answer != solve(problem.prompt)]
    assert len(wrong) == round(250 * share)
    for problem in wrong:
        right = solve(problem.prompt)
        assert len(problem.answer) == len(right)
        assert sum(a != b for a, b in zip(problem.answer, right, strict=True)) == 1


def test_a_seed_asks_the_same_questions_in_every_style() -> None:
    sets = [
        tasks.demonstrations(style, num_demonstrations=64, wrong_share=share, seed=5)
        for style in tasks.STYLES
        for share in (0.0, 0.5)
    ]
    prompts = [problem.prompt for problem in sets[0]]
    assert all([problem.prompt for problem in other] == prompts for other in sets)
    other_seed = tasks.demonstrations("mild", num_demonstrations=64, wrong_share=0, seed=6)
    assert prompts != [problem.prompt for problem in other_seed]


def test_the_styles_word_the_same_steps_from_near_to_far() -> None:
    rng = Random(0)
    problem = tasks.Problem(
        task="add",
        prompt="add 8 1 and 4 9 :",
        steps=("1 + 9 = 1 0", "8 + 4 + 1 = 1 3"),
        answer="1 3 0",
        content=("sum", "49", "81"),
    )
    plain_no_carry = tasks.Problem(
        task="add", prompt="", steps=("2 + 1 = 3",), answer="3", content=()
    )
    mild = [tasks.styled(problem, "mild", rng) for _ in range(400)]
    with_filler = sum(step.split()[0] in tasks.FILLERS for each in mild for step in each.steps)
    assert 180 < with_filler < 300
    assert {step.split(" ", 1)[-1] for each in mild for step in each.steps} >= {"1 + 9 = 1 0"}
    medium = tasks.styled(problem, "medium", rng)
    assert [step.split(" ", 1)[1] for step in medium.steps] == [
        "1 + 9 gives 1 0",
        "8 + 4 + 1 gives 1 3",
    ]
    assert all(step.split()[0] in tasks.FILLERS for step in medium.steps)
    assert tasks.styled(problem, "expert", rng).steps == (
        "column 1 with 9 makes 1 0",
        "column 8 with 4 carry makes 1 3",
    )
    assert tasks.styled(plain_no_carry, "expert", rng).steps == ("column 2 with 1 makes 3",)


def test_pretraining_has_a_tenth_wrong_and_little_of_the_mild_style() -> None:
    texts = list(itertools.islice(tasks.pretraining_texts(7), 4000))
    assert texts == list(itertools.islice(tasks.pretraining_texts(7), 4000))
    wrong = 0
    for text in texts:
        prompt, colon, completion = text.partition(" :")
        answer = completion[completion.index("ans ") + 4 : -2]
        wrong += answer != solve(prompt + colon)
    assert 0.08 < wrong / len(texts) < 0.12
    filled = sum(any(f" {word} " in text for word in tasks.FILLERS) for text in texts)
    assert 0 < filled / len(texts) < 0.04
    assert not any(word in text for text in texts for word in ("gives", "makes", "column"))
