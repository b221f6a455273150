"""What is trained on: apart from the evaluation, in three styles, and wrong as often as said."""

import itertools
from random import Random

import pytest

from otr.demo import tasks, training_data
from tests.demo.test_tasks import solve


def test_evaluation_questions_are_never_trained_on() -> None:
    questions = [problem for part in tasks.evaluation_problems().values() for problem in part]
    assert len(questions) == len({problem.content for problem in questions}) == 620
    prompts = {problem.prompt for problem in questions}
    sums = {problem.content for problem in questions if problem.content[0] == "sum"}
    for seed in range(3):
        shown = training_data.demonstrations(
            "mild", num_demonstrations=256, wrong_share=0, seed=seed
        )
        assert not {problem.content for problem in shown} & sums
    for text in itertools.islice(training_data.pretraining_texts(0), 20_000):
        assert text[: text.index(" :") + 2] not in prompts


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_wrong_demonstrations_is_exact(share: float) -> None:
    shown = training_data.demonstrations("mild", num_demonstrations=250, wrong_share=share, seed=4)
    wrong = [problem for problem in shown if problem.answer != solve(problem.prompt)]
    assert len(wrong) == round(250 * share)
    for problem in wrong:
        right = solve(problem.prompt)
        assert len(problem.answer) == len(right)
        assert sum(a != b for a, b in zip(problem.answer, right, strict=True)) == 1


def test_a_slip_in_one_step_goes_on_into_the_answer() -> None:
    rng = Random(8)
    for _ in range(300):
        problem = tasks.addition(rng, num_digits=2)
        wrong = training_data.slipped(problem, rng)
        changed = [
            (old, new) for old, new in zip(problem.steps, wrong.steps, strict=True) if old != new
        ]
        assert len(changed) == 1
        assert changed[0][0][:-1] == changed[0][1][:-1]
        columns = [step.split(" = ")[1] for step in wrong.steps]
        assert wrong.answer == " ".join([columns[1], columns[0][-1]])
        assert wrong.answer != problem.answer


def test_a_seed_asks_the_same_questions_in_every_style() -> None:
    sets = [
        training_data.demonstrations(style, num_demonstrations=64, wrong_share=share, seed=5)
        for style in training_data.STYLES
        for share in (0.0, 0.5)
    ]
    prompts = [problem.prompt for problem in sets[0]]
    assert all([problem.prompt for problem in other] == prompts for other in sets)
    other_seed = training_data.demonstrations("mild", num_demonstrations=64, wrong_share=0, seed=6)
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
    mild = [training_data.styled(problem, "mild", rng) for _ in range(400)]
    with_filler = sum(
        step.split()[0] in training_data.FILLERS for each in mild for step in each.steps
    )
    assert 180 < with_filler < 300
    assert {step.split(" ", 1)[-1] for each in mild for step in each.steps} >= {"1 + 9 = 1 0"}
    medium = training_data.styled(problem, "medium", rng)
    assert [step.split(" ", 1)[1] for step in medium.steps] == [
        "1 + 9 gives 1 0",
        "8 + 4 + 1 gives 1 3",
    ]
    assert all(step.split()[0] in training_data.FILLERS for step in medium.steps)
    assert training_data.styled(problem, "expert", rng).steps == (
        "column 1 with 9 makes 1 0",
        "column 8 with 4 carry makes 1 3",
    )
    assert training_data.styled(plain_no_carry, "expert", rng).steps == ("column 2 with 1 makes 3",)


def test_pretraining_has_a_tenth_wrong_and_little_of_the_mild_style() -> None:
    texts = list(itertools.islice(training_data.pretraining_texts(7), 4000))
    assert texts == list(itertools.islice(training_data.pretraining_texts(7), 4000))
    wrong = 0
    for text in texts:
        prompt, colon, completion = text.partition(" :")
        answer = completion[completion.index("ans ") + 4 : -2]
        wrong += answer != solve(prompt + colon)
    assert 0.08 < wrong / len(texts) < 0.12
    filled = sum(any(f" {word} " in text for word in training_data.FILLERS) for text in texts)
    assert 0 < filled / len(texts) < 0.04
    assert not any(word in text for text in texts for word in ("gives", "makes", "column"))
