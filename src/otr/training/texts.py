"""The texts of training rows, for whoever looks into the data and needs no tokens."""

from collections.abc import Iterator
from itertools import chain, islice

from otr.errors import UserError
from otr.rows import Row, iterated_rows
from otr.training.columns import Columns, columns, text_of
from otr.training.config import Data
from otr.training.conversation import conversation

_PEEKED = 1000


def training_texts(data: Data) -> Iterator[tuple[str, list[str]]]:
    """Of each row what names it and its texts, one row after another: prompts and completion, or
    the contents and reasoning of every message. The rows are not held.

    Raises: UserError if the data hold no rows, cannot be read, or lack their columns.
    """
    rows = islice(iterated_rows(data.train, **data.place), data.limit)
    # The columns are known by the first rows; a file is not read twice for it.
    first = list(islice(rows, _PEEKED))
    if not first:
        raise UserError(f"{data.train}: holds no rows")
    found = columns(first, data)
    for row in chain(first, rows):
        yield row.origin, _texts(row, found, data)


def _texts(row: Row, found: Columns, data: Data) -> list[str]:
    if found.kind == "messages":
        contents = conversation(row, found, data).messages
        texts = [
            message.get(name) for message in contents for name in ("content", "reasoning_content")
        ]
        return [text for text in texts if text]
    first, *more = found.used
    return [
        text_of(row, first),
        *(text for name in more if isinstance(text := row.values.get(name), str)),
    ]
