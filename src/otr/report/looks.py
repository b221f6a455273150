"""The look of a method: one colour and mark in every figure of the project.

A colour stands for an objective, whatever it is compared with; methods that differ only in their
options share it and differ in mark and dash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Literal
from zlib import crc32

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Okabe and Ito's palette without black and yellow, which vanish on one of the two backgrounds; the
page has a darker and a lighter version of each, for contrast on its own background."""

_MARKS = ("o", "s", "D", "^", "v", "P", "X", "*", "<", ">", "p", "h")
_DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")

_KNOWN = {
    "sft": (0, "o"), "dft": (1, "s"), "otr": (2, "D"), "grpo": (3, "^"), "power": (4, "v"),
    "eaft": (5, "P"), "focal": (4, "X"), "gem": (5, "*"), "unlikelihood": (3, "<"),
    "label-smoothing": (5, ">"), "maxrl": (4, "p"), "sdft": (3, "h"),
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How a method is drawn."""

    colour: str
    mark: str
    dash: Literal["-", "--", ":", "-."] = "-"


def look_of(objective: str) -> Look:
    """The look of an objective with that name in a run file."""
    if objective in _KNOWN:
        colour, mark = _KNOWN[objective]
        return Look(COLOURS[colour], mark)
    number = crc32(objective.encode())
    return Look(COLOURS[number % len(COLOURS)], _MARKS[number // 7 % len(_MARKS)])


def looks_of(objectives: Sequence[str], labels: Sequence[str]) -> list[Look]:
    """A look for each method, no two alike, from its objective's name and its label: an objective's
    own look is that of its plain label, without options in brackets, or else of the first of it."""
    found: dict[int, Look] = {}
    is_variant = ["(" in label for label in labels]
    for index in sorted(range(len(labels)), key=lambda index: is_variant[index]):
        own = look_of(objectives[index])
        others = (Look(own.colour, mark, dash) for dash, mark in product(_DASHES, _MARKS))
        taken = set(found.values())
        found[index] = next((each for each in chain([own], others) if each not in taken), own)
    return [found[index] for index in range(len(labels))]
