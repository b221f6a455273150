"""The generated tasks of the embedded default: problems with worked steps, no torch.

    add 8 3 and 4 8 : 3 + 8 = 1 1 ; 8 + 4 + 1 = 1 3 ; ans 1 3 1 .

Everything is lower case and every symbol stands apart, so a problem is a few dozen tokens. The
prompt ends in ` :`; a space joins it to the completion.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

SEPARATOR = " "
"""Text between prompt and completion."""

LETTERS = "abcdefgh"
"""The letters that `reverse` and `count` work on."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One question with its worked steps and its answer."""

    task: str
    """Which of the eight tasks it belongs to."""

    prompt: str
    """The question; ends in ` :`."""

    steps: tuple[str, ...]
    """The worked steps, in order."""

    answer: str
    """The symbols of the answer, a space between them."""

    content: tuple[str, ...]
    """What is asked, whatever the phrasing: two problems with equal content have one solution."""

    @property
    def completion(self) -> str:
        """The steps, then `ans`, the answer and a full stop."""
        return " ; ".join((*self.steps, f"ans {self.answer}")) + " ."

    @property
    def text(self) -> str:
        """Prompt and completion."""
        return self.prompt + SEPARATOR + self.completion


def addition(rng: Random, num_digits: int) -> Problem:
    """`add 8 3 and 4 8 :`, digit by digit from the right."""
    first, second = _operand(rng, num_digits), _operand(rng, num_digits)
    return Problem(
        task="add",
        prompt=f"add {_spell(first)} and {_spell(second)} :",
        steps=_column_sums(first, second),
        answer=_spell(first + second),
        content=("sum", *sorted((str(first), str(second)))),
    )


def rephrased(problem: Problem) -> Problem:
    """The same sum asked as `what is 8 3 plus 4 8 :`, with the same steps."""
    first, second = problem.prompt.removeprefix("add ").removesuffix(" :").split(" and ")
    return replace(problem, task="total", prompt=f"what is {first} plus {second} :")


def _operand(rng: Random, num_digits: int) -> int:
    return rng.randrange(10 ** (num_digits - 1), 10**num_digits)


def _column_sums(first: int, second: int) -> tuple[str, ...]:
    steps, carry = [], 0
    for a, b in zip(reversed(str(first)), reversed(str(second)), strict=True):
        total = int(a) + int(b) + carry
        steps.append(f"{a} + {b}{' + 1' if carry else ''} = {_spell(total)}")
        carry = total // 10
    return tuple(steps)


def _add(rng: Random) -> Problem:
    return addition(rng, num_digits=rng.choice((1, 2, 2, 3)))


def _total(rng: Random) -> Problem:
    return rephrased(_add(rng))


def _sub(rng: Random) -> Problem:
    small, large = sorted((_operand(rng, 2), _operand(rng, 2)))
    steps, borrow = [], 0
    for a, b in zip(reversed(str(large)), reversed(str(small)), strict=True):
        digit = (int(a) - int(b) - borrow) % 10
        needs = int(a) - int(b) - borrow < 0
        top = f"1 {a}" if needs else a
        steps.append(f"{top} - {b}{' - 1' if borrow else ''} = {digit}")
        borrow = int(needs)
    return Problem(
        task="sub",
        prompt=f"sub {_spell(small)} from {_spell(large)} :",
        steps=tuple(steps),
        answer=_spell(large - small),
        content=("sub", str(small), str(large)),
    )


def _max(rng: Random) -> Problem:
    numbers = [_operand(rng, 2) for _ in range(3)]
    steps, best = [], numbers[0]
    for number in numbers[1:]:
        sign = ">" if best > number else "<" if best < number else "="
        steps.append(f"{_spell(best)} {sign} {_spell(number)}")
        best = max(best, number)
    listed = " , ".join(_spell(number) for number in numbers)
    return _listed("max", f"max {listed} :", steps, _spell(best))


