"""Marks of other trainers, by which data say what of them is not to be learned.

docs/data.md has the table of who writes what.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from otr.errors import UserError

# True if the value says that something is left out, as axolotl's `masked` does.
MARKS = {
    "loss_weight": False,
    "weight": False,
    "sample_weight": False,
    "train": False,
    "training": False,
    "trainable": False,
    "train_on_turn": False,
    "loss": False,
    "loss_mask": False,
    "loss_scale": False,
    "masked": True,
    "mask": True,
}
DETAILS = ("train_detail", "training_detail")
_LOOKS_LIKE_A_MARK = re.compile("mask|loss|train|weight|supervis", re.IGNORECASE)


class Stretch(NamedTuple):
    """Characters [start, end) of a field of a message."""

    field: str
    start: int
    end: int


def looks_like_a_mark(key: str) -> bool:
    """Whether the name of a key that nobody reads suggests that it says what is learned."""
    return _LOOKS_LIKE_A_MARK.search(key) is not None


def stated(values: Mapping[str, Any], where: str) -> bool | None:
    """Whether the marks of a turn, of a part of it or of a row say that it is learned; None
    without a mark.

    Raises: UserError if a mark is neither on nor off, or two contradict each other.
    """
    marks = {key: values[key] for key in MARKS if values.get(key) is not None}
    answers = {_is_learned(key, value, where) for key, value in marks.items()}
    if len(answers) > 1:
        raise UserError(f"{where}: {' and '.join(marks)} contradict each other; keep one of them")
    return answers.pop() if answers else None


def _is_learned(key: str, value: Any, where: str) -> bool:
    if key == "mask" and isinstance(value, int | float) and not isinstance(value, bool):
        raise UserError(
            f"{where}: mask is {value!r}, which may mean learned or left out; write "
            "`loss_mask: 1` for what is learned, or `masked: true` for what is left out"
        )
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise UserError(
            f"{where}: {key} is {repr(value)[:60]}; something is learned or not, so give 0 or 1 "
            "(fractional weights are not supported)"
        )
    return bool(value) is not MARKS[key]


def mark_names(values: Mapping[str, Any]) -> str:
    """The marks that something has, in words."""
    return ", ".join(key for key in (*MARKS, *DETAILS) if values.get(key) is not None)


def details_of(turn: Mapping[str, Any], where: str) -> list[Any] | None:
    """axolotl's marks on characters of a turn; None without them.

    Raises: UserError if they are no list.
    """
    name = next((name for name in DETAILS if turn.get(name) is not None), None)
    if name is None:
        return None
    if not isinstance(turn[name], list):
        raise UserError(
            f"{where}: {name} is {str(turn[name])[:60]!r}; give a list of objects with "
            "begin_offset, end_offset and train"
        )
    return turn[name]


def unlearned_by(details: list[Any], content: str, where: str) -> tuple[Stretch, ...]:
    """The characters of a content that axolotl's marks leave out: those that no mark has learned,
    and those that any mark leaves out. Offsets count characters from 0, the last one included.

    Raises: UserError if an offset is not in the content.
    """
    learned = bytearray(len(content))
    for value in (True, False):
        for detail in details:
            start, end, is_learned = _detail(detail, len(content), where)
            if is_learned is value:
                learned[start:end] = bytes([value]) * (end - start)
    return _stretches("content", learned)


def _detail(detail: Any, length: int, where: str) -> tuple[int, int, bool]:
    values: dict[str, Any] = detail if isinstance(detail, dict) else {}
    names = ("begin_offset", "end_offset", "train")
    begin, last, train = (values.get(key, -1) for key in names)
    is_valid = all(type(offset) is int for offset in (begin, last)) and train in (0, 1)
    if not is_valid or not 0 <= begin <= last < length:
        raise UserError(
            f"{where}: a mark on characters is {str(detail)[:80]!r}; give begin_offset and "
            f"end_offset, the last character included, from 0 to {length - 1}, and train: true "
            "or false"
        )
    return begin, last + 1, bool(train)


def _stretches(field: str, learned: bytearray) -> tuple[Stretch, ...]:
    found = re.finditer(b"\x00+", bytes(learned))
    return tuple(Stretch(field, match.start(), match.end()) for match in found)


def joined_parts(
    field: str, parts: Iterable[tuple[str, bool | None]]
) -> tuple[str, tuple[Stretch, ...]]:
    """The text of the parts of a field, and the stretches whose parts are marked as not learned."""
    text, left_out = "", []
    for part, is_learned in parts:
        if is_learned is False and part:
            left_out.append(Stretch(field, len(text), len(text) + len(part)))
        text += part
    return text, tuple(left_out)
