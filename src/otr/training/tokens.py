"""Rendered text as tokens with labels, and what was lost on the way."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from otr.errors import UserError
from otr.rows import Row
from otr.training.chat import chat_renderings
from otr.training.columns import Columns, check_texts, columns
from otr.training.config import Data
from otr.training.conversation import conversation
from otr.training.encoding import Encoder, Example, encoded
from otr.training.rendering import Rendering, plain_rendering
from otr.training.row_marks import (
    OtherColumns,
    followed,
    has_context,
    is_learned,
    is_negative,
    lost_nulls,
    other_columns,
)

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 1000
LEFT_OUT = ("reasoning", "tools", "messages")

Rows = tuple[str, ...]
"""The origins of rows that share some fate, one entry an example."""


@dataclass(frozen=True, kw_only=True)
class TokenReport:
    """What became of the rows on their way to tokens."""

    kind: str
    num_rows: int
    num_examples: int
    num_tokens: int
    num_supervised: int
    lengths: tuple[int, ...]
    """Tokens of each example, before any was cut or dropped."""
    max_length: int | None
    end_tokens: dict[str, int]
    """The last learned tokens, and how many examples end with each."""
    ignored_columns: tuple[str, ...]
    unread: dict[str, Rows]
    """Keys of turns, parts and tool calls that hold something and are not read, such as
    `turn: name`; and columns that are named like a mark."""
    masked: Rows
    """Left out, since a column says that the row is not learned."""
    negative: Rows
    """Answers that a column calls bad ones, learned all the same."""
    context_left_out: Rows
    """Turns or a system text before the prompt, in a column that is not read."""
    nulls_left_out: Rows
    """Nulls of tools and arguments that may be missing fields, left out."""
    split: Rows
    """Rows that became several examples, since the template rewrites earlier turns."""
    overlong: Rows
    """Longer than max_length."""
    dropped: Rows
    """Dropped for being overlong."""
    cut: Rows
    """Cut to max_length."""
    lost_answer: Rows
    """Cut so that nothing is left of some answer."""
    lost_end: Rows
    """Cut so that the last answer has lost its end token."""
    unsupervised: Rows
    """Dropped because nothing in them is learned, or nothing learned was left by a cut."""
    without_end: Rows
    """Rendered without an end token after the last answer."""
    unknown: Rows
    """Answers in which the tokenizer replaced text by its unknown token."""
    reasoning_left_out: Rows
    """Reasoning of learned turns that the chat template does not render."""
    tools_left_out: Rows
    """Tool definitions that the chat template does not render."""
    messages_left_out: Rows
    """Contents of other messages that the chat template does not render."""
    duplicates: Rows
    """Exact copies of an earlier example; kept."""
    double_begin: Rows
    """Beginning with two begin tokens."""


@dataclass(slots=True)
class _Fates:
    """Origins by the field of the report that they go to."""

    origins: dict[str, list[str]] = field(default_factory=dict)
    unread: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, origin: str) -> None:
        self.origins.setdefault(name, []).append(origin)

    def rows(self, name: str) -> Rows:
        return tuple(self.origins.get(name, ()))


class NothingLeft(UserError):
    """No row has anything to learn that is left."""


def tokenized_dataset(
    rows: Sequence[Row],
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
) -> "tuple[Dataset, TokenReport]":
    """The rows as a dataset of `input_ids` and `labels`, and a report of what was lost.

    A label is the token itself where it is learned, -100 elsewhere. Prompts are tokenized on
    their own, as they are at inference. Every answer is decoded again and compared.

    Raises: UserError naming the row if one cannot be read, rendered or tokenized without loss,
    is longer than max_length while `data.overlong` is `error`; NothingLeft if nothing is left.
    """
    from datasets import Dataset

    found = columns(rows, data)
    fates = _Fates()
    present = list(dict.fromkeys(name for row in rows for name in row.values))
    others = other_columns(present, found, data.ignore)
    used = (*found.used, *followed(rows, others))
    learned = _learned_rows(rows, found, others, fates)
    renderings = _renderings(learned, found, data, tokenizer, fates)
    encoder = Encoder(tokenizer)
    examples = [
        example
        for first in range(0, len(renderings), BATCH)
        for example in encoded(renderings[first : first + BATCH], encoder)
    ]
    kept = _fitted(examples, data.overlong, max_length, fates)
    if not kept:
        raise NothingLeft(
            f"data: none of the {len(rows)} rows is left: {len(fates.rows('unsupervised'))} with "
            f"nothing to learn, {len(fates.rows('masked'))} marked as not learned, {len(fates.rows('dropped'))} longer than "
            f"training.max_length={max_length}\n{_way_out(examples, fates)}"
        )
    begin_id = tokenizer.bos_token_id
    _note(kept, begin_id if isinstance(begin_id, int) else None, fates)
    dataset = Dataset.from_dict(
        {"input_ids": [e.input_ids for e in kept], "labels": [e.labels for e in kept]}
    )
    return dataset, TokenReport(
        kind=found.kind,
        num_rows=len(rows),
        num_examples=len(kept),
        num_tokens=sum(len(example.input_ids) for example in kept),
        num_supervised=sum(example.num_learned for example in kept),
        lengths=tuple(len(example.input_ids) for example in examples),
        max_length=max_length,
        end_tokens=dict(Counter(e.end_token for e in kept if e.end_token)),
        ignored_columns=tuple(name for name in present if name not in used),
        unread={name: tuple(origins) for name, origins in sorted(fates.unread.items())},
        **{name: fates.rows(name) for name in FATES},
    )


def _way_out(examples: Sequence[Example], fates: _Fates) -> str:
    if not (fates.rows("dropped") or fates.rows("cut")):
        return "Only assistant turns without `weight: 0`, and completions, are learned; correct the rows."
    lengths = [len(example.input_ids) for example in examples]
    return (
        f"They have {min(lengths)} to {max(lengths)} tokens: raise training.max_length to what the "
        "memory allows, or shorten the rows."
    )


FATES = tuple(name for name, kind in TokenReport.__annotations__.items() if kind is Rows)


def _learned_rows(
    rows: Sequence[Row], found: Columns, others: OtherColumns, fates: _Fates
) -> list[Row]:
    """The rows that no column leaves out."""
    learned = []
    for row in rows:
        if not is_learned(row, others):
            fates.add("masked", row.origin)
            continue
        learned.append(row)
        for name, holds in (
            ("negative", is_negative(row, others)),
            ("context_left_out", has_context(row, others)),
            ("nulls_left_out", lost_nulls(row, found)),
        ):
            if holds:
                fates.add(name, row.origin)
        for name in others.alike:
            if row.values.get(name) is not None:
                fates.unread.setdefault(f"row: {name}", []).append(row.origin)
    return learned


def _renderings(
    rows: Sequence[Row],
    found: Columns,
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    fates: _Fates,
) -> list[Rendering]:
    if found.kind != "messages":
        check_texts(rows, found)
        return [plain_rendering(row, found, data.separator, tokenizer) for row in rows]
    renderings = []
    for row in rows:
        of_messages = conversation(row, found, data)
        for key in of_messages.unread:
            fates.unread.setdefault(key, []).append(row.origin)
        of_row = chat_renderings(of_messages, tokenizer)
        renderings += of_row
        if not of_row:
            fates.add("unsupervised", row.origin)
        if len(of_row) > 1:
            fates.add("split", row.origin)
        for part in LEFT_OUT:
            if any(part in rendering.left_out for rendering in of_row):
                fates.add(f"{part}_left_out", row.origin)
    return renderings


def _fitted(
    examples: Sequence[Example], overlong: str, max_length: int | None, fates: _Fates
) -> list[Example]:
    """The examples that are left, none longer than max_length."""
    kept = []
    for example in examples:
        length, origin, end_token = len(example.input_ids), example.origin, example.end_token
        if max_length is not None and length > max_length:
            fates.add("overlong", origin)
            if overlong != "truncate":
                fates.add("dropped", origin)
                continue
            fates.add("cut", origin)
            if example.spans[-1][1] > max_length:
                fates.add("lost_end", origin)
                end_token = ""
            if example.spans[-1][0] >= max_length:
                fates.add("lost_answer", origin)
            example = replace(
                example,
                input_ids=example.input_ids[:max_length],
                labels=example.labels[:max_length],
                end_token=end_token,
            )
        if example.num_learned:
            kept.append(example)
            if not end_token and length == len(example.input_ids):
                fates.add("without_end", origin)
        else:
            fates.add("unsupervised", origin)
    too_long = fates.rows("overlong")
    if too_long and overlong == "error":
        longest = max(examples, key=lambda example: len(example.input_ids))
        raise UserError(
            f"data: {len(too_long)} of {len(examples)} examples are longer than "
            f"training.max_length={max_length}; the longest has {len(longest.input_ids)} tokens "
            f"({longest.origin})\nRaise training.max_length, or set data.overlong to `drop` them "
            "or to `truncate` their ends."
        )
    return kept


def _note(examples: Sequence[Example], begin_id: int | None, fates: _Fates) -> None:
    seen = set()
    for example in examples:
        ids = example.input_ids
        if example.has_unknown:
            fates.add("unknown", example.origin)
        if begin_id is not None and len(ids) > 1 and ids[0] == ids[1] == begin_id:
            fates.add("double_begin", example.origin)
        content = (ids.tobytes(), example.labels.tobytes())
        if content in seen:
            fates.add("duplicates", example.origin)
        seen.add(content)
