"""Which columns of the data are the prompt, the completion, the conversation or the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from otr.errors import UserError, suggestion
from otr.rows import Row
from otr.training.config import Data

Kind = Literal["messages", "completion", "text"]

SHAREGPT = "conversations"
ALPACA = ("instruction", "input", "output")
PAIRS = (("prompt", "completion"), ("question", "answer"))
SYSTEM = "system"
VARIABLES = "chat_template_kwargs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that one kind of data is read from; those of the other kinds are empty.

    Of kind `messages`, `completion` is the column of the turns that are learned, where prompt and
    completion are conversations; `messages` then holds the prompt.
    """

    kind: Kind
    prompt: tuple[str, ...] = ()
    completion: str = ""
    messages: str = ""
    tools: str = ""
    system: str = ""
    variables: str = ""
    """The chat template's, which each row may have of its own."""
    text: str = ""

    @property
    def used(self) -> tuple[str, ...]:
        """All columns that are read."""
        names = (*self.prompt, self.completion, self.messages, self.tools, self.system)
        return tuple(name for name in (*names, self.variables, self.text) if name)


def columns(rows: Sequence[Row], data: Data) -> Columns:
    """The columns that the configuration names, or else those the data is recognised by.

    `messages`, `conversations` (ShareGPT), `instruction`, `input` and `output` (Alpaca),
    `prompt` and `completion`, `question` and `answer`, `text` are recognised, in this order. Columns
    that `data.ignore` names are as if they were not there.

    Raises: UserError if the settings contradict each other, a named column is missing, or
    nothing is recognised.
    """
    names = dict.fromkeys(name for row in rows for name in row.values)
    present = [name for name in names if name not in data.ignore]
    found = _named(data) or _recognised(present, rows[0].origin)
    for name in found.used:
        _require(name, present, rows[0].origin)
    if found.kind == "completion":
        prompt, *more = found.prompt
        if isinstance(rows[0].values.get(prompt), list):
            if more:
                raise UserError("data: a prompt of several columns has to be text, found messages")
            found = Columns(kind="messages", messages=prompt, completion=found.completion)
    if found.kind == "messages":
        # A resolved file spells out the column that is looked for without being asked for.
        if data.tools != Data.model_fields["tools"].default:
            _require(data.tools, present, rows[0].origin)
        found = Columns(
            kind="messages",
            messages=found.messages,
            completion=found.completion,
            tools=data.tools if data.tools in present else "",
            system=SYSTEM if SYSTEM in present else "",
            variables=VARIABLES if VARIABLES in present else "",
        )
    return found


def text_of(row: Row, column: str) -> str:
    """The text in a column of a row.

    Raises: UserError if it is missing, null or not text, or has half of a surrogate pair.
    """
    value = row.values.get(column)
    fault = _fault(value)
    if fault:
        raise UserError(f"{row.origin}, column {column!r}: expected text, found {fault}")
    return value  # pyright: ignore[reportReturnType]


def check_texts(rows: Sequence[Row], found: Columns) -> None:
    """Check that prompt, completion and text are text in every row, and that none is empty.

    Of several prompt columns, those after the first may be empty or null.

    Raises: UserError that counts the bad rows and names the first.
    """
    required = [*found.prompt[:1], *filter(None, (found.completion, found.text))]
    for column in (*found.prompt, *filter(None, (found.completion, found.text))):
        optional = column not in required
        faults = []
        for row in rows:
            value = row.values.get(column)
            fault = "" if optional and value is None else _fault(value)
            if not fault and not optional and not str(value).strip():
                fault = "only blanks" if value else "nothing: it is empty"
            if fault:
                faults.append((row, fault))
        if faults:
            row, fault = faults[0]
            raise UserError(
                f"{row.origin}, column {column!r}: expected text, found {fault}"
                f"{_others(len(faults), len(rows))}\nCorrect or remove "
                f"{'these rows' if len(faults) > 1 else 'this row'}, or name another column."
            )


def _others(num_bad: int, num_rows: int) -> str:
    return f"; {num_bad} of the {num_rows} rows are like that" if num_bad > 1 else ""


def _fault(value: Any) -> str:
    if value is None:
        return "null or no such field"
    if not isinstance(value, str):
        return f"{type(value).__name__} {str(value)[:40]!r}"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair, which no tokenizer can encode"
    return ""


def _named(data: Data) -> Columns | None:
    kinds = {
        "messages": data.messages is not None,
        "text": data.text is not None,
        "prompt and completion": data.prompt is not None or data.completion is not None,
    }
    given = [kind for kind, is_given in kinds.items() if is_given]
    if len(given) > 1:
        raise UserError(
            f"data: {' and '.join(given)} cannot go together; keep the one that the data holds"
        )
    if not given:
        return None
    if data.messages is not None:
        return Columns(kind="messages", messages=_not_blank("messages", data.messages))
    if data.text is not None:
        return Columns(kind="text", text=_not_blank("text", data.text))
    if data.prompt is None or data.completion is None:
        missing = "prompt" if data.prompt is None else "completion"
        way_out = "data.text for text without a prompt" if missing == "prompt" else "data.text"
        raise UserError(
            f"data: {missing} is missing; prompt and completion are given together "
            f"(or use {way_out}, all of it supervised)"
        )
    prompt = (data.prompt,) if isinstance(data.prompt, str) else tuple(data.prompt)
    if not prompt:
        raise UserError("data: prompt is an empty list; give at least one column")
    if len({*prompt, data.completion}) <= len(prompt):
        raise UserError("data: prompt and completion name the same column twice")
    return Columns(
        kind="completion",
        prompt=tuple(_not_blank("prompt", name) for name in prompt),
        completion=_not_blank("completion", data.completion),
    )


def _not_blank(setting: str, name: str) -> str:
    if not name:
        raise UserError(f"data: {setting} is an empty name; give the name of a column")
    return name


def _recognised(present: list[str], origin: str) -> Columns:
    for name in ("messages", SHAREGPT):
        if name in present:
            return Columns(kind="messages", messages=name)
    instruction, context, output = ALPACA
    if instruction in present and output in present:
        prompt = (instruction, context) if context in present else (instruction,)
        return Columns(kind="completion", prompt=prompt, completion=output)
    for question, answer in PAIRS:
        if question in present and answer in present:
            return Columns(kind="completion", prompt=(question,), completion=answer)
    if "text" in present:
        return Columns(kind="text", text="text")
    raise UserError(
        f"{origin}: no known format has the columns {', '.join(present) or '(none)'}\n"
        "Set data.prompt and data.completion, data.messages, or data.text to column names."
    )


def _require(name: str, present: list[str], origin: str) -> None:
    if name not in present:
        raise UserError(
            f"{origin}: there is no column {name!r}, only {', '.join(present) or '(none)'}"
            f"{suggestion(name, present)}"
        )
