"""The figures of a study: learned and forgotten, differences, learning rates. Shares in percent.

Each is drawn narrow, so that two or three stand beside each other on a wide page and one fits a phone.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from otr.formats import rate_text
from otr.report.drawing import Figure, arms, drawing, shown_name
from otr.report.looks import Look, looks_of

Method = dict[str, Any]
"""An entry of results.json's `methods`; its place there is its number in every figure."""

GROUPS = {"in_domain": "trained task", "out_of_domain": "out of domain", "retention": "other tasks"}
"""Of benchmarks, as in results.json, and in words."""

_LONGEST_LABEL = 28
_GREY = "#888888"


def looks(methods: Sequence[Method]) -> list[Look]:
    """The look of each method."""
    names = [str(method["objective"]["name"]) for method in methods]
    return looks_of(names, [method["label"] for method in methods])


def trade_off_figures(methods: Sequence[Method], name: str) -> list[Figure]:
    """What was gained on the trained task against what was gained or lost elsewhere: one figure for
    each other group of benchmarks; a dot a seed, a cross at the mean."""
    found = [
        _trade_off(methods, group, f"{name}-{group}")
        for group in ("retention", "out_of_domain")
        if any({"in_domain", group} <= method["change"].keys() for method in methods)
    ]
    return found


def _trade_off(methods: Sequence[Method], group: str, name: str) -> Figure:
    own_looks, labels = looks(methods), [method["label"] for method in methods]
    shown = [
        (index, method)
        for index, method in enumerate(methods)
        if {"in_domain", group} <= method["change"].keys()
    ]
    with drawing(5.2, 3.6, names=[method["label"] for _, method in shown]) as drawn:
        axes = drawn.axes
        for index, method in shown:
            learned, other = method["change"]["in_domain"], method["change"][group]
            own = own_looks[index]
            pairs = [
                (seed, 100 * value, 100 * other["by_seed"][seed])
                for seed, value in learned["by_seed"].items()
                if seed in other["by_seed"]
            ]
            for seed, x, y in pairs:
                drawn.point(index, x, y, (method["label"], f"seed {seed}", _1(x), _1(y)))
            dots = axes.scatter(
                [x for _, x, _ in pairs], [y for _, _, y in pairs],
                color=own.colour, marker=own.mark, s=18, alpha=0.5, linewidths=0,
            )  # fmt: skip
            x, y = 100 * learned["mean"], 100 * other["mean"]
            cross = axes.errorbar(
                x, y, xerr=_arms(learned), yerr=_arms(other),
                color=own.colour, marker=own.mark, markersize=7, linewidth=1.4,
            )  # fmt: skip
            drawn.belongs(index, dots, cross)
            drawn.point(index, x, y, (method["label"], "mean", _1(x), _1(y)))
        axes.axhline(0, color=_GREY, linewidth=0.8, zorder=0)
        axes.axvline(0, color=_GREY, linewidth=0.8, zorder=0)
        axes.set_xlabel("trained task: points gained →")
        axes.set_ylabel(f"{GROUPS[group]}: points gained ↑")
        drawn.in_points("x", "y")
        drawn.legend(labels, own_looks, [index for index, _ in shown])
        return drawn.figure(
            name,
            f"Trained task and {GROUPS[group]}: a dot a seed, a cross the mean with its 95 % "
            "intervals, the grey lines the untuned model.",
            ("method", "seed", "trained task, points", f"{GROUPS[group]}, points"),
            f"Points gained on the trained task against those gained {_WHERE[group]}",
            labels=labels,
        )


_WHERE = {"retention": "on other tasks", "out_of_domain": "out of domain"}


def difference_figures(methods: Sequence[Method], name: str) -> list[Figure]:
    """Every method minus the first, with its interval: a figure for each group of benchmarks."""
    return [
        _differences(methods, group, f"{name}-{group}")
        for group in GROUPS
        if any(group in method["difference"] for method in methods)
    ]


