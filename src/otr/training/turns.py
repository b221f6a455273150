"""One turn of a conversation, in any common shape, as a canonical message.

{"role": "system" | "user" | "assistant" | "tool", "content": str}
an assistant's may add "reasoning_content": str and
"tool_calls": [{"type": "function", "function": {"name": str, "arguments": {...}}}]
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from otr.errors import UserError, suggestion
from otr.training.marks import (
    DETAILS,
    MARKS,
    Stretch,
    details_of,
    joined_parts,
    mark_names,
    stated,
    unlearned_by,
)

Message = dict[str, Any]

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "tool_response", "observation", "function", "ipython"), "tool"),
}
CONTENT = ("content", "value", "text")
REASONING = ("reasoning_content", "reasoning", "thinking")
TEXT_PARTS = ("text", "input_text", "output_text")
CALL_PARTS = ("tool_call", "tool_use", "function_call")
ARGUMENTS = ("arguments", "parameters", "input")
MEDIA = ("image", "audio", "video", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn as it is rendered, and what it says of its learning."""

    message: Message
    is_learned: bool | None
    """None if the turn does not say."""
    unlearned: tuple[Stretch, ...]
    """What of a learned turn is not."""
    unread: frozenset[str]
    """Keys that hold something and are not read, with what they belong to: `turn: name`."""


@dataclass(slots=True)
class _Read:
    """What is gathered while a turn is read."""

    where: str
    unread: set[str] = field(default_factory=set)

    def leave(self, what: str, values: Mapping[str, Any], known: Iterable[str]) -> None:
        """Note the keys of a turn, part or call that are neither known nor empty."""
        nothing: tuple[Any, ...] = (None, "", [], {})
        others = set(values) - set(known) - set(MARKS) - set(DETAILS)
        self.unread |= {f"{what}: {key}" for key in others if values[key] not in nothing}


def turn_of(turn: Any, where: str) -> Turn:
    """A turn as a canonical message, with its marks.

    Raises: UserError naming the row if it has no role or content, an unknown role or part, images or
    audio, or marks that cannot be followed.
    """
    if not isinstance(turn, dict):
        raise UserError(f"{where}: expected an object with a role, found {type(turn).__name__}")
    turn = {key: value for key, value in turn.items() if value is not None}
    name, role = _role(turn, where)
    read = _Read(where)
    content_key = next((key for key in CONTENT if key in turn), "")
    content = turn.get(content_key)
    part_marks: list[bool | None] = []
    unlearned: tuple[Stretch, ...] = ()
    if name in ("function_call", "tool_call"):
        message: Message = {"role": role, "content": ""}
        message["tool_calls"] = _calls(parsed(content, where), read)
        read.leave("turn", turn, {"role", "from", content_key})
    else:
        found, part_marks, unlearned = _content(content, read)
        message = {"role": role, **found}
        if role == "assistant":
            _add_reasoning_and_calls(message, turn, read)
        elif {"reasoning_content", "tool_calls"} & set(message):
            raise UserError(f"{where}: only an assistant can reason or call tools, found a {role}")
        if content is None and len(message) == 2:
            raise UserError(f"{where}: has no content; its fields: {', '.join(map(str, turn))}")
        of_tool = ("name", "tool_call_id") if role == "tool" else ()
        message |= {key: turn[key] for key in of_tool if key in turn}
        of_assistant = (*REASONING, "tool_calls", "function_call") if role == "assistant" else ()
        read.leave("turn", turn, {"role", "from", content_key, *of_tool, *of_assistant})
    is_learned, unlearned = _learning(turn, message, part_marks, unlearned, where)
    return Turn(
        message=message,
        is_learned=is_learned,
        unlearned=unlearned,
        unread=frozenset(read.unread),
    )


def _role(turn: Message, where: str) -> tuple[str, str]:
    """The name of a role, and the role."""
    found = turn.get("role", turn.get("from"))
    if not isinstance(found, str):
        fields = ", ".join(map(str, turn)) or "(none)"
        raise UserError(f"{where}: needs a `role` (or `from`) that is text; its fields: {fields}")
    name = found.strip().lower()
    if name not in ROLES:
        raise UserError(
            f"{where}: unknown role {found!r}{suggestion(found, ROLES)}; known are "
            f"{', '.join(ROLES)}"
        )
    return name, ROLES[name]


def _learning(
    turn: Message,
    message: Message,
    part_marks: list[bool | None],
    unlearned: tuple[Stretch, ...],
    where: str,
) -> tuple[bool | None, tuple[Stretch, ...]]:
    """Whether a turn is learned, as far as it says so, and what of it is not."""
    is_learned = stated(turn, where)
    details = details_of(turn, where)
    if details is not None:
        if not isinstance(next((turn[key] for key in CONTENT if key in turn), None), str) or (
            {"reasoning_content", "tool_calls"} & set(message)
        ):
            raise UserError(
                f"{where}: {mark_names(turn)} count the characters of a content that is text, and "
                "say nothing of parts, reasoning and tool calls; mark parts of the content "
                'instead: {"type": "text", "text": ..., "train": false}'
            )
        unlearned = unlearned_by(details, message["content"], where)
        has_learned = sum(end - start for _, start, end in unlearned) < len(message["content"])
        is_learned = has_learned if is_learned is None else is_learned and has_learned
    elif any(part_marks):
        if is_learned is False:
            raise UserError(
                f"{where}: {mark_names(turn)} leaves the turn out, and a part of it says that it is "
                "learned; keep one of them"
            )
        is_learned = True
    elif part_marks and not any(mark is None for mark in part_marks) and is_learned is None:
        is_learned = False
    if is_learned and message["role"] != "assistant":
        raise UserError(
            f"{where}: asks to learn a {message['role']} turn ({mark_names(turn) or 'by a part'}); "
            "only assistant turns can be learned, so remove it or set it to 0"
        )
    return is_learned, unlearned


