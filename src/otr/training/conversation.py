"""Conversations of any common shape, as canonical messages.

{"role": "system" | "user" | "assistant" | "tool", "content": str}
an assistant's may add "reasoning_content": str and
"tool_calls": [{"type": "function", "function": {"name": str, "arguments": {...}}}]
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otr.errors import UserError, suggestion
from otr.rows import Row
from otr.training.columns import Columns, text_of
from otr.training.config import Data

Message = dict[str, Any]

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
    "function_call": "assistant",
    **dict.fromkeys(("tool", "observation", "function", "ipython"), "tool"),
}
REASONING = ("reasoning_content", "reasoning", "thinking")
# True where the value says that the turn is left out, as axolotl's `masked` does.
SUPERVISION = {
    "loss_weight": False,
    "weight": False,
    "train": False,
    "training": False,
    "loss": False,
    "masked": True,
}
TEXT_PARTS = ("text", "input_text", "output_text")
CALL_PARTS = ("tool_call", "tool_use", "function_call")
MEDIA = ("image", "audio", "video", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Canonical messages, the tools on offer, and which turns are learned."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    supervised: tuple[int, ...]
    """Indices of the messages that are learned, in order; all are assistant turns."""
    origin: str
    variables: Mapping[str, Any]
    """Variables of the chat template."""


def conversation(row: Row, columns: Columns, data: Data) -> Conversation:
    """The conversation in a row.

    A turn that states its supervision (`loss_weight`, `weight`, `train`, `training`, `loss`:
    0 or 1; `masked`: the inverse) follows it; the other assistant turns follow `data.supervise`.

    Raises: UserError naming the row if it is empty, has no assistant turn, an unknown role,
    images or audio, a fractional weight, or anything else that cannot be rendered as text.
    """
    turns = _turns(row, columns.messages)
    num_prompt = len(turns) if columns.completion else 0
    turns = turns + _turns(row, columns.completion) if columns.completion else turns
    messages, stated = [], []
    for number, turn in enumerate(turns, start=1):
        where = f"{row.origin}, message {number}"
        message = _message(turn, where)
        messages.append(message)
        is_learned = _supervision(turn, message["role"], where)
        stated.append(False if number <= num_prompt else is_learned)
    if columns.system and row.values.get(columns.system) and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": text_of(row, columns.system)})
        stated.insert(0, None)
    tools = row.values.get(columns.tools) if columns.tools else None
    return Conversation(
        messages=tuple(messages),
        tools=_tools(tools, f"{row.origin}, column {columns.tools!r}"),
        supervised=_supervised(messages, stated, data.supervise, row.origin),
        origin=row.origin,
        variables=data.chat_template_kwargs,
    )


def _turns(row: Row, column: str) -> list[Any]:
    where = f"{row.origin}, column {column!r}"
    turns = row.values.get(column)
    if isinstance(turns, str) and not turns.lstrip().startswith("["):
        raise UserError(
            f"{where}: expected a list of messages, found text: {turns[:60]!r}; for a column of plain "
            "text give `text:`, for questions and answers `prompt:` and `completion:`"
        )
    turns = _parsed(turns, where)
    if not isinstance(turns, list):
        found = "null or no such field" if turns is None else type(turns).__name__
        raise UserError(f"{where}: expected a list of messages, found {found}")
    if not turns:
        raise UserError(f"{where}: the conversation is empty")
    return turns


def _supervised(
    messages: Sequence[Message], stated: Sequence[bool | None], supervise: str, origin: str
) -> tuple[int, ...]:
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns:
        raise UserError(f"{origin}: the conversation has no assistant turn to learn")
    default = set(turns if supervise == "all" else turns[-1:])
    chosen = [i for i in turns if (i in default if stated[i] is None else stated[i])]
    for i in chosen:
        message = messages[i]
        answer = message["content"].strip() or message.get("reasoning_content", "").strip()
        if not answer and "tool_calls" not in message:
            turn = turns.index(i) + 1
            raise UserError(
                f"{origin}: assistant turn {turn} is empty; remove it, or give it `weight: 0`"
            )
    return tuple(chosen)


def _message(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict):
        raise UserError(f"{where}: expected an object with a role, found {type(turn).__name__}")
    turn = {key: value for key, value in turn.items() if value is not None}
    stated = turn.get("role", turn.get("from"))
    if not isinstance(stated, str):
        fields = ", ".join(map(str, turn)) or "(none)"
        raise UserError(f"{where}: needs a `role` (or `from`) that is text; its fields: {fields}")
    role = ROLES.get(stated.strip().lower())
    if role is None:
        raise UserError(
            f"{where}: unknown role {stated!r}{suggestion(stated, ROLES)}; known are "
            f"{', '.join(ROLES)}"
        )
    content = next((turn[key] for key in ("content", "value", "text") if key in turn), None)
    if stated.strip().lower() == "function_call":
        calls = _calls(_parsed(content, where), where)
        return {"role": role, "content": "", "tool_calls": calls}
    message = {"role": role, **_content(content, where)}
    if role == "assistant":
        _add_reasoning_and_calls(message, turn, where)
    elif {"reasoning_content", "tool_calls"} & set(message):
        raise UserError(f"{where}: only an assistant can reason or call tools, found a {stated}")
    if content is None and len(message) == 2:
        raise UserError(f"{where}: has no content; its fields: {', '.join(map(str, turn))}")
    if role == "tool":
        message |= {key: turn[key] for key in ("name", "tool_call_id") if key in turn}
    return message


def _add_reasoning_and_calls(message: Message, turn: Message, where: str) -> None:
    reasoning = next((turn[key] for key in REASONING if turn.get(key)), None)
    if reasoning is not None:
        if not isinstance(reasoning, str):
            raise UserError(f"{where}: the reasoning is {type(reasoning).__name__}, not text")
        message.setdefault("reasoning_content", reasoning)
    calls = turn.get("tool_calls") or turn.get("function_call")
    if calls:
        message.setdefault("tool_calls", []).extend(_calls(_parsed(calls, where), where))


def _content(content: Any, where: str) -> Message:
    """The content, and what its parts say of reasoning and tool calls."""
    if content is None or isinstance(content, str):
        return {"content": content or ""}
    if not isinstance(content, list):
        found = type(content).__name__
        raise UserError(f"{where}: expected content as text or a list of parts, found {found}")
    parts: dict[str, list[Any]] = {"reasoning": [], "text": [], "tool_call": []}
    order = list(parts)
    last = "reasoning"
    for part in content:
        kind, value = _part(part, where)
        if order.index(kind) < order.index(last):
            raise UserError(
                f"{where}: a {kind} part after a {last} part; chat templates render reasoning, "
                "then text, then tool calls, so split it into several messages"
            )
        last = kind
        parts[kind].append(value)
    message: Message = {"content": "".join(parts["text"])}
    if parts["reasoning"]:
        message["reasoning_content"] = "".join(parts["reasoning"])
    if parts["tool_call"]:
        message["tool_calls"] = [call for calls in parts["tool_call"] for call in calls]
    return message


def _part(part: Any, where: str) -> tuple[str, Any]:
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
    if kind in CALL_PARTS:
        call = next((part[key] for key in ("value", kind) if part.get(key)), part)
        return "tool_call", _calls(_parsed(call, where), where)
    is_reasoning = kind in REASONING
    if not is_reasoning and kind not in TEXT_PARTS:
        known = (*TEXT_PARTS, *REASONING, *CALL_PARTS)
        raise UserError(
            f"{where}: a part of unknown type {kind!r}{suggestion(kind, known)}; known are "
            f"{', '.join(known)}"
        )
    value = next((part[key] for key in (kind, "text", "value", "content") if key in part), None)
    if not isinstance(value, str):
        raise UserError(
            f"{where}: a part of type {kind!r} needs its text under `text` or `value`, found "
            f"{type(value).__name__}"
        )
    return ("reasoning" if is_reasoning else "text"), value


def _calls(calls: Any, where: str) -> list[Message]:
    """Tool calls in OpenAI's shape, from one or several in that shape or bare."""
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
        keys = ("arguments", "parameters", "input")
        arguments = next((function[key] for key in keys if function.get(key) is not None), {})
        arguments = _parsed(arguments, where) if arguments != "" else {}
        if not isinstance(arguments, dict):
            raise UserError(
                f"{where}: the arguments of the call of {name!r} are not an object: "
                f"{str(arguments)[:60]!r}"
            )
        identity = {"id": call["id"]} if call.get("id") else {}
        function = {"name": name, "arguments": arguments}
        canonical.append({**identity, "type": "function", "function": function})
    return canonical


