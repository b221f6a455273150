"""Stretches of a turn that its data mark as not learned, found in the rendered text."""

from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from otr.errors import UserError
from otr.training.chat_template import rendered
from otr.training.conversation import Conversation
from otr.training.rendering import Span

_STAND_IN = "stand-in"


def unlearned_spans(
    conversation: Conversation, last: int, text: str, tokenizer: PreTrainedTokenizerBase
) -> list[Span]:
    """The characters of a text up to message `last` that its learned turns leave out.

    Raises: UserError naming row and message if the template does not render them as they are.
    """
    spans = []
    for i, stretches in conversation.unlearned.items():
        if i > last:
            continue
        fields = dict.fromkeys(stretch.field for stretch in stretches)
        places = {name: _place(conversation, i, name, last, text, tokenizer) for name in fields}
        for field, start, end in stretches:
            first, (left, right) = places[field]
            spans.append((max(first + start, left), min(first + end, right)))
    return sorted((start, end) for start, end in spans if start < end)


def _place(
    conversation: Conversation,
    i: int,
    field: str,
    last: int,
    text: str,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[int, Span]:
    """Where a field of message i begins in a text, blanks counted that the template strips, and the
    characters that it has without them.

    The field's place is where another text stands that is rendered in its stead.
    """
    stand_in = _STAND_IN
    while stand_in in text:
        stand_in += "-"
    message = {**conversation.messages[i], field: stand_in}
    messages = (*conversation.messages[:i], message, *conversation.messages[i + 1 :])
    other = rendered(replace(conversation, messages=messages), last + 1, tokenizer)
    before, *after = other.split(stand_in)
    value = conversation.messages[i][field]
    for kept in _stripped(value):
        if len(after) == 1 and text == before + kept + after[0]:
            left = len(before)
            return left - value.index(kept), (left, left + len(kept))
    raise UserError(
        f"{conversation.origin}, message {i + 1}: a part of it is marked as not learned, and the "
        "chat template does not render its text as it stands, so the part cannot be found; mark "
        "the whole turn, or choose another template with training.chat_template_path"
    )


def _stripped(value: str) -> tuple[str, ...]:
    """A text, and what templates may leave of it."""
    return (
        value,
        value.strip(),
        value.strip("\n"),
        value.lstrip("\n"),
        value.lstrip(),
        value.rstrip(),
    )
