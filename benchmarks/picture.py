"""Pictures of what each head costs: the main case in time and memory; every case and growth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.table import OURS, describe, known_labels
from otr.report.looks import look_of

# Okabe and Ito's palette; an objective has the colour and mark that it has in every other figure.
_COLOURS = {
    "gemms": "#333333",
    "full logits": "#888888",
    "TRL": "#56b4e9",
    "naive OTR": "#cc79a7",
    "SFT": look_of("sft").colour,
    "OTR": look_of("otr").colour,
}
_OTHERS_COLOUR = "#aaaaaa"
_MARKS = {
    "gemms": "x", "full logits": "+", "TRL": "^", "naive OTR": "v", "SFT": look_of("sft").mark,
    "OTR": look_of("otr").mark,
}  # fmt: skip
_LABELS = {"gemms": "bare GEMMs", "SFT": "otr: SFT", "OTR": "otr: OTR"}
_SUMMARY = (
    "gemms", "full logits", "TRL", "cut-cross-entropy", "naive OTR", "SFT", "OTR", "OTR exact"
)  # fmt: skip
_COLUMNS = 3
_AXIS_END = 5.0
_GROWTHS = {
    "growth T": ("tokens", "rows"),
    "growth V": ("vocabulary", "vocabulary"),
    "growth D": ("width", "width"),
    "growth K": ("rollouts a token", ""),
}
_ROLLOUTS = {"OTR K 16": 16, "OTR K 64": 64, "OTR": 256, "OTR K 1024": 1024}


def draw_summary(results: dict[str, Any], path: Path) -> None:
    """Write the README's picture as SVG: time of the main case beside peak memory, a bar a head."""
    main, memory = results["cases"][0], _memory_case(results)
    names = [name for name in _SUMMARY if "to_gemms" in main["heads"].get(name, {})]
    figure = Figure(figsize=(9, 0.34 * len(names) + 1.5), layout="constrained")
    FigureCanvasAgg(figure)
    time_axis, memory_axis = figure.subplots(1, 2, sharey=True)
    ratios = {name: main["heads"][name]["to_gemms"]["median"] for name in names}
    _summary_bars(time_axis, names, ratios, "{:.2f}")
    time_axis.axvline(1, color=_COLOURS["gemms"], linewidth=0.9, zorder=3)
    time_axis.set_title("Time, as a multiple of bare matrix products", fontsize=10)
    peaks = {
        name: memory["heads"][name]["peak_bytes"] / 2**20
        for name in names
        if "peak_bytes" in memory.get("heads", {}).get(name, {})
    }
    _summary_bars(memory_axis, names, peaks, "{:,.0f}")
    memory_axis.set_title("Peak memory beyond inputs, MiB", fontsize=10)
    _save(figure, path)


def _memory_case(results: dict[str, Any]) -> dict[str, Any]:
    return next((case for case in results["memory"] if case["name"] == "every head"), {})


