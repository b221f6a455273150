"""Columns that nobody reads, and that may say that a row is not to be learned as it stands."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from otr.errors import UserError
from otr.rows import Row
from otr.training.columns import Columns
from otr.training.marks import stated
from otr.training.turns import ARGUMENTS, ROLES

# Columns of these names hold so much else that only true and false are marks in them.
_BOOLEANS = ("train", "training", "trainable", "train_on_turn", "loss", "masked")
_NUMBERS = ("weight", "sample_weight", "loss_weight", "loss_scale", "loss_mask", "mask")
_OF_TOKENS = ("loss_mask", "completion_mask", "assistant_masks", "assistant_mask")
_NEGATIVE = ("label", "kto_tag")
_CONTEXT = ("history", "system", "system_prompt")
_LOOKS_LIKE_A_MARK = re.compile(
    "(loss|token|sample|train|turn|example).*(mask|weight|scale)|(^|_|is_)mask(s|ed)?$"
)
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class OtherColumns:
    """The columns of the data that nobody reads, by what they may say; without those that
    `data.ignore` names."""

    marks: tuple[str, ...]
    """0 or 1, or true or false: whether the row is learned."""
    of_tokens: tuple[str, ...]
    """A mask over the tokens of one tokenizer."""
    negative: tuple[str, ...]
    """false: the answer is a bad one (KTO)."""
    context: tuple[str, ...]
    """What the answer follows on, beside the prompt."""
    alike: tuple[str, ...]
    """Named like a mark."""


def other_columns(present: Sequence[str], found: Columns, ignored: Sequence[str]) -> OtherColumns:
    """The columns beside those that are read, by what they may say."""
    names = [name for name in present if name not in found.used and name not in ignored]
    known = (*_BOOLEANS, *_NUMBERS, *_OF_TOKENS)

    def among(some: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in some)

    return OtherColumns(
        marks=among((*_BOOLEANS, *_NUMBERS)),
        of_tokens=among(_OF_TOKENS),
        negative=() if found.kind == "text" else among(_NEGATIVE),
        context=among(_CONTEXT) if found.kind == "completion" else (),
        alike=tuple(n for n in names if n not in known and _LOOKS_LIKE_A_MARK.search(n.lower())),
    )


def followed(rows: Sequence[Row], others: OtherColumns) -> tuple[str, ...]:
    """The columns that hold marks, rather than anything else of the same name."""
    return tuple(
        name
        for name in others.marks
        if any(_mark(name, row.values.get(name)) is not None for row in rows)
    )


def is_learned(row: Row, others: OtherColumns) -> bool:
    """Whether a row is learned, which it is unless a column says otherwise.

    Raises: UserError naming row and column if that is a fraction, or a mask over tokens.
    """
    for name in others.of_tokens:
        value = row.values.get(name)
        if isinstance(value, list):
            raise UserError(
                f"{row.origin}, column {name!r}: a mask of {len(value)} values, which fits the "
                "tokens of one tokenizer alone\nMark turns, or parts of their content, as not "
                f"learned instead (docs/data.md), or set data.ignore: [{name}] to leave it unread."
            )
    marks = {name: _mark(name, row.values.get(name)) for name in others.marks}
    if all(value is None for value in marks.values()):
        return True
    where = f"{row.origin}, column {' and '.join(repr(n) for n in marks if marks[n] is not None)}"
    try:
        return stated(marks, where) is not False
    except UserError as error:
        raise UserError(
            f"{error}\nGive each row 0 or 1, or set data.ignore: [{', '.join(marks)}] to leave it "
            "unread."
        ) from None


def _mark(name: str, value: Any) -> Any:
    """What a column says, None if it is no mark; in .csv files numbers and truth are text."""
    if isinstance(value, str):
        word = value.strip().lower()
        if name == "mask" and ROLES.get(word) not in (None, "assistant"):
            # NeMo names the roles that are not learned, which are not learned here either.
            return None
        value = _WORDS.get(word, value)
        if isinstance(value, str):
            try:
                value = float(word)
            except ValueError:
                return None
    if name in _BOOLEANS and not isinstance(value, bool):
        return None
    return value


def is_negative(row: Row, others: OtherColumns) -> bool:
    """Whether a row says of its answer that it is a bad one."""
    values = [row.values.get(name) for name in others.negative]
    return any(v is False or (isinstance(v, str) and v.lower() == "false") for v in values)


def has_context(row: Row, others: OtherColumns) -> bool:
    """Whether a row has turns or a system text before its prompt that are not read."""
    values = [row.values.get(name) for name in others.context]
    return any(value.strip() if isinstance(value, str) else value for value in values)


def lost_nulls(row: Row, found: Columns) -> bool:
    """Whether a null of a tool, or of a call's arguments, may have been left out in reading."""
    return any(_is_of_tools(path.split("."), found) for path in row.nulls_left_out)


def _is_of_tools(path: Sequence[str], found: Columns) -> bool:
    is_argument = any(name in ARGUMENTS for name in path[1:-1])
    return path[0] == found.tools or (is_argument and path[0] in found.used)
