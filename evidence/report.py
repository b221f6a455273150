"""docs/results.md: tables from the committed files, between paragraphs written by hand."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from evidence.files import compared_again, read_results
from evidence.plan import BASELINES, CASES, COMPARED, FAMILY, LEARNING_RATES, SEEDS, SETTINGS
from otr.evaluation.scored_run import complete_options
from otr.formats import points, rate_text

DOCUMENT = Path(__file__).parents[1] / "docs" / "results.md"
_READING = Path(__file__).parent / "reading.md"

_GROUPS = {
    "in_domain": "trained task",
    "out_of_domain": "longer operands and another phrasing",
    "retention": "other tasks",
}

_AT_EVERY_RATE = ("SFT", "DFT", "OTR", "DFT (anchor=forward 0.05)")

Results = dict[str, Any]


def document() -> str:
    """The whole page: reading.md with each line `[[name]]` or `[[name: argument]]` replaced by the
    table it names."""
    tables: dict[str, Callable[..., list[str]]] = {
        "overview": _overview,
        "counts": _counts,
        "regime": _regime,
        "settings": _settings,
        "rates": _rates,
        "against_dft": _against_dft,
        "regimes": _regimes,
        "size": _size,
        "steps": _steps,
    }
    lines = []
    for line in _READING.read_text(encoding="utf-8").splitlines():
        if line.startswith("[[") and line.endswith("]]"):
            name, _, argument = line[2:-2].partition(": ")
            lines += tables[name](*([argument] if argument else []))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def results(name: str, methods: list[Results] | None = None, rate: float | None = None) -> Results:
    """A regime's results, compared anew; of some methods only, the first being the reference, or
    at one learning rate only."""
    return _compared(name, None if methods is None else tuple(map(_key, methods)), rate)


@cache
def _compared(name: str, wanted: tuple[str, ...] | None, rate: float | None) -> Results:
    header, rows = read_results(name)
    if rate is not None:
        rows = [row for row in rows if row["learning_rate"] == rate]
    if wanted is not None:
        rows = [row for row in rows if _key(row["objective"]) in wanted]
        rows.sort(key=lambda row: wanted.index(_key(row["objective"])))
        header["failed"] = [row for row in header["failed"] if _key(row["objective"]) in wanted]
    return compared_again(header, rows)


def _size() -> list[str]:
    """How many runs there are."""
    rows = [read_results(case.regime.name) for case in CASES]
    num_runs, num_failed = (
        sum(len(each) for _, each in rows),
        sum(len(header["failed"]) for header, _ in rows),
    )
    rates = ", ".join(map(rate_text, LEARNING_RATES))
    return [
        f"{num_runs} runs, {num_failed} of them failed: {len(CASES)} regimes, {len(SEEDS)} seeds, "
        f"learning rates {rates}."
    ]


def _regimes() -> list[str]:
    """The short name of each regime, and what it means."""
    return _table(
        [
            ["name", "base model and demonstrations"],
            *([c.regime.name, c.regime.title] for c in CASES),
        ]
    )


def _overview(group: str) -> list[str]:
    """Every compared method in every regime: its difference to SFT on a group."""
    by_regime = {case.regime.name: results(case.regime.name, COMPARED) for case in CASES}
    labels = [method["label"] for method in next(iter(by_regime.values()))["methods"]]
    rows = [["", *by_regime], ["untuned", *(_untuned(each, group) for each in by_regime.values())]]
    for label in labels:
        row = [label]
        for each in by_regime.values():
            method = next(m for m in each["methods"] if m["label"] == label)
            row.append(_cell(method, group, is_first=label == labels[0]))
        rows.append(row)
    return _table(rows)


def _counts() -> list[str]:
    """How often each method was ahead of SFT, behind it or neither, on each group."""
    rows = [["", *(f"{words}: ahead, even, behind" for words in _GROUPS.values())]]
    each_regime = [results(case.regime.name, COMPARED) for case in CASES]
    for index, method in enumerate(each_regime[0]["methods"][1:], start=1):
        row = [method["label"]]
        for group in _GROUPS:
            found = [each["methods"][index]["difference"].get(group) for each in each_regime]
            told = [d["mean"] for d in found if d is not None and d["distinguishable"]]
            ahead = sum(mean > 0 for mean in told)
            row.append(f"{ahead}, {len(found) - len(told)}, {len(told) - ahead}")
        rows.append(row)
    return _table(rows)


def _regime(name: str) -> list[str]:
    """A regime's methods in full, with the verdicts that are more than `not distinguishable`."""
    each = results(name)
    header = ["", "learning rate", *(words for words in _GROUPS.values())]
    rows = [header, ["untuned", "", *(_untuned(each, group) for group in _GROUPS)]]
    for method in each["methods"]:
        rate = "–" if method["learning_rate"] is None else rate_text(method["learning_rate"])
        edge = "*" if method["at_edge"] else ""
        scores = [_score(method["scores"].get(group)) for group in _GROUPS]
        rows.append([method["label"], rate + edge, *scores])
    return _table(rows)


