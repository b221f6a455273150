"""The report's figures, each with its numbers as CSV. Shares are drawn in percent."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from otr.report.svg import SETTINGS, inline

Method = dict[str, Any]
"""An entry of results.json's `methods`."""

# Okabe and Ito's palette without black and yellow, which vanish on one of the two backgrounds.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_MARKS = ("o", "s", "D", "^", "v", "P", "X", "*")
_DASHES = ("-", "--", ":", "-.")
_CURVES = ("loss", "nll", "entropy", "hit_rate", "reward", "grad_norm")
_MOST_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn figure."""

    name: str
    title: str
    svg: Markup
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Every number in it, as a table."""

    def html(self) -> Markup:
        """The figure with a link to its numbers, which works without scripts."""
        data = base64.b64encode(self.csv().encode()).decode()
        return Markup(
            '<figure><figcaption>{} <a download="{}.csv" href="data:text/csv;charset=utf-8;base64,{}">'
            "numbers (CSV)</a></figcaption>{}</figure>"
        ).format(self.title, self.name, data, self.svg)

    def csv(self) -> str:
        """The numbers; text that a spreadsheet would take for a formula is quoted."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(self.header)
        writer.writerows([_inert(cell) for cell in row] for row in self.rows)
        return out.getvalue()


def trade_off_figure(methods: Sequence[Method], name: str) -> Figure | None:
    """What was learned against what was forgotten: a dot a seed, a cross at the mean."""
    shown = [m for m in methods if {"in_domain", "retention"} <= m["change"].keys()]
    if not shown:
        return None
    with rc_context(SETTINGS):
        canvas = Canvas(figsize=(7.5, 4.6), layout="constrained")
        axes = canvas.add_subplot()
        rows = []
        for index, method in enumerate(shown):
            learned, kept = method["change"]["in_domain"], method["change"]["retention"]
            colour, mark = _look(index)
            pairs = [
                (seed, 100 * value, 100 * kept["by_seed"][seed])
                for seed, value in learned["by_seed"].items()
                if seed in kept["by_seed"]
            ]
            rows += [(method["label"], seed, x, y) for seed, x, y in pairs]
            axes.scatter(
                [x for _, x, _ in pairs], [y for _, _, y in pairs],
                color=colour, marker=mark, s=18, alpha=0.5, linewidths=0,
            )  # fmt: skip
            axes.errorbar(
                100 * learned["mean"], 100 * kept["mean"], xerr=_arms(learned), yerr=_arms(kept),
                color=colour, marker=mark, markersize=7, linewidth=1.4, label=method["label"],
            )  # fmt: skip
        axes.axhline(0, color="#888888", linewidth=0.8, zorder=0)
        axes.axvline(0, color="#888888", linewidth=0.8, zorder=0)
        axes.set_xlabel("trained task: points gained →")
        axes.set_ylabel("other tasks: points gained ↑")
        _finish(canvas, axes, len(shown))
        svg = inline(canvas, name, "Points gained on the trained task against those on other tasks")
    return Figure(
        name=name,
        title="Learned and forgotten: a dot a seed, a cross the mean with its 95 % intervals, the "
        "grey lines the untuned model.",
        svg=svg,
        header=("method", "seed", "trained task, points", "other tasks, points"),
        rows=tuple(rows),
    )


def sensitivity_figure(methods: Sequence[Method], name: str) -> Figure | None:
    """Validation accuracy against the learning rate, the chosen rate ringed."""
    shown = [m for m in methods if m["learning_rates"]]
    if not any(len(m["learning_rates"]) > 1 for m in shown):
        return None
    with rc_context(SETTINGS):
        canvas = Canvas(figsize=(7.5, 4.2), layout="constrained")
        axes = canvas.add_subplot()
        rows = []
        for index, method in enumerate(shown):
            colour, mark = _look(index)
            tried = [(t["learning_rate"], t["validation"]) for t in method["learning_rates"]]
            rates = [rate for rate, _ in tried]
            means = [100 * estimate["mean"] for _, estimate in tried]
            rows += [
                (method["label"], rate, mean, rate == method["learning_rate"])
                for rate, mean in zip(rates, means, strict=True)
            ]
            axes.plot(
                rates, means, color=colour, marker=mark, markersize=5, linewidth=1.2,
                linestyle=_DASHES[index // len(_COLOURS) % len(_DASHES)], label=method["label"],
            )  # fmt: skip
            if method["learning_rate"] in rates:
                chosen = rates.index(method["learning_rate"])
                axes.scatter(
                    [rates[chosen]], [means[chosen]],
                    s=110, facecolors="none", edgecolors=colour, linewidths=1.5,
                )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("validation, percent right")
        _finish(canvas, axes, len(shown))
        svg = inline(canvas, name, "Validation accuracy of each method at each learning rate")
    return Figure(
        name=name,
        title="Learning rates: the ringed one, best on validation, is compared.",
        svg=svg,
        header=("method", "learning rate", "validation, percent", "chosen"),
        rows=tuple(rows),
    )


def curve_figures(curves: dict[str, list[list[dict[str, Any]]]], name: str) -> list[Figure]:
    """Columns of metrics.jsonl against steps and against seconds: means over seeds, and the band
    from the lowest to the highest seed."""
    return [
        figure
        for column in _CURVES
        for axis in ("step", "seconds")
        if (figure := _curve_figure(curves, column, axis, f"{name}-{column}-{axis}")) is not None
    ]


def _curve_figure(
    curves: dict[str, list[list[dict[str, Any]]]], column: str, axis: str, name: str
) -> Figure | None:
    drawn = {
        label: curve
        for label, seeds in curves.items()
        if (curve := _mean_curve(seeds, column, axis)) is not None
    }
    if not drawn:
        return None
    rows = [
        (label, *(f"{value:.6g}" for value in point))
        for label, curve in drawn.items()
        for point in zip(*curve, strict=True)
    ]
    with rc_context(SETTINGS):
        canvas = Canvas(figsize=(7.5, 3.4), layout="constrained")
        axes = canvas.add_subplot()
        for index, (label, seeds) in enumerate(curves.items()):
            if label not in drawn:
                continue
            colour, _ = _look(index)
            x, mean, low, high = drawn[label]
            dash = _DASHES[index // len(_COLOURS) % len(_DASHES)]
            axes.plot(x, mean, color=colour, linewidth=1.3, linestyle=dash, label=label)
            if len(seeds) > 1:
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel("seconds of training" if axis == "seconds" else "step")
        axes.set_ylabel(column)
        _finish(canvas, axes, len(curves))
        svg = inline(canvas, name, f"{column} during training, against {axis}")
    header = ("method", axis, f"mean {column}", "lowest", "highest")
    return Figure(
        name=name, title=f"{column} against {axis}", svg=svg, header=header, rows=tuple(rows)
    )


def _mean_curve(seeds: list[list[dict[str, Any]]], column: str, axis: str) -> Any:
    """x, mean, lowest and highest over the seeds at the steps that all have, thinned."""
    by_step = [
        {
            row["step"]: (row[axis], row[column])
            for row in lines
            if _is_number(row.get(column)) and _is_number(row.get(axis))
        }
        for lines in seeds
    ]
    shared = sorted(set.intersection(*map(set, by_step))) if by_step else []
    if not shared:
        return None
    kept = np.unique(np.linspace(0, len(shared) - 1, min(len(shared), _MOST_POINTS)).astype(int))
    values = np.array([[steps[shared[at]] for at in kept] for steps in by_step], dtype=float)
    column_SN = values[:, :, 1]
    return values[:, :, 0].mean(0), column_SN.mean(0), column_SN.min(0), column_SN.max(0)


def _look(index: int) -> tuple[str, str]:
    return _COLOURS[index % len(_COLOURS)], _MARKS[index % len(_MARKS)]


def _arms(estimate: dict[str, Any]) -> Any:
    if estimate["interval_95"] is None:
        return None
    low, high = estimate["interval_95"]
    mean = estimate["mean"]
    return [[max(0.0, 100 * (mean - low))], [max(0.0, 100 * (high - mean))]]


def _finish(canvas: Canvas, axes: Axes, num_methods: int) -> None:
    axes.grid(color="#88888833", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    labels = axes.get_legend_handles_labels()
    # Text from run files: a dollar sign starts no formula.
    names = [text.replace("$", r"\$")[:60] for text in labels[1]]
    columns = 1 if num_methods > 6 else min(3, max(1, num_methods))
    place = "outside right upper" if num_methods > 6 else "outside lower center"
    canvas.legend(labels[0], names, loc=place, ncols=columns, frameon=False, fontsize=8)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell
