"""Results in words: for the terminal, and as Markdown for the README."""

from typing import Any

from benchmarks.machine import slug

_MIB = 2**20
_NONE = "–"

OURS = ("SFT", "OTR")
"""How the names of this project's heads begin."""


def text(results: dict[str, Any]) -> str:
    """The main case and the targets, as a terminal shows them."""
    main = results["cases"][0]
    rows = [["head", "milliseconds", "× GEMMs", "lowest–highest", "of the GEMMs' rate"]]
    for name, entry in main["heads"].items():
        if "skipped" not in entry:
            share = f"{100 / entry['to_gemms']['median']:.0f} %" if "to_gemms" in entry else _NONE
            rows.append([name, _milliseconds(entry), *_cost(entry), share])
    skipped = [f"skipped: {line}" for line in _skipped(main)]
    reached = [["target", "measured on", "at most", "reached", ""]]
    reached += [
        [each["name"], each["at"], _bound(each), _reached(each), each["verdict"]]
        for each in results["targets"]
    ]
    lines = [describe(results), sizes(main), "", *_aligned(rows), *skipped, ""]
    lines += _aligned(reached)
    for name, about in results["states"].items():
        lines += ["", _states_line(name, about)]
    return "\n".join(lines) + "\n"


def markdown(results: dict[str, Any]) -> str:
    """The main case and the targets, as Markdown tables."""
    main = results["cases"][0]
    memory = _named(results["memory"], "every head") or _named(results["memory"], "8192 tokens")
    errors = _named(results["accuracy"], "random")
    lines = [
        f"{describe(results)}; {sizes(main)}, random states:",
        "",
        "| head | ms | × bare GEMMs | peak memory beyond inputs | error of the weight gradient |",
        "|---|---|---|---|---|",
    ]
    for name, entry in main["heads"].items():
        if "skipped" in entry:
            continue
        median, spread = _cost(entry)
        cells = (_milliseconds(entry), f"{median} ({spread})", _peak(memory, name))
        shown = f"**otr: {name}**" if name.startswith(OURS) else name
        lines.append(f"| {shown} | {' | '.join(cells)} | {_error(errors, name)} |")
    where = [
        f"{what} at {sizes(case)}"
        for what, case in (("Memory", memory), ("error against float64", errors))
        if case
    ]
    lines += ["", f"Medians of paired rounds (lowest–highest). {'; '.join(where)}."]
    if skipped := _skipped(main):
        lines += ["", f"Skipped: {'; '.join(skipped)}."]
    picture = f"benchmarks/results/{slug(results['machine']['device'])}"
    lines += [
        "",
        f"![Time and peak memory of each head]({picture}-summary.svg)",
        "",
        f"[Every case, and how the time grows with T, V, K and D]({picture}.svg)",
    ]
    lines += ["", "| target | measured on | at most | reached |  |", "|---|---|---|---|---|"]
    lines += [
        f"| {each['name']} | {each['at']} | {_bound(each)} | {_reached(each)} | {each['verdict']} |"
        for each in results["targets"]
    ]
    for name, about in results["states"].items():
        lines += ["", _states_line(name, about)]
    return "\n".join(lines) + "\n"


def describe(results: dict[str, Any]) -> str:
    """The machine in a line."""
    machine = results["machine"]
    versions = ", ".join(
        f"{name} {machine['versions'][name]}"
        for name in ("torch", "trl")
        if machine["versions"].get(name)
    )
    threads = machine["threads"]
    parts = [machine["device"]]
    if threads is not None:
        parts.append(f"{threads} thread{'s' if threads != 1 else ''}")
    parts += [versions, machine["date"]]
    return ", ".join(parts) + (" (quick: small sizes, few rounds)" if results["quick"] else "")


def sizes(case: dict[str, Any]) -> str:
    """The sizes of a case in words."""
    return (
        f"{case['dtype']}, {case['rows']:,} tokens × width {case['width']:,} × vocabulary "
        f"{case['vocabulary']:,}"
    )


def known_labels(labels: dict[str, float]) -> str:
    """How probable a model finds its labels, in a line."""
    shares = {
        key.removeprefix("share_above_"): f"{100 * value:.0f}"
        for key, value in labels.items()
        if key != "mean_nll"
    }
    above, found = ", ".join(shares), ", ".join(shares.values())
    return f"NLL {labels['mean_nll']:.2f}; label p above {above}: {found} %"


def _states_line(name: str, about: dict[str, Any]) -> str:
    if "skipped" in about:
        return f"States `{name}`: none ({about['skipped']})."
    return f"States `{name}`, of {about['model']}: {known_labels(about['labels'])}."


def _skipped(case: dict[str, Any]) -> list[str]:
    return [
        f"{name} ({entry['skipped']})"
        for name, entry in case["heads"].items()
        if "skipped" in entry
    ]


def _named(cases: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next((case for case in cases if case["name"] == name), {})


def _milliseconds(entry: dict[str, Any]) -> str:
    milliseconds = 1000 * entry["median_seconds"]
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.2f}"


def _cost(entry: dict[str, Any]) -> tuple[str, str]:
    ratio = entry.get("to_gemms")
    if ratio is None:
        return _NONE, _NONE
    return f"{ratio['median']:.2f}", f"{ratio['lowest']:.2f}–{ratio['highest']:.2f}"


def _peak(memory: dict[str, Any], name: str) -> str:
    found = memory.get("heads", {}).get(name, {})
    return f"{found['peak_bytes'] / _MIB:,.0f} MiB" if "peak_bytes" in found else _NONE


def _error(errors: dict[str, Any], name: str) -> str:
    found = errors.get("heads", {}).get(name, {})
    return f"{found['weight']:.0e}" if "weight" in found else _NONE


def _bound(target: dict[str, Any]) -> str:
    return _with_unit(target["at_most"], target["unit"])


def _reached(target: dict[str, Any]) -> str:
    value = target["reached"]
    if value is None:
        return target["reason"]
    found = f"{value:.3f}" if target["unit"] == "times" else _with_unit(value, target["unit"])
    ratio = target.get("ratio")
    return f"{found} ({ratio['lowest']:.2f}–{ratio['highest']:.2f})" if ratio else found


def _with_unit(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit == "times" else f"{value:.2f} {unit}"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    return [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]
        ).rstrip()
        for row in rows
    ]