def _add_reasoning_and_calls(message: Message, turn: Message, read: _Read) -> None:
    reasoning = next((turn[key] for key in REASONING if turn.get(key)), None)
    if reasoning is not None:
        if not isinstance(reasoning, str):
            raise UserError(f"{read.where}: the reasoning is {type(reasoning).__name__}, not text")
        message.setdefault("reasoning_content", reasoning)
    calls = turn.get("tool_calls") or turn.get("function_call")
    if calls:
        message.setdefault("tool_calls", []).extend(_calls(parsed(calls, read.where), read))


def _content(content: Any, read: _Read) -> tuple[Message, list[bool | None], tuple[Stretch, ...]]:
    """The content, with what its parts say of reasoning and tool calls; the marks of the parts, and
    what they leave out."""
    if content is None or isinstance(content, str):
        return {"content": content or ""}, [], ()
    if not isinstance(content, list):
        found = type(content).__name__
        raise UserError(f"{read.where}: expected content as text or a list of parts, found {found}")
    parts: dict[str, list[tuple[Any, bool | None]]] = {"reasoning": [], "text": [], "tool_call": []}
    order = list(parts)
    last = "reasoning"
    for part in content:
        kind, value, mark = _part(part, read)
        if order.index(kind) < order.index(last):
            raise UserError(
                f"{read.where}: a {kind} part after a {last} part; chat templates render "
                "reasoning, then text, then tool calls, so split it into several messages"
            )
        last = kind
        parts[kind].append((value, mark))
    text, unlearned = joined_parts("content", parts["text"])
    message: Message = {"content": text}
    if parts["reasoning"]:
        reasoning, more = joined_parts("reasoning_content", parts["reasoning"])
        message["reasoning_content"] = reasoning
        unlearned += more
    if parts["tool_call"]:
        message["tool_calls"] = [call for calls, _ in parts["tool_call"] for call in calls]
    return message, [mark for of_kind in parts.values() for _, mark in of_kind], unlearned


def _part(part: Any, read: _Read) -> tuple[str, Any, bool | None]:
    """The kind of a part, its value, and whether it says that it is learned."""
    where = read.where
    if isinstance(part, str):
        part = {"type": "text", "text": part}
    if not isinstance(part, dict):
        found = type(part).__name__
        raise UserError(f"{where}: expected parts of content to be objects, found {found}")
    kind = str(part.get("type", "text"))
    if any(medium in kind for medium in MEDIA):
        raise UserError(
            f"{where}: a part of type {kind!r}: only text can be learned here; remove rows with "
            "images, audio or files"
        )
    mark = stated(part, f"{where}, a part of type {kind!r}")
    if kind in CALL_PARTS:
        key = next((key for key in ("value", kind) if part.get(key)), "")
        call = part[key] if key else {k: v for k, v in part.items() if k != "type"}
        if key:
            read.leave("content part", part, {"type", key})
        _refuse_marked_call(mark, part, where)
        return "tool_call", _calls(parsed(call, where), read), mark
    is_reasoning = kind in REASONING
    if not is_reasoning and kind not in TEXT_PARTS:
        known = (*TEXT_PARTS, *REASONING, *CALL_PARTS)
        raise UserError(
            f"{where}: a part of unknown type {kind!r}{suggestion(kind, known)}; known are "
            f"{', '.join(known)}"
        )
    key = next((key for key in (kind, "text", "value", "content") if key in part), "")
    value = part.get(key)
    if not isinstance(value, str):
        raise UserError(
            f"{where}: a part of type {kind!r} needs its text under `text` or `value`, found "
            f"{type(value).__name__}"
        )
    read.leave("content part", part, {"type", key})
    return ("reasoning" if is_reasoning else "text"), value, mark


def _refuse_marked_call(mark: bool | None, values: Mapping[str, Any], where: str) -> None:
    if mark is False:
        raise UserError(
            f"{where}: a tool call is marked as not learned ({mark_names(values)}), which cannot be "
            "followed within a turn; mark the whole turn, or put the call into a turn of its own"
        )


def _calls(calls: Any, read: _Read) -> list[Message]:
    """Tool calls in OpenAI's shape, from one or several in that shape or bare."""
    where = read.where
    canonical = []
    if calls == []:
        raise UserError(f"{where}: expected a tool call, found an empty list")
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function", call) if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            raise UserError(
                f'{where}: expected a tool call as {{"name": ..., "arguments": {{...}}}}, found '
                f"{str(call)[:60]!r}"
            )
        _refuse_marked_call(stated(call, f"{where}, the call of {name!r}"), call, where)
        key = next((key for key in ARGUMENTS if function.get(key) is not None), "")
        arguments = function.get(key, {})
        arguments = parsed(arguments, where) if arguments != "" else {}
        if not isinstance(arguments, dict):
            raise UserError(
                f"{where}: the arguments of the call of {name!r} are not an object: "
                f"{str(arguments)[:60]!r}"
            )
        read.leave("tool call", call, {"id", "type", "function", "name", key})
        if function is not call:
            read.leave("tool call", function, {"name", key})
        identity = {"id": call["id"]} if call.get("id") else {}
        function = {"name": name, "arguments": arguments}
        canonical.append({**identity, "type": "function", "function": function})
    return canonical


def parsed(value: Any, where: str) -> Any:
    """JSON in text as its value; anything else as it is.

    Raises: UserError if the text is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON: {error}; found {value[:60]!r}") from None