def _tools(tools: Any, where: str) -> tuple[dict[str, Any], ...]:
    if isinstance(tools, str) and not tools.strip():
        return ()
    tools = _parsed(tools, where)
    if not tools:
        return ()
    definitions = []
    for tool in tools if isinstance(tools, list) else [tools]:
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
            definitions.append({"type": "function", **tool})
        elif isinstance(tool, dict) and isinstance(tool.get("name"), str):
            definitions.append({"type": "function", "function": tool})
        else:
            raise UserError(
                f'{where}: expected tools as {{"name", "description", "parameters"}}, found '
                f"{str(tool)[:60]!r}"
            )
    return tuple(definitions)


def _parsed(value: Any, where: str) -> Any:
    """JSON in text as its value; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON: {error}: {value[:60]!r}") from None


def _supervision(turn: Message, role: str, where: str) -> bool | None:
    stated = {key: turn[key] for key in SUPERVISION if turn.get(key) is not None}
    answers = set()
    for key, value in stated.items():
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise UserError(
                f"{where}: {key} is {value!r}; a turn is learned or not, so give 0 or 1 "
                "(fractional weights are not supported)"
            )
        answers.add(bool(value) is not SUPERVISION[key])
    if len(answers) > 1:
        raise UserError(f"{where}: {' and '.join(stated)} contradict each other; keep one of them")
    supervised = answers.pop() if answers else None
    if supervised and role != "assistant":
        raise UserError(
            f"{where}: asks to learn a {role} turn ({', '.join(stated)}); only assistant turns "
            "can be learned, so remove it or set it to 0"
        )
    return supervised