def _differences(methods: Sequence[Method], group: str, name: str) -> Figure:
    shown = [(index, m) for index, m in enumerate(methods) if group in m["difference"]]
    own_looks, first = looks(methods), methods[0]["label"]
    with drawing(4.0, 0.9 + 0.26 * len(shown)) as drawn:
        axes = drawn.axes
        axes.axvline(0, color=_GREY, linewidth=0.9, zorder=0)
        axes.set_xlabel(f"{GROUPS[group]}, points")
        for place, (index, method) in enumerate(shown):
            difference, own = method["difference"][group], own_looks[index]
            mean, told = 100 * difference["mean"], difference["distinguishable"]
            bar = axes.errorbar(
                mean, place, xerr=_arms(difference), color=own.colour, marker=own.mark,
                markersize=6, linewidth=1.6, markerfacecolor=None if told else "none",
            )  # fmt: skip
            drawn.belongs(index, bar)
            low, high = difference["interval_95"] or (None, None)
            row = (_1(mean), _1(low, 100), _1(high, 100), _yes(told))
            drawn.point(index, mean, place, (method["label"], *row))
        names = [shown_name(m["label"], _LONGEST_LABEL) for _, m in shown]
        axes.set_yticks(range(len(shown)), names, fontsize=8)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        drawn.in_points("x")
        return drawn.figure(
            name,
            f"{GROUPS[group].capitalize()}, minus {first}, with 95 % intervals; filled where it is "
            "told apart.",
            ("method", f"minus {first}, points", "from", "to", "told apart"),
            f"Each method's scores {_WHERE.get(group, 'on the trained task')} minus those of {first}",
        )


def sensitivity_figure(methods: Sequence[Method], name: str) -> Figure | None:
    """Validation accuracy against the learning rate, the chosen rate ringed."""
    shown = [(index, m) for index, m in enumerate(methods) if m["learning_rates"]]
    if not any(len(m["learning_rates"]) > 1 for _, m in shown):
        return None
    own_looks, labels = looks(methods), [method["label"] for method in methods]
    rates = sorted({t["learning_rate"] for _, m in shown for t in m["learning_rates"]})
    with drawing(5.2, 3.4, names=[method["label"] for _, method in shown]) as drawn:
        for index, method in shown:
            _draw_rates(drawn, index, method, own_looks[index])
        axes = drawn.axes
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(rates[:: -(-len(rates) // 7)]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: rate_text(rate)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("learning rate")
        axes.set_ylabel("validation, percent right")
        drawn.in_points("y")
        drawn.legend(labels, own_looks, [index for index, _ in shown])
        return drawn.figure(
            name,
            "The ringed rate, best on validation, is compared; its ring is dotted where it is the "
            "lowest or highest tried.",
            ("method", "learning rate", "validation, percent", "chosen"),
            "Validation accuracy of each method at each learning rate",
            labels=labels,
        )


def _draw_rates(drawn: Any, index: int, method: Method, own: Look) -> None:
    tried = [(t["learning_rate"], 100 * t["validation"]["mean"]) for t in method["learning_rates"]]
    line = drawn.axes.plot(
        *zip(*tried, strict=True), color=own.colour, marker=own.mark, markersize=5, linewidth=1.2,
        linestyle=own.dash,
    )  # fmt: skip
    drawn.belongs(index, *line)
    for rate, mean in tried:
        chosen = rate == method["learning_rate"]
        drawn.point(index, rate, mean, (method["label"], rate_text(rate), _1(mean), _yes(chosen)))
        if chosen:
            ring = drawn.axes.scatter(
                [rate], [mean], s=110, facecolors="none", edgecolors=own.colour,
                linewidths=1.5, linestyles=":" if method["at_edge"] else "-",
            )  # fmt: skip
            drawn.belongs(index, ring)


def _arms(estimate: dict[str, Any]) -> Any:
    interval = estimate["interval_95"]
    points = None if interval is None else [100 * end for end in interval]
    return arms(100 * estimate["mean"], points)


def _1(value: float | None, scale: float = 1.0) -> float | None:
    return None if value is None else round(scale * value, 1)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
