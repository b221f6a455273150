"""The committed study files: what each run scored, a run a line; everything else follows from it."""

from pathlib import Path
from typing import Any

from otr import runs

RESULTS = Path(__file__).parent / "results"

_KEPT = ("name", "title", "model", "budget", "validation", "benchmarks", "untuned", "failed")


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write what a study's results.json holds of its runs; statistics are made anew from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {key: results[key] for key in _KEPT}
    runs.write_jsonl(path, [header, *results["runs"]])


def read_results(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A regime's header, and its runs."""
    header, *rows = runs.read_jsonl(RESULTS / f"{name}.jsonl")
    return header, rows
