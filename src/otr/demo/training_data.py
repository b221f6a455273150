"""What the base models and their fine-tuned offspring learn from: texts, and demonstrations."""

import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from otr.demo.tasks import LETTERS, TASKS, Problem, addition, held_out


def corrupted(problem: Problem, rng: Random) -> Problem:
    """The problem with one symbol of its answer replaced by another of the same kind."""
    symbols = problem.answer.split()
    index = rng.randrange(len(symbols))
    kind = "0123456789" if symbols[index].isdigit() else LETTERS
    symbols[index] = rng.choice([symbol for symbol in kind if symbol != symbols[index]])
    return replace(problem, answer=" ".join(symbols))


def slipped(problem: Problem, rng: Random) -> Problem:
    """An addition with a slip in one column, which goes on into the answer.

    The units of the column's sum are another digit; what is carried stays as it was.
    """
    column = rng.randrange(len(problem.steps))
    step, answer = problem.steps[column], problem.answer.split()
    wrong = rng.choice([digit for digit in "0123456789" if digit != step[-1]])
    answer[-1 - column] = wrong
    steps = list(problem.steps)
    steps[column] = step[:-1] + wrong
    return replace(problem, steps=tuple(steps), answer=" ".join(answer))


def pretraining_texts(seed: int, wrong_share: float = 0.1) -> Iterator[str]:
    """An endless stream of texts over all tasks, `wrong_share` of them with a wrong answer."""
    rng, names = Random(seed), list(TASKS)
    while True:
        problem = TASKS[rng.choice(names)](rng)
        if problem.content in held_out():
            continue
        if rng.random() < wrong_share:
            problem = corrupted(problem, rng)
        if rng.random() < _MILD_SHARE:
            problem = styled(problem, "mild", rng)
        yield problem.text


_MILD_SHARE = 0.03
"""How much of pretraining is in the mild style: it is rare there; the other two are absent."""

STYLES = ("mild", "medium", "expert")
"""How demonstrations are worded, from near to what the base models say to far from it."""

_CARRIED = re.compile(r"(?<=[+] \d )[+] 1 =")

FILLERS = ("so", "now", "then", "well")
"""Words that carry nothing, put before a step."""


def styled(problem: Problem, style: str, rng: Random) -> Problem:
    """The problem with its steps worded in one of the three styles.

    mild     a filler now and then:    `so 3 + 8 = 1 1 ; 8 + 4 + 1 = 1 3`
    medium   fillers, `gives` for `=`: `now 3 + 8 gives 1 1 ; well 8 + 4 + 1 gives 1 3`
    expert   other words altogether:   `column 3 with 8 makes 1 1 ; column 8 with 4 carry makes 1 3`
    """
    assert style in STYLES, style
    if style == "mild":
        steps = (
            f"{rng.choice(FILLERS)} {step}" if rng.random() < 0.3 else step
            for step in problem.steps
        )
    elif style == "medium":
        steps = (f"{rng.choice(FILLERS)} {step.replace('=', 'gives')}" for step in problem.steps)
    else:
        steps = (
            "column " + _CARRIED.sub("carry =", step).replace("+", "with").replace("=", "makes")
            for step in problem.steps
        )
    return replace(problem, steps=tuple(steps))


def demonstrations(
    style: str, *, num_demonstrations: int, wrong_share: float, seed: int
) -> list[Problem]:
    """Two-digit additions to fine-tune on, none of them twice, none in the evaluation.

    Exactly the share `wrong_share`, rounded, has a slip and so a wrong answer. The same seed asks the same
    questions in every style and with every share.
    """
    questions, wording = Random(f"questions {seed}"), Random(f"wording {seed}")
    chosen: dict[tuple[str, ...], Problem] = {}
    while len(chosen) < num_demonstrations:
        problem = addition(questions, num_digits=2)
        if problem.content not in held_out():
            chosen.setdefault(problem.content, problem)
    wrong = set(wording.sample(range(num_demonstrations), round(wrong_share * num_demonstrations)))
    return [
        styled(slipped(problem, wording) if index in wrong else problem, style, wording)
        for index, problem in enumerate(chosen.values())
    ]