def _against_dft() -> list[str]:
    """OTR's difference to DFT in every regime, on the trained task."""
    otr: list[Results] = [{"name": "otr"}, {"name": "otr", "num_rollouts": "exact"}]
    each_regime = {c.regime.name: results(c.regime.name, [{"name": "dft"}, *otr]) for c in CASES}
    rows = [["", *each_regime]]
    for place, label in enumerate(("DFT", "OTR", "OTR (exact)")):
        cells = [
            _cell(each["methods"][place], "in_domain", is_first=place == 0)
            for each in each_regime.values()
        ]
        rows.append([label, *cells])
    return _table(rows)


def _steps() -> list[str]:
    """What SFT and GRPO did in their seconds, over all runs that were timed."""
    rows = [["", "runs", "seconds", "steps", "tokens"]]
    for options in (FAMILY[0], *BASELINES):
        costs = [
            row["cost"]
            for case in CASES
            for row in read_results(case.regime.name)[1]
            if _key(row["objective"]) == _key(options) and row["cost"]
        ]
        label = str(options["name"]).upper()
        label += f" (max_seconds={options['max_seconds']})" if "max_seconds" in options else ""
        means = [
            sum(cost[name] for cost in costs) / len(costs)
            for name in ("seconds", "num_steps", "num_tokens")
        ]
        seconds, *counts = means
        cells = [f"{seconds:.1f}", *(f"{count:,.0f}" for count in counts)]
        rows.append([label, str(len(costs)), *cells])
    return _table(rows)


def _rates(name: str) -> list[str]:
    """What some methods score at every learning rate, before validation chooses one."""
    each = results(name, COMPARED)
    shown = [m for m in each["methods"] if m["label"] in _AT_EVERY_RATE]
    rates = sorted({t["learning_rate"] for m in shown for t in m["learning_rates"]})
    rows = [["", *map(rate_text, rates)]]
    for group in ("in_domain", "retention"):
        for method in shown:
            means = {
                tried["learning_rate"]: sum(
                    tried["accuracy"][key]["mean"] for key in each["benchmarks"][group]
                )
                for tried in method["learning_rates"]
            }
            count = len(each["benchmarks"][group])
            cells = [f"{100 * means[rate] / count:.1f}" for rate in rates]
            rows.append([f"{method['label']}, {_GROUPS[group]}", *cells])
    return _table(rows)


def _settings(argument: str) -> list[str]:
    """OTR with one setting changed, against OTR with its defaults; `REGIME at RATE` is at one
    learning rate instead of each one's best."""
    name, _, rate = argument.partition(" at ")
    otr = next(options for options in FAMILY if options == {"name": "otr"})
    exact = {"name": "otr", "num_rollouts": "exact"}
    each = results(name, [otr, exact, *SETTINGS], float(rate) if rate else None)
    rows = [["", "learning rate", *_GROUPS.values()]]
    for method in each["methods"]:
        first = method is each["methods"][0]
        cells = [_cell(method, group, is_first=first) for group in _GROUPS]
        rows.append([method["label"], rate_text(method["learning_rate"]), *cells])
    return _table(rows)


def _cell(method: Results, group: str, *, is_first: bool) -> str:
    """The reference's score; for others the difference in points, bold where it is told apart."""
    if is_first:
        return _score(method["scores"].get(group))
    difference = method["difference"].get(group)
    if difference is None or difference["interval_95"] is None:
        return "–"
    low, high = (points(value, signed=True) for value in difference["interval_95"])
    text = f"{points(difference['mean'], signed=True)} ({low} to {high})"
    return f"**{text}**" if difference["distinguishable"] else text


def _score(estimate: Results | None) -> str:
    if estimate is None:
        return "–"
    text = f"{100 * estimate['mean']:.1f}"
    if estimate["interval_95"] is None:
        return text
    low, high = estimate["interval_95"]
    return f"{text} ({100 * low:.1f} to {100 * high:.1f})"


def _untuned(each: Results, group: str) -> str:
    names = each["benchmarks"][group]
    return f"{100 * sum(each['untuned'][name]['accuracy'] for name in names) / len(names):.1f}"


def _key(options: Results) -> str:
    """An objective with every option spelled out, so that equal ones are equal texts."""
    own = {key: value for key, value in options.items() if key != "learning_rates"}
    return str(sorted(complete_options(own).items()))


def _table(rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]]
