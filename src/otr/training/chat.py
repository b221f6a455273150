"""Conversations as the chat template renders them, with the stretches that are learned."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from otr.errors import UserError
from otr.pretrained import special_texts
from otr.training.chat_template import end_of, rendered, template_source
from otr.training.conversation import Conversation
from otr.training.generation_marks import marked_rendering, marks_turns
from otr.training.left_out import check_answer, left_out_of
from otr.training.rendering import Rendering, Span
from otr.training.unlearned import unlearned_spans


def chat_renderings(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase
) -> list[Rendering]:
    """A conversation as the chat template renders it, up to its last learned turn.

    One rendering, or several where the template renders an earlier turn differently once others
    follow it (Qwen3 drops its reasoning): each learned turn is then as it is at inference. None
    if no turn is learned.

    Raises: UserError naming the row if the template cannot render it, or renders an answer in
    another form than the data has it.
    """
    if not conversation.supervised:
        return []
    try:
        return _renderings(conversation, tokenizer)
    except UserError:
        as_text = _with_arguments_as_text(conversation)
        if as_text is None:
            raise
        # Some templates, DeepSeek's among them, take the arguments of calls as JSON text alone.
        with suppress(UserError):
            return _renderings(as_text, tokenizer)
        raise


def _with_arguments_as_text(conversation: Conversation) -> Conversation | None:
    """The conversation with the arguments of its tool calls as JSON; None if it calls no tools."""
    messages = []
    for message in conversation.messages:
        calls = [
            call | {"function": call["function"] | {"arguments": _json(call)}}
            for call in message.get("tool_calls", ())
        ]
        messages.append(message | {"tool_calls": calls} if calls else message)
    if not any("tool_calls" in message for message in messages):
        return None
    return replace(conversation, messages=tuple(messages))


def _json(call: dict[str, Any]) -> str:
    return json.dumps(call["function"]["arguments"], ensure_ascii=False)


def _renderings(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> list[Rendering]:
    source = template_source(conversation, tokenizer)
    if marks_turns(source):
        return [marked_rendering(conversation, tokenizer, source)]
    pending = [_turn(conversation, i, tokenizer) for i in conversation.supervised]
    renderings = []
    while pending:
        _, whole, _ = pending[-1]
        together = [turn for turn in pending if whole.startswith(turn[1][: turn[2][1]])]
        pending = [turn for turn in pending if turn not in together]
        last = together[-1][0]
        left_out = left_out_of(conversation, last, whole, tokenizer)
        for i, _, (start, end) in together:
            left_out |= check_answer(conversation, i, whole[start:end])
        rendering = Rendering(
            text=whole,
            spans=tuple(span for _, _, span in together),
            unlearned=tuple(unlearned_spans(conversation, last, whole, tokenizer)),
            origin=conversation.origin,
            left_out=frozenset(left_out),
        )
        renderings.insert(0, rendering)
    return renderings


def _turn(
    conversation: Conversation, i: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, str, Span]:
    """One learned turn: its index, the text up to its end, and where in it the turn is."""
    if i == 0:
        raise UserError(
            f"{conversation.origin}: begins with an assistant turn, which no prompt leads to; "
            "give that turn `weight: 0`, or begin with a user turn"
        )
    prompt = rendered(conversation, i, tokenizer, add_generation_prompt=True)
    text = rendered(conversation, i + 1, tokenizer)
    if not text.startswith(prompt):
        same = next((k for k in range(len(text)) if text[k] != prompt[k : k + 1]), len(text))
        raise UserError(
            f"{conversation.origin}, message {i + 1}: the chat template's prompt for an answer "
            f"goes on with {prompt[same:][:60]!r}, but the answer is rendered after it as "
            f"{text[same:][:60]!r}, so the model would not be asked what it learned\n"
            f"{_way_out(conversation, i, tokenizer)}"
        )
    end = _end_of_turn(conversation, i, text, tokenizer)
    return i, text, (len(prompt), max(end, len(prompt)))


def _way_out(conversation: Conversation, i: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """What to change where the prompt for answer i goes on with what the answer does not have."""
    switch = "enable_thinking"
    another = "hoose another template with training.chat_template_path"
    if switch not in template_source(conversation, tokenizer):
        return f"C{another}, or other data.chat_template_kwargs."
    if conversation.variables.get(switch, True):
        return f"Set {switch}: false in data.chat_template_kwargs, or c{another}."
    if conversation.messages[i].get("reasoning_content"):
        return (
            f"{switch} is false, and this answer has reasoning: give rows with reasoning "
            f'{{"{switch}": true}} in a column `chat_template_kwargs`, or leave the reasoning out.'
        )
    return f"{switch} is false already: c{another}."


def _end_of_turn(
    conversation: Conversation, i: int, text: str, tokenizer: PreTrainedTokenizerBase
) -> int:
    """Where the turn that ends a text ends, what the template adds once to the last one apart.

    Phi-3's template closes a turn with <|end|>, and the whole with a line break and the end token:
    generation has stopped before these.
    """
    special = special_texts(tokenizer)
    end, token = end_of(text, len(text), special)
    before, earlier = end_of(text, end - len(token), special)
    if not token or not earlier or before == end - len(token):
        return end
    following = {"role": "user", "content": "?"}
    longer = replace(conversation, messages=(*conversation.messages[: i + 1], following))
    with suppress(UserError):
        if not rendered(longer, i + 2, tokenizer).startswith(text[:end]):
            return before
    return end
