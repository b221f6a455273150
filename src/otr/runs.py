"""A run folder on disk: plain files, no torch, nothing pickled.

config.yaml        the resolved configuration
environment.json   versions, git state, hardware, data hashes
metrics.jsonl      one object a logged step
samples.jsonl      generations of the fixed prompts during training
audit.json         what the data lost on their way to tokens
cost.json          seconds, tokens a second, peak memory, the head's share of the time
checkpoints/       the trainer's own checkpoints, each with a manifest.json of its files' hashes
skipped/           batches of steps that were not finite, so not applied
model/             safetensors, tokenizer and model card, loads with `from_pretrained`
scores.json, answers.jsonl   after an evaluation
answers.partial/   of an evaluation that is not finished, its answers so far
failed.json        of a run in a study, why it failed

A study folder holds run folders, study.yaml, logs/ with what each run printed and, at the end,
results.json, tokens.json and report.html.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NotRequired, TypeVar

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from typing_extensions import TypedDict

from otr.errors import UserError, file_suggestion

Kind = TypeVar("Kind")

_MOST_VALUES, _DEEPEST = 100_000, 50
"""Of a YAML document: a few lines with aliases of aliases could stand for more than memory holds."""

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
CHECKPOINTS = "checkpoints"
SKIPPED = "skipped"
TRACKERS = "trackers"
MODEL = "model"
COST = "cost.json"
AUDIT = "audit.json"
SCORES = "scores.json"
ANSWERS = "answers.jsonl"
PARTIAL = "answers.partial"
FAILED = "failed.json"


class Audit(TypedDict):
    """What audit.json must hold."""

    num_examples: int
    num_tokens: int
    num_supervised: int
    problems: list[str]
    notes: list[str]


class Scored(TypedDict):
    """What every entry of scores.json must hold, and what is read of it where it is there."""

    n: int
    accuracy: NotRequired[float]
    interval_95: NotRequired[tuple[float, float]]
    num_truncated: NotRequired[int]
    samples: NotRequired[int]
    metrics: NotRequired[dict[str, float]]
    """What lm-evaluation-harness measures, also where nothing is right or wrong."""


class Environment(TypedDict):
    """What environment.json must hold."""

    versions: dict[str, str | None]
    data_sha256: dict[str, str]
    started_in: NotRequired[str]
    """The folder that the configuration's relative paths start from; not in runs of version 0.1."""


STUDY = "study.yaml"
LOGS = "logs"
RESULTS = "results.json"
TOKENS = "tokens.json"
REPORT = "report.html"


def finite(value: Any) -> Any:
    """A number that JSON cannot write, as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse_links(folder: Path) -> None:
    """Raise UserError if something in a run or study folder, or in its logs, is a link: what it
    leads to would be read as the run's, or written over."""
    for inside in (folder, folder / LOGS):
        for path in inside.iterdir() if inside.is_dir() else ():
            if path.is_symlink():
                raise UserError(
                    f"{path}: is a link to {os.readlink(path)}, and a run's files are read and "
                    "written in its own folder only; put the file itself there, or remove the link"
                )


def file_sha256(path: Path) -> str:
    """The SHA-256 of what is in a file, which is not held in memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: aside, flushed to disk, then renamed."""
    aside = path.with_name(f".{path.name}.part")
    aside.unlink(missing_ok=True)
    # "x" opens nothing that is there, not even through a link.
    with open(aside, "x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def flush(path: Path) -> None:
    """Have a file's contents, or a folder's entries, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_all(folder: Path) -> None:
    """Have a folder with all that is in it on disk, so that it can be given its name."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in a file.

    Raises: UserError with file and line if it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None


def read_as(path: Path, kind: type[Kind]) -> Kind:
    """The JSON value in a file, of the kind that is expected there.

    Raises: UserError with file and field if it is missing, not JSON, or of another kind.
    """
    try:
        return TypeAdapter(kind).validate_python(read_json(path))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UserError(
            f"{path}: {where + ': ' if where else ''}{problem['msg']}; the file was changed or is "
            "damaged"
        ) from None


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, the file whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append one JSON object as a line of its own."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one JSON object a line; blank lines are skipped.

    Raises: UserError with file and line if a line is not a JSON object.
    """
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise UserError(f"{path}, line {number}: not valid JSON: {error}") from None
                if not isinstance(row, dict):
                    raise UserError(
                        f"{path}, line {number}: expected an object with named fields, "
                        f"found {type(row).__name__}"
                    )
                yield row
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from None


def read_yaml(path: Path) -> CommentedMap:
    """A YAML 1.2 document that is a mapping, with the line of every key.

    Raises: UserError with file and line.
    """
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file{file_suggestion(path)}") from None
    except (IsADirectoryError, PermissionError) as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = str(error.problem or error.context).splitlines()[0]
        look = "" if isinstance(error, DuplicateKeyError) else (
            "; look at the indentation, at quotes and brackets, and for the blank after each colon"
        )  # fmt: skip
        raise UserError(f"{path}{line}: not valid YAML: {problem}{look}") from None
    except (YAMLError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(document, CommentedMap):
        found = "nothing" if document is None else type(document).__name__
        raise UserError(f"{path}: expected sections such as `model:` and `data:`, found {found}")
    if _num_values(document, _MOST_VALUES, _DEEPEST) > _MOST_VALUES:
        raise UserError(
            f"{path}: holds more than {_MOST_VALUES:,} values or {_DEEPEST} levels once every alias "
            "stands for what it repeats"
        )
    return document


def _num_values(value: Any, most: int, levels: int) -> int:
    """How many values a document holds with its aliases written out; counting ends above `most`."""
    if levels == 0:
        return most + 1
    count = 1
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        count += _num_values(each, most - count, levels - 1)
        if count > most:
            break
    return count


def model_folder(run_or_model: str) -> str:
    """The model inside a run folder; any other name (a model folder, a hub id) as it is."""
    inside = Path(run_or_model) / MODEL
    return str(inside) if inside.is_dir() else run_or_model
