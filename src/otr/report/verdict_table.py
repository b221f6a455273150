"""What a study found, as a table that is read in seconds: methods by groups of benchmarks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from otr.formats import points
from otr.report.figures import GROUPS

Results = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method on one group of benchmarks."""

    kind: str
    """`ahead`, `even` or `behind` the first method; empty if it is not compared with it."""

    words: str
    """What is to be seen first."""

    interval: str = ""

    score: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One study's rows."""

    title: str
    """Its own, where there are several studies; else empty."""

    link: str
    """The section with all of it."""

    rows: Sequence[tuple[str, Sequence[Cell]]]
    """Methods' labels, and a cell a group."""

    remark: str = ""
    """What is said of it beside its title."""

    note: str = ""


def groups_of(studies: Sequence[Results]) -> dict[str, str]:
    """The groups that any of the studies has, and their names in words."""
    return {
        key: name for key, name in GROUPS.items() if any(s["benchmarks"].get(key) for s in studies)
    }


def part_of(results: Results, groups: Sequence[str], *, title: str = "", link: str = "") -> Part:
    """A study's rows: the untuned model, the method that others are compared with, the others."""
    rows: list[tuple[str, Sequence[Cell]]] = []
    if results["untuned"]:
        rows.append(("untuned", [_untuned(results, group) for group in groups]))
    methods = results["methods"]
    for method in methods:
        is_first = method is methods[0]
        rows.append((method["label"], [_cell(method, group, is_first) for group in groups]))
    seeds = {len(method["runs"]) for method in methods} - {0}
    return Part(
        title=title,
        link=link,
        rows=rows,
        remark=str(results.get("untuned_verdict") or "").partition(":")[0] if title else "",
        note="One run each: no verdict, as other seeds may differ by more than this."
        if seeds == {1}
        else "",
    )


def _cell(method: Results, group: str, is_first: bool) -> Cell:
    estimate = method["scores"].get(group)
    if estimate is None:
        return Cell(kind="", words="failed" if not method["scores"] else "–")
    score, interval = points(estimate["mean"]), _interval(estimate, signed=False)
    difference = method["difference"].get(group)
    if is_first or difference is None:
        return Cell(kind="", words=score, interval=interval)
    mean = difference["mean"]
    kind = kind_of(difference)
    return Cell(
        kind=kind,
        words=f"{kind} {points(mean, signed=True)}".strip(),
        interval=_interval(difference, signed=True),
        score=score,
    )


def kind_of(difference: Results) -> str:
    """`ahead`, `even` or `behind`; empty for one run each, which say nothing of other seeds."""
    if len(difference["by_seed"]) == 1:
        return ""
    if not difference["distinguishable"]:
        return "even"
    return "ahead" if difference["mean"] > 0 else "behind"


def _untuned(results: Results, group: str) -> Cell:
    names = results["benchmarks"].get(group, [])
    known = [results["untuned"][name]["accuracy"] for name in names if name in results["untuned"]]
    whole = known and len(known) == len(names)
    return Cell(kind="", words=points(sum(known) / len(known)) if whole else "–")


def _interval(estimate: Results, *, signed: bool) -> str:
    if estimate["interval_95"] is None:
        return ""
    low, high = (points(end, signed=signed) for end in estimate["interval_95"])
    return f"{low} to {high}"