def _reverse(rng: Random) -> Problem:
    letters = [rng.choice(LETTERS) for _ in range(rng.randint(3, 5))]
    steps = [f"take {letter}" for letter in reversed(letters)]
    return _listed("reverse", f"reverse {' '.join(letters)} :", steps, " ".join(letters[::-1]))


def _sort(rng: Random) -> Problem:
    left = rng.sample("0123456789", rng.randint(3, 4))
    prompt, ordered, steps = f"sort {' '.join(left)} :", sorted(left), []
    for digit in ordered[:-1]:
        left = [other for other in left if other != digit]
        steps.append(f"least {digit} left {' '.join(left)}")
    return _listed("sort", prompt, steps, " ".join(ordered))


def _count(rng: Random) -> Problem:
    letters = [rng.choice(LETTERS[:4]) for _ in range(rng.randint(4, 6))]
    wanted = rng.choice(letters)
    steps = [
        f"{letter} {letters[: index + 1].count(wanted)}" for index, letter in enumerate(letters)
    ]
    prompt = f"count {wanted} in {' '.join(letters)} :"
    return _listed("count", prompt, steps, str(letters.count(wanted)))


def _chain(rng: Random) -> Problem:
    value = rng.randint(1, 9)
    prompt, steps = [f"chain {value}"], []
    for _ in range(rng.randint(2, 3)):
        digit = rng.randint(1, 9)
        minus = digit <= value and rng.random() < 0.5
        after = value - digit if minus else value + digit
        prompt.append(f"{'minus' if minus else 'plus'} {digit}")
        steps.append(f"{_spell(value)} {'-' if minus else '+'} {digit} = {_spell(after)}")
        value = after
    return _listed("chain", " ".join(prompt) + " :", steps, _spell(value))


def _listed(task: str, prompt: str, steps: list[str], answer: str) -> Problem:
    return Problem(task=task, prompt=prompt, steps=tuple(steps), answer=answer, content=(prompt,))


def _spell(number: int) -> str:
    return " ".join(str(number))


TASKS: dict[str, Callable[[Random], Problem]] = {
    "add": _add,
    "total": _total,
    "sub": _sub,
    "max": _max,
    "reverse": _reverse,
    "sort": _sort,
    "count": _count,
    "chain": _chain,
}
"""The eight tasks the base models are trained on, each a function of a random generator."""

RETAINED = ("sub", "max", "reverse", "sort", "count", "chain")
"""The tasks that fine-tuning on additions must not lose."""


PARTS = {"in_domain": 200, "longer": 100, "phrasing": 100, "retention": 120, "validation": 100}
"""The parts of the embedded evaluation, and how many questions each has."""


@functools.cache
def evaluation_problems() -> dict[str, tuple[Problem, ...]]:
    """The evaluation problems by part: always the same, no content twice.

    in_domain   two-digit additions, phrased as in the demonstrations
    longer      three-digit additions
    phrasing    two-digit additions in the other phrasing
    retention   the other six tasks
    validation  two-digit additions, for choosing a learning rate
    """
    rng = Random(2509)
    draws: dict[str, Callable[[int], Problem]] = {
        "in_domain": lambda _: addition(rng, num_digits=2),
        "longer": lambda _: addition(rng, num_digits=3),
        "phrasing": lambda _: rephrased(addition(rng, num_digits=2)),
        "retention": lambda index: TASKS[RETAINED[index % len(RETAINED)]](rng),
        "validation": lambda _: addition(rng, num_digits=2),
    }
    seen: set[tuple[str, ...]] = set()
    parts = {}
    for part, num_problems in PARTS.items():
        chosen: list[Problem] = []
        while len(chosen) < num_problems:
            problem = draws[part](len(chosen))
            if problem.content not in seen:
                seen.add(problem.content)
                chosen.append(problem)
        parts[part] = tuple(chosen)
    return parts


@functools.cache
def held_out() -> frozenset[tuple[str, ...]]:
    """The content of every evaluation problem; nothing of it is ever trained on."""
    return frozenset(
        problem.content for problems in evaluation_problems().values() for problem in problems
    )
