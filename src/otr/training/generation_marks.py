"""Conversations under a template that marks what the assistant says by {% generation %}."""

import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from otr.errors import UserError
from otr.pretrained import special_texts
from otr.training.chat_template import encodable, end_of, refusal, rendered
from otr.training.conversation import Conversation
from otr.training.left_out import check_answer, left_out_of
from otr.training.rendering import Rendering, Span
from otr.training.unlearned import unlearned_spans

_MARKER = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


def marks_turns(template: str) -> bool:
    """Whether a template says itself what the assistant says."""
    return _MARKER.search(template) is not None


def marked_rendering(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, source: str
) -> Rendering:
    """A conversation up to its last learned turn, with the marked stretches of its learned turns.

    Raises: UserError naming the row if the template cannot render it, marks nothing, or leaves an
    answer out of its marks.
    """
    last = conversation.supervised[-1]
    try:
        answer: Any = render_jinja_template(
            conversations=[list(conversation.messages[: last + 1])],
            tools=list(conversation.tools) or None,
            chat_template=source,
            return_assistant_tokens_mask=True,
            **{**tokenizer.special_tokens_map, **conversation.variables},
        )
    except Exception as error:
        raise refusal(conversation, error) from error
    texts, marks = answer
    text = encodable(texts[0], conversation)
    special = special_texts(tokenizer)
    ending = re.compile(rf"\s*{re.escape(end_of(text, len(text), special)[1])}")
    spans: list[Span] = []
    asked = [_asked(conversation, i, text, tokenizer) for i in conversation.supervised]
    for start, stop in _supervised_marks(conversation, tokenizer, text, marks[0]):
        # Some markers take in what the prompt for an answer has already, such as the role.
        start = max([known for known in asked if start < known <= stop], default=start)
        end, token = end_of(text, stop, special)
        if not token:
            # Markers around the content alone would never teach the model to stop.
            match = ending.match(text, stop)
            end = match.end() if match and match.group().strip() else stop
        if spans and spans[-1][1] >= start:
            start = spans.pop()[0]
        if start < end:
            spans.append((start, end))
    learned = "".join(text[start:end] for start, end in spans)
    left_out = left_out_of(conversation, last, text, tokenizer)
    for i in conversation.supervised:
        left_out |= check_answer(conversation, i, learned, verb="mark as generated")
    if not spans:
        raise UserError(f"{conversation.origin}: the chat template marks nothing as generated")
    return Rendering(
        text=text,
        spans=tuple(spans),
        unlearned=tuple(unlearned_spans(conversation, last, text, tokenizer)),
        origin=conversation.origin,
        left_out=frozenset(left_out),
    )


def _asked(
    conversation: Conversation, i: int, text: str, tokenizer: PreTrainedTokenizerBase
) -> int:
    """How far a text is what the prompt for an answer has already; 0 if that cannot be said."""
    if i == 0:
        return 0
    prompt = rendered(conversation, i, tokenizer, add_generation_prompt=True)
    if text.startswith(prompt):
        return len(prompt)
    before = rendered(conversation, i, tokenizer)
    if not text.startswith(before):
        return 0
    same = text[: len(os.path.commonprefix([prompt, text]))]
    # Whole tokens only: `<think>` and `<tool_call>` begin alike.
    last = [same.rfind(word) + len(word) for word in special_texts(tokenizer) if word in same]
    return max((end for end in last if end > len(before)), default=0)


def _supervised_marks(
    conversation: Conversation,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    marks: Sequence[Span],
) -> list[Span]:
    """The marked stretches of the learned turns."""
    last = conversation.supervised[-1]
    turns = [i for i in range(last + 1) if conversation.messages[i]["role"] == "assistant"]
    marks = [(start, stop) for start, stop in marks if start < stop]
    if len(turns) == len(conversation.supervised):
        return marks
    if len(marks) == len(turns):
        pairs = zip(turns, marks, strict=True)
        return [mark for i, mark in pairs if i in conversation.supervised]
    # Several stretches a turn: a stretch belongs to the turn that begins last before it.
    before = [rendered(conversation, i, tokenizer) if i else "" for i in turns]
    if not all(text.startswith(start) for start in before):
        raise UserError(
            f"{conversation.origin}: cannot tell which of the template's generation markers "
            "belong to the turns that are learned; learn all turns, or split the conversation"
        )
    starts = [len(start) for start in before]
    owners = [turns[max(bisect_right(starts, start) - 1, 0)] for start, _ in marks]
    pairs = zip(owners, marks, strict=True)
    return [mark for i, mark in pairs if i in conversation.supervised]
