"""docs/benchmarks.md: the catalogue's table and grading's figures, between paragraphs written by hand."""

from pathlib import Path
from typing import Any

from otr import runs
from otr.evaluation.benchmark_file import benchmark_file, catalogue
from reliability.report import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_TEXT = Path(__file__).parent / "benchmarks.md"


def document() -> str:
    """The whole page: benchmarks.md here, with each line `[[name]]` replaced by what it names."""
    found = runs.read_json(RESULTS / "grading.json")
    parts = {
        "catalogue": _catalogue,
        "choices": _choices,
        "said": lambda: _counts(found, "said"),
        "changed": lambda: _counts(found, "changed"),
        "misses": lambda: _misses(found["misses"]),
        "time": lambda: _time(found),
    }
    lines = []
    for line in _TEXT.read_text(encoding="utf-8").splitlines():
        named = line.startswith("[[") and line.endswith("]]")
        lines += parts[line[2:-2]]() if named else [line]
    return "\n".join(lines) + "\n"


def _catalogue() -> list[str]:
    lines = ["| name | what | on the hub | rule | licence | source |", "|---|---|---|---|---|---|"]
    for name in catalogue():
        each = benchmark_file(name)
        place = ", ".join(
            part for part in (each.data.hub, each.data.configuration, each.data.split) if part
        )
        lines.append(
            f"| `{name}` | {each.title} | {place} | `{each.answer.rule}` "
            f"| {each.licence or 'see the data'} | {each.source} |"
        )
    return lines


def _choices() -> list[str]:
    return [f"- `{name}`: {benchmark_file(name).ours}" for name in catalogue()]


def _counts(found: dict[str, Any], side: str) -> list[str]:
    """A row for each way, a column for each data set."""
    counts = {tuple(key.split(": ", 1)): value for key, value in found["counts"][side].items()}
    names = list(dict.fromkeys(name for name, _ in counts))
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for kind in dict.fromkeys(kind for _, kind in counts):
        cells = [
            f"{count['right']:,} of {count['cases']:,}"
            if (count := counts.get((name, kind)))
            else "–"
            for name in names
        ]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return lines


# Why an answer is graded otherwise than it should be, by the question's id.
_CAUSES: dict[str, str] = {}


def _misses(misses: list[dict[str, Any]]) -> list[str]:
    """Every answer that is graded otherwise than it should be, with its cause."""
    if not misses:
        return ["None is graded otherwise than it should be."]
    lines = ["| question | how | reference | found | cause |", "|---|---|---|---|---|"]
    for each in misses:
        cause = _CAUSES.get(each["id"], each["problem"] or "not looked into yet")
        cells = (f"`{each[key]}`".replace("|", "\\|") for key in ("reference", "extracted"))
        lines.append(f"| {each['id']} | {each['kind']} | {' | '.join(cells)} | {cause} |")
    return lines


def _time(found: dict[str, Any]) -> list[str]:
    ordinary = found["ordinary"]
    return [
        f"All {found['num_cases']:,} answers of the tables took {found['seconds']:,.0f} s, and "
        f"{ordinary['num']:,} of them, spread evenly, {ordinary['seconds']:,.0f} s, with "
        f"{ordinary['num_workers']} worker processes."
    ]
