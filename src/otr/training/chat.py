"""Conversations as the chat template renders them, with the stretches that are learned."""

import json
import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from otr.errors import UserError
from otr.training.conversation import Conversation, Message
from otr.training.rendering import Rendering, Span, contains, special_texts

THINK = re.compile(r"</?think(?:ing)?>")
MARKER = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


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
    source = _source(conversation, tokenizer)
    if MARKER.search(source):
        return [_marked_rendering(conversation, tokenizer, source)]
    pending = [_turn(conversation, i, tokenizer) for i in conversation.supervised]
    renderings = []
    while pending:
        _, whole, _ = pending[-1]
        together = [turn for turn in pending if whole.startswith(turn[1][: turn[2][1]])]
        pending = [turn for turn in pending if turn not in together]
        last = together[-1][0]
        left_out = _left_out(conversation, last, whole, tokenizer)
        for i, _, (start, end) in together:
            left_out |= _check_answer(conversation, i, whole[start:end])
        rendering = Rendering(
            text=whole,
            spans=tuple(span for _, _, span in together),
            origin=conversation.origin,
            left_out=frozenset(left_out),
        )
        renderings.insert(0, rendering)
    return renderings


def _source(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> str:
    try:
        return tokenizer.get_chat_template(None, list(conversation.tools) or None)
    except ValueError:
        raise UserError(
            "model: its tokenizer has no chat template, which conversations need\n"
            "Choose a chat model, set training.chat_template_path to a template, or use "
            "data.prompt and data.completion."
        ) from None


def _rendered(
    conversation: Conversation,
    num_messages: int,
    tokenizer: PreTrainedTokenizerBase,
    add_generation_prompt: bool = False,
) -> str:
    try:
        text = tokenizer.apply_chat_template(
            list(conversation.messages[:num_messages]),
            tools=list(conversation.tools) or None,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **conversation.variables,
        )
    except Exception as error:
        raise _refusal(conversation, error) from error
    return _encodable(str(text), conversation)


def _refusal(conversation: Conversation, error: Exception) -> UserError:
    # A template is a program: besides TemplateError it can raise whatever its expressions do.
    roles = ", ".join(message["role"] for message in conversation.messages[:8])
    return UserError(
        f"{conversation.origin}: the chat template cannot render this conversation: "
        f"{str(error) or type(error).__name__}\nIts roles: {roles}; change the row, or choose a "
        "template that takes it with training.chat_template_path."
    )


def _encodable(text: str, conversation: Conversation) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{conversation.origin}: holds half of a surrogate pair, which no tokenizer can "
                "encode; correct or remove the row"
            ) from None
    return text


def _turn(
    conversation: Conversation, i: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, str, Span]:
    """One learned turn: its index, the text up to its end, and where in it the turn is."""
    if i == 0:
        raise UserError(
            f"{conversation.origin}: begins with an assistant turn, which no prompt leads to; "
            "give that turn `weight: 0`, or begin with a user turn"
        )
    prompt = _rendered(conversation, i, tokenizer, add_generation_prompt=True)
    text = _rendered(conversation, i + 1, tokenizer)
    if not text.startswith(prompt):
        same = next((k for k in range(len(text)) if text[k] != prompt[k : k + 1]), len(text))
        raise UserError(
            f"{conversation.origin}, message {i + 1}: the chat template's prompt for an answer "
            f"goes on with {prompt[same:][:60]!r}, but the answer is rendered after it as "
            f"{text[same:][:60]!r}, so the model would not be asked what it learned\nChoose "
            "another template with training.chat_template_path, or set data.chat_template_kwargs, "
            "such as {enable_thinking: false}."
        )
    end = _end_of_turn(conversation, i, text, tokenizer)
    return i, text, (len(prompt), max(end, len(prompt)))


def _end_of_turn(
    conversation: Conversation, i: int, text: str, tokenizer: PreTrainedTokenizerBase
) -> int:
    """Where the turn that ends a text ends, what the template adds once to the last one apart.

    Phi-3's template closes a turn with <|end|>, and the whole with a line break and the end token:
    generation has stopped before these.
    """
    special = special_texts(tokenizer)
    end, token = _end(text, len(text), special)
    before, earlier = _end(text, end - len(token), special)
    if not token or not earlier or before == end - len(token):
        return end
    following = {"role": "user", "content": "?"}
    longer = replace(conversation, messages=(*conversation.messages[: i + 1], following))
    with suppress(UserError):
        if not _rendered(longer, i + 2, tokenizer).startswith(text[:end]):
            return before
    return end


def _end(text: str, stop: int, special: Sequence[str]) -> tuple[int, str]:
    """Where a turn that stops at most at `stop` ends, and the special token that ends it."""
    stripped = text[:stop].rstrip()
    token = max((word for word in special if stripped.endswith(word)), key=len, default="")
    return len(stripped), token


