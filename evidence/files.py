"""The committed study files: what each run scored, a run a line; everything else follows from it."""

import sys
from pathlib import Path
from typing import Any

from otr import runs
from otr.evaluation.comparison import compare

RESULTS = Path(__file__).parent / "results"

_KEPT = ("name", "title", "model", "budget", "validation", "benchmarks", "untuned", "failed")


def write_or_check(document: Path, text: str, *, check: bool, command: str) -> int:
    """Write a generated document, or say whether it is up to date; the exit status."""
    if not check:
        runs.write_text(document, text)
        return 0
    if document.read_text(encoding="utf-8") == text:
        return 0
    print(f"{document} is out of date: {command}", file=sys.stderr)
    return 1


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write what a study's results.json holds of its runs; statistics are made anew from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {key: results[key] for key in _KEPT}
    runs.write_jsonl(path, [header, *results["runs"]])


def compared_again(header: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """results.json as it is by today's statistics."""
    header = dict(header)
    return compare(header.pop("name"), header.pop("title"), rows, **header).as_json()


def read_results(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A regime's header, and its runs."""
    header, *rows = runs.read_jsonl(RESULTS / f"{name}.jsonl")
    return header, rows
