"""A run folder on disk: plain files, no torch, nothing pickled.

config.yaml        the resolved configuration
environment.json   versions, git state, hardware, data hashes
metrics.jsonl      one object a logged step
samples.jsonl      generations of the fixed prompts during training
audit.json         what the data lost on their way to tokens
cost.json          seconds, tokens a second, peak memory, the head's share of the time
checkpoints/       the trainer's own checkpoints, each with a manifest.json of its files' hashes
skipped/           batches of steps that were not finite, so not applied
model/             safetensors and tokenizer, loads with `from_pretrained`
scores.json, answers.jsonl   after an evaluation
failed.json        of a run in a study, why it failed

A study folder holds run folders, study.yaml, logs/ with what each run printed and, at the end,
results.json, tokens.json and report.html.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from otr.errors import UserError

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
CHECKPOINTS = "checkpoints"
SKIPPED = "skipped"
MODEL = "model"
COST = "cost.json"
AUDIT = "audit.json"
SCORES = "scores.json"
ANSWERS = "answers.jsonl"
FAILED = "failed.json"

STUDY = "study.yaml"
LOGS = "logs"
RESULTS = "results.json"
TOKENS = "tokens.json"
REPORT = "report.html"


def finite(value: Any) -> Any:
    """A number that JSON cannot write, as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: aside, flushed to disk, then renamed."""
    aside = path.with_name(f".{path.name}.part")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


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
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None


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
                except json.JSONDecodeError as error:
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


def model_folder(run_or_model: str) -> str:
    """The model inside a run folder; any other name (a model folder, a hub id) as it is."""
    inside = Path(run_or_model) / MODEL
    return str(inside) if inside.is_dir() else run_or_model