def _summary_bars(axis: Axes, names: Sequence[str], values: dict[str, float], written: str) -> None:
    for position, name in enumerate(names):
        if name in values:
            axis.barh(position, values[name], color=look_of_head(name)[0], height=0.72, zorder=2)
            axis.annotate(
                written.format(values[name]), (values[name], position), (4, 0),
                textcoords="offset points", va="center", fontsize=9, zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip
    axis.set_yticks(range(len(names)), [_label(name) for name in names], fontsize=9)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0, 1.15 * max(values.values(), default=1))
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the picture as SVG.

    Above, bars: the median over rounds of a head's time as a multiple of the bare matrix products
    of the same round, and a line from the lowest to the highest. Below: seconds against one size.
    """
    cases = [case for case in results["cases"] if case["group"] == "cases"]
    names = list(dict.fromkeys(name for case in cases for name in case["heads"]))
    names.remove("gemms")
    num_rows = -(-len(cases) // _COLUMNS)
    bars_height, growth_height = 0.24 * len(names) + 1.3, 3.3
    figure = Figure(
        figsize=(14, num_rows * bars_height + growth_height + 1.4), layout="constrained"
    )
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr]
    figure.suptitle(
        "Forward and backward pass of a language-model head: what it costs\n", fontweight="bold"
    )
    heights = [num_rows * bars_height, growth_height]
    upper, lower = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    upper.suptitle(
        "Time as a multiple of the bare matrix products (median of paired rounds; line: lowest to "
        "highest; no bar: not part of the case). Sizes are tokens × width × vocabulary.\n"
        f"{describe(results)}",
        fontsize=10,
    )
    axes = upper.subplots(num_rows, _COLUMNS, sharey=True, squeeze=False).flatten()
    for axis, case in zip(axes, cases, strict=False):
        _bars(axis, case, names)
    for axis in axes[len(cases) :]:
        axis.set_axis_off()
    _growth(lower, results["cases"])
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the date, and with names that are not random, the same numbers give the same file.
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None})


def _bars(axis: Axes, case: dict[str, Any], names: Sequence[str]) -> None:
    positions = range(len(names))
    axis.axvline(1, color=_COLOURS["gemms"], linewidth=0.9, zorder=3)
    for position, name in zip(positions, names, strict=True):
        entry = case["heads"].get(name)
        if entry is None:
            continue
        if "to_gemms" not in entry:
            axis.text(0.06, position, "skipped", va="center", fontsize=7, color="#777777")
            continue
        ratio = entry["to_gemms"]
        length = min(ratio["median"], _AXIS_END)
        axis.barh(position, length, color=look_of_head(name)[0], height=0.72, zorder=2)
        low, high = (min(ratio[end], _AXIS_END) for end in ("lowest", "highest"))
        axis.plot([low, high], [position] * 2, color="black", linewidth=1, zorder=4)
        beyond = " →" if ratio["median"] > _AXIS_END else ""
        end = max(length, high)
        axis.text(end + 0.07, position, f"{ratio['median']:.2f}{beyond}", va="center", fontsize=8)
    axis.set_yticks(list(positions), [_label(name) for name in names], fontsize=8)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0, _AXIS_END + 0.75)
    axis.set_title(_title(case), fontsize=8)
    axis.set_xlabel("times the bare GEMMs", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _title(case: dict[str, Any]) -> str:
    """What the case is, its sizes, and how well a trained model knows the labels."""
    dtype = "" if case["dtype"] in case["name"] else f", {case['dtype']}"
    states = "" if case["states"] == "random" else "states of a trained model: "
    products = "" if case["num_products"] == 3 else f" ({case['num_products']} GEMMs)"
    known = f"\n{known_labels(case['labels'])}" if "labels" in case else ""
    return (
        f"{states}{case['name']}{products}\n{case['rows']:,} × {case['width']:,} × "
        f"{case['vocabulary']:,}{dtype}{known}"
    )


def _growth(figure: Any, cases: Sequence[dict[str, Any]]) -> None:
    figure.suptitle("How the time grows, in seconds (both axes logarithmic)", fontsize=10)
    axes = figure.subplots(1, len(_GROWTHS))
    for axis, (group, (label, size)) in zip(axes, _GROWTHS.items(), strict=True):
        chosen = [case for case in cases if case["group"] == group]
        lines = _lines_of_rollouts(chosen) if group == "growth K" else _lines(chosen, size)
        for name, points in lines.items():
            axis.plot(
                *zip(*points, strict=True),
                color=look_of_head(name)[0],
                marker=look_of_head(name)[1],
                markersize=5,
                linewidth=1.5,
                label=_label(name),
            )
        axis.set_xscale("log")
        axis.set_yscale("log")
        if chosen:
            ticks = sorted({x for points in lines.values() for x, _ in points})
            axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8)
            axis.set_title(_fixed(chosen[0], size), fontsize=9)
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.minorticks_off()
        axis.tick_params(axis="y", labelsize=8)
        axis.set_xlabel(label, fontsize=9)
        axis.grid(color="#e4e4e4", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=max(1, len(labels)), frameon=False
    )


def _lines(cases: Sequence[dict[str, Any]], size: str) -> dict[str, list[tuple[int, float]]]:
    lines: dict[str, list[tuple[int, float]]] = {}
    for case in cases:
        for name in _MARKS:
            entry = case["heads"].get(name, {})
            if "median_seconds" in entry:
                lines.setdefault(name, []).append((case[size], entry["median_seconds"]))
    return lines


def _lines_of_rollouts(cases: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """OTR's own line, and the heads without rollouts as flat ones."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for case in cases:
        seconds = {
            name: entry["median_seconds"]
            for name, entry in case["heads"].items()
            if "median_seconds" in entry
        }
        for name in ("gemms", "SFT"):
            if name in seconds:
                lines[name] = [(num, seconds[name]) for num in _ROLLOUTS.values()]
        lines["OTR"] = [(num, seconds[name]) for name, num in _ROLLOUTS.items() if name in seconds]
    return lines


def _fixed(case: dict[str, Any], size: str) -> str:
    parts = {"rows": "tokens", "width": "width", "vocabulary": "vocabulary"}
    return ", ".join(f"{name} {case[key]:,}" for key, name in parts.items() if key != size)


def look_of_head(name: str) -> tuple[str, str | None]:
    """The colour and mark of a head; variants of an objective's head have its colour."""
    own = next((each for each in OURS if name.startswith(each)), name)
    return _COLOURS.get(own, _OTHERS_COLOUR), _MARKS.get(name)


def _label(name: str) -> str:
    return _LABELS.get(name, f"otr: {name}" if name.startswith(OURS) else name)
