"""From rows of data to the questions of a benchmark, as its file describes them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from otr.errors import UserError
from otr.evaluation.benchmark_file import BenchmarkFile, Columns
from otr.evaluation.choices import LETTERS
from otr.evaluation.sources import Source
from otr.evaluation.template import filled
from otr.rows import Row, hub_rows, read_rows


@dataclass(frozen=True, kw_only=True)
class QuestionRow:
    """One question as its row gives it."""

    id: str
    prompt: str
    messages: list[dict[str, str]]
    reference: str
    category: str | None
    details: Mapping[str, Any] = field(default_factory=dict)


def read_questions(source: Source) -> Iterator[QuestionRow]:
    """The questions of a benchmark, from its file, its folder or the hub.

    Raises: UserError if they cannot be reached, or a row lacks what the benchmark needs.
    """
    described = source.file
    assert described is not None
    rows = _rows(source, described)
    ids: set[str] = set()
    for number, row in enumerate(rows):
        question = _question(row, described, number)
        if question.id in ids:
            raise UserError(f"{row.origin}: the id {question.id!r} is there twice")
        ids.add(question.id)
        yield question


def _rows(source: Source, described: BenchmarkFile) -> list[Row]:
    data = described.data
    if source.path is not None:
        if source.path.is_dir() or source.path.exists():
            return read_rows(str(source.path), split=data.split)
        raise UserError(f"{source.path}: no such file; {_file_to_bring(source)}")
    assert data.hub is not None
    try:
        rows = list(hub_rows(data.hub, data.split, data.configuration, data.revision))
    except UserError as error:
        raise UserError(f"benchmark: {error}\n{_file_to_bring(source)}") from error
    if not rows:
        raise UserError(f"{data.hub}: holds no rows")
    return rows


def _file_to_bring(source: Source) -> str:
    described = source.file
    assert described is not None
    needed = [
        " or ".join(repr(name) for name in names)
        for field_name, names in {**described.columns, **described.details}.items()
        if field_name not in ("category", "id")
    ]
    name = source.name if described.data.hub else f"{source.name}.yaml"
    return (
        f"bring its questions as a .jsonl, .json, .parquet or .csv file, with {name}="
        f"path/to/test.jsonl; a row needs {', '.join(needed)}"
    )


def _question(row: Row, described: BenchmarkFile, number: int) -> QuestionRow:
    columns = described.columns
    values: dict[str, Any] = {"question": _text(row, columns["question"])}
    for name, names in described.details.items():
        values[name] = _held(row, names)
        if values[name] is None:
            raise UserError(f"{row.origin}: needs {_either(names)}, has {sorted(row.values)}")
    for name, names in described.optional.items():
        values[name] = _held(row, names)
    details = {key: value for key, value in values.items() if key != "question"}
    if "options" in columns:
        options = _held(row, columns["options"])
        if not isinstance(options, list) or not 2 <= len(options) <= len(LETTERS):
            raise UserError(
                f"{row.origin}: needs a list of options in {_either(columns['options'])}"
            )
        details["options"] = options
        values["options"] = "\n".join(
            f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)
        )
    try:
        return QuestionRow(
            id=_id(row, columns, number),
            prompt=filled(described.prompt.base, values),
            messages=[
                {"role": message.role, "content": filled(message.content, values)}
                for message in described.prompt.chat
            ],
            reference=_reference(row, described, details),
            category=_category(row, columns),
            details=details,
        )
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{row.origin}: {error}") from None


def _held(row: Row, names: list[str]) -> Any:
    """What the first of some columns holds that the row has."""
    return next((row.values[name] for name in names if row.values.get(name) is not None), None)


def _either(names: list[str]) -> str:
    return " or ".join(repr(name) for name in names)


def _text(row: Row, names: list[str]) -> str:
    value = _held(row, names)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{row.origin}: needs a text {_either(names)}, has {sorted(row.values)}")
    return value


def _id(row: Row, columns: Columns, number: int) -> str:
    value = _held(row, columns.get("id", []))
    return str(number if value is None else value)


def _category(row: Row, columns: Columns) -> str | None:
    value = _held(row, columns.get("category", []))
    return None if value is None else str(value)


def _reference(row: Row, described: BenchmarkFile, details: Mapping[str, Any]) -> str:
    """The reference as text: of a list its items; of a whole number no decimals; of options a
    letter."""
    names = described.columns["reference"]
    value = _held(row, names)
    rule = described.answer.rule
    if rule == "choice":
        return _letter(row, value, names, details)
    if isinstance(value, bool) or not isinstance(value, str | int | float | list):
        raise UserError(f"{row.origin}: needs a text {_either(names)}, has {sorted(row.values)}")
    if isinstance(value, list):
        value = ", ".join(str(item) for item in value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    if not text.strip():
        raise UserError(f"{row.origin}: {_either(names)} is empty")
    from otr.evaluation.answers import RULES

    if rule in RULES and RULES[rule].of_reference(text) is None:
        raise UserError(
            f"{row.origin}: the answer holds no {'number' if rule == 'number' else 'answer'}"
        )
    return text


def _letter(row: Row, value: Any, names: list[str], details: Mapping[str, Any]) -> str:
    options = details.get("options")
    known = LETTERS[: len(options)] if options else LETTERS
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(known):
        return known[value]
    if isinstance(value, str) and value.strip("(). ") in tuple(known):
        return value.strip("(). ")
    raise UserError(f"{row.origin}: {_either(names)} is {value!r}, not a letter of an option")