def _marked_rendering(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, source: str
) -> Rendering:
    """The rendering of a template that marks what the assistant says by {% generation %}."""
    last = conversation.supervised[-1]
    try:
        rendered: Any = render_jinja_template(
            conversations=[list(conversation.messages[: last + 1])],
            tools=list(conversation.tools) or None,
            chat_template=source,
            return_assistant_tokens_mask=True,
            **{**tokenizer.special_tokens_map, **conversation.variables},  # pyright: ignore[reportArgumentType]
        )
    except Exception as error:
        raise _refusal(conversation, error) from error
    texts, marks = rendered
    text = _encodable(texts[0], conversation)
    special = special_texts(tokenizer)
    ending = re.compile(rf"\s*{re.escape(_end(text, len(text), special)[1])}")
    spans: list[Span] = []
    asked = [_asked(conversation, i, text, tokenizer) for i in conversation.supervised]
    for start, stop in _supervised_marks(conversation, tokenizer, text, marks[0]):
        # Some markers take in what the prompt for an answer has already, such as the role.
        start = max([known for known in asked if start < known <= stop], default=start)
        end, token = _end(text, stop, special)
        if not token:
            # Markers around the content alone would never teach the model to stop.
            match = ending.match(text, stop)
            end = match.end() if match and match.group().strip() else stop
        if spans and spans[-1][1] >= start:
            start = spans.pop()[0]
        if start < end:
            spans.append((start, end))
    learned = "".join(text[start:end] for start, end in spans)
    left_out = _left_out(conversation, last, text, tokenizer)
    for i in conversation.supervised:
        left_out |= _check_answer(conversation, i, learned, verb="mark as generated")
    if not spans:
        raise UserError(f"{conversation.origin}: the chat template marks nothing as generated")
    return Rendering(
        text=text, spans=tuple(spans), origin=conversation.origin, left_out=frozenset(left_out)
    )


def _asked(
    conversation: Conversation, i: int, text: str, tokenizer: PreTrainedTokenizerBase
) -> int:
    """How far a text is what the prompt for an answer has already; 0 if that cannot be said."""
    if i == 0:
        return 0
    prompt = _rendered(conversation, i, tokenizer, add_generation_prompt=True)
    if text.startswith(prompt):
        return len(prompt)
    before = _rendered(conversation, i, tokenizer)
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
    before = [_rendered(conversation, i, tokenizer) if i else "" for i in turns]
    if not all(text.startswith(start) for start in before):
        raise UserError(
            f"{conversation.origin}: cannot tell which of the template's generation markers "
            "belong to the turns that are learned; learn all turns, or split the conversation"
        )
    starts = [len(start) for start in before]
    owners = [turns[max(bisect_right(starts, start) - 1, 0)] for start, _ in marks]
    pairs = zip(owners, marks, strict=True)
    return [mark for i, mark in pairs if i in conversation.supervised]


def _check_answer(
    conversation: Conversation, i: int, learned: str, verb: str = "render"
) -> set[str]:
    """Check that the learned text holds the answer; says whether its reasoning is left out."""
    message: Message = conversation.messages[i]
    # The template may move reasoning written in the content; what follows it is the answer.
    *thoughts, answer = THINK.split(message["content"])
    names: list[Any] = [call["function"]["name"] for call in message.get("tool_calls", ())]
    for part in filter(None, (answer, *names)):
        if not contains(learned, part):
            what = "call of the tool" if part in names else "answer"
            raise UserError(
                f"{conversation.origin}, message {i + 1}: the chat template does not {verb} "
                f"the {what} {part.strip()[:60]!r}, so it would not be learned\nChoose another "
                "template with training.chat_template_path, or change the row."
            )
    reasoning = (*thoughts, message.get("reasoning_content", ""))
    rendered = all(contains(learned, part) for part in reasoning if part.strip())
    return set() if rendered else {"reasoning"}


def _left_out(
    conversation: Conversation, last: int, text: str, tokenizer: PreTrainedTokenizerBase
) -> set[str]:
    names = [tool["function"].get("name", "") for tool in conversation.tools]
    context = [m["content"] for m in conversation.messages[:last] if m["role"] != "assistant"]
    left_out = set()
    if not all(contains(text, str(name)) for name in names):
        left_out.add("tools")
    elif names:
        # Calls hold a tool's name too.
        with suppress(UserError):
            without = _rendered(replace(conversation, tools=()), last + 1, tokenizer)
            left_out |= {"tools"} if without == text else set()
    if not all(contains(text, content) for content in context):
        left_out.add("messages")
    return left_out
