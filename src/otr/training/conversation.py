"""Conversations of any common shape: canonical messages, tools, and what of them is learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otr.errors import UserError
from otr.rows import Row
from otr.training.columns import Columns, text_of
from otr.training.config import Data
from otr.training.marks import Stretch
from otr.training.turns import Message, parsed, turn_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Canonical messages, the tools on offer, and which turns are learned."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    supervised: tuple[int, ...]
    """Indices of the messages that are learned, in order; all are assistant turns."""
    unlearned: Mapping[int, tuple[Stretch, ...]]
    """What of these is not learned, by their indices."""
    unread: frozenset[str]
    """Keys of turns, parts and tool calls that hold something and are not read."""
    origin: str
    variables: Mapping[str, Any]
    """Variables of the chat template."""


def conversation(row: Row, columns: Columns, data: Data) -> Conversation:
    """The conversation in a row.

    A turn, or a part of it, that says by a mark of `otr.training.marks` whether it is learned is
    followed; the other assistant turns follow `data.supervise`.

    Raises: UserError naming the row if it is empty, has no assistant turn, an unknown role,
    images or audio, a mark that cannot be followed, or anything else that cannot be rendered as
    text.
    """
    given = _turns(row, columns.messages)
    num_prompt = len(given) if columns.completion else 0
    given = given + _turns(row, columns.completion) if columns.completion else given
    turns = [
        turn_of(_without(turn, data.ignore), f"{row.origin}, message {number}")
        for number, turn in enumerate(given, start=1)
    ]
    messages = [turn.message for turn in turns]
    stated = [False if i < num_prompt else turn.is_learned for i, turn in enumerate(turns)]
    unlearned = [turn.unlearned for turn in turns]
    if columns.system and row.values.get(columns.system) and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": text_of(row, columns.system)})
        stated.insert(0, None)
        unlearned.insert(0, ())
    tools = row.values.get(columns.tools) if columns.tools else None
    supervised = _supervised(messages, stated, data.supervise, row.origin)
    return Conversation(
        messages=tuple(messages),
        tools=_tools(tools, f"{row.origin}, column {columns.tools!r}"),
        supervised=supervised,
        unlearned={i: unlearned[i] for i in supervised if unlearned[i]},
        unread=frozenset[str]().union(*(turn.unread for turn in turns)),
        origin=row.origin,
        variables={**data.chat_template_kwargs, **_variables(row, columns.variables)},
    )


def _without(turn: Any, ignored: Sequence[str]) -> Any:
    if not ignored or not isinstance(turn, dict):
        return turn
    return {key: value for key, value in turn.items() if key not in ignored}


def _variables(row: Row, column: str) -> Mapping[str, Any]:
    """A row's own variables of the chat template."""
    found = row.values.get(column) if column else None
    if found is None or found == "":
        return {}
    where = f"{row.origin}, column {column!r}"
    variables = parsed(found, where)
    if variables is None:
        return {}
    if not isinstance(variables, dict):
        raise UserError(
            f"{where}: expected variables of the chat template as an object, such as "
            f'{{"enable_thinking": false}}, found {str(found)[:60]!r}'
        )
    return variables


def _turns(row: Row, column: str) -> list[Any]:
    where = f"{row.origin}, column {column!r}"
    turns = row.values.get(column)
    if isinstance(turns, str) and not turns.lstrip().startswith("["):
        raise UserError(
            f"{where}: expected a list of messages, found text: {turns[:60]!r}; for a column of plain "
            "text give `text:`, for questions and answers `prompt:` and `completion:`"
        )
    turns = parsed(turns, where)
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


def _tools(tools: Any, where: str) -> tuple[dict[str, Any], ...]:
    if isinstance(tools, str) and not tools.strip():
        return ()
    tools = parsed(tools, where)
    if not tools:
        return ()
    definitions = []
    for tool in tools if isinstance(tools, list) else [tools]:
        tool = parsed(tool, where)
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
