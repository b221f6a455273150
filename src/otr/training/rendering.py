"""Rows as text, with the stretches of it that are learned."""

import json
import unicodedata
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from otr.errors import UserError
from otr.rows import Row
from otr.training.columns import Columns

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """The text of one training example."""

    text: str
    spans: tuple[Span, ...]
    """Characters that are learned, [start, end), in order and apart from each other."""
    unlearned: tuple[Span, ...] = ()
    """Characters of these that are not, in order."""
    origin: str
    adds_begin: bool = False
    """Whether the tokenizer's own first token belongs before the text."""
    adds_end: bool = False
    """Whether the end token belongs after the text; it is learned."""
    left_out: frozenset[str] = frozenset()
    """Of reasoning, tools and messages: what the chat template did not render."""


def plain_rendering(
    row: Row, columns: Columns, separator: str, tokenizer: PreTrainedTokenizerBase
) -> Rendering:
    """A row of text, or of prompt, separator and completion; columns are checked before.

    Blanks between prompt and completion belong to the completion.

    Raises: UserError if the tokenizer has no end token.
    """
    end = tokenizer.eos_token
    if not isinstance(end, str):
        raise UserError(
            "model: the tokenizer has no end token (eos_token), so the model could not learn to "
            "stop; set it in tokenizer_config.json"
        )
    prompt, learned = "", row.values.get(columns.text, "")
    if columns.kind == "completion":
        parts = [row.values.get(name) for name in columns.prompt]
        prompt = "\n\n".join(part for part in parts if part and part.strip()) + separator
        # Most tokenizers join a blank to the word that follows it. A prompt that ended with one
        # would make the model learn, and need, a split that it never sees elsewhere.
        blanks = len(prompt) - len(prompt.rstrip(" "))
        prompt, learned = (
            prompt[: len(prompt) - blanks],
            " " * blanks + row.values[columns.completion],
        )
    text = prompt + str(learned)
    return Rendering(
        text=text,
        spans=((len(prompt), len(text)),),
        origin=row.origin,
        adds_begin=True,
        adds_end=not text.endswith(end),
    )


def letters(text: str) -> str:
    """Text without blanks and letter case, which some tokenizers do not keep."""
    return "".join(unicodedata.normalize("NFKC", text).replace("\u2581", " ").split()).casefold()


def contains(text: str, part: str) -> bool:
    """Whether a part is in the text, blanks, letter case and JSON escapes apart."""
    part = part.strip()
    return (
        part in text
        or json.dumps(part)[1:-1] in text
        or json.dumps(part, ensure_ascii=False)[1:-1] in text
        or letters(part) in letters(text)
    )
