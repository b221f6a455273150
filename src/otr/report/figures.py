"""The figures of a study: learned and forgotten, differences, learning rates. Shares in percent."""

from collections.abc import Sequence
from typing import Any

from otr.report.drawing import Figure, arms, drawing, look

Method = dict[str, Any]
"""An entry of results.json's `methods`; its place there is its number in every figure."""

GROUPS = {"in_domain": "in-domain", "out_of_domain": "out-of-domain", "retention": "retention"}
"""Of benchmarks, as in results.json, and in words."""


def trade_off_figure(methods: Sequence[Method], name: str) -> Figure | None:
    """What was learned against what was forgotten: a dot a seed, a cross at the mean."""
    shown = [
        (index, method)
        for index, method in enumerate(methods)
        if {"in_domain", "retention"} <= method["change"].keys()
    ]
    if not shown:
        return None
    with drawing(7.5, 4.6, num_names=len(shown)) as drawn:
        (axes,) = drawn.axes
        for index, method in shown:
            learned, kept = method["change"]["in_domain"], method["change"]["retention"]
            own = look(index)
            pairs = [
                (seed, 100 * value, 100 * kept["by_seed"][seed])
                for seed, value in learned["by_seed"].items()
                if seed in kept["by_seed"]
            ]
            for seed, x, y in pairs:
                drawn.point(axes, index, x, y, (method["label"], f"seed {seed}", _1(x), _1(y)))
            dots = axes.scatter(
                [x for _, x, _ in pairs], [y for _, _, y in pairs],
                color=own.colour, marker=own.mark, s=18, alpha=0.5, linewidths=0,
            )  # fmt: skip
            x, y = 100 * learned["mean"], 100 * kept["mean"]
            cross = axes.errorbar(
                x, y, xerr=_arms(learned), yerr=_arms(kept),
                color=own.colour, marker=own.mark, markersize=7, linewidth=1.4,
            )  # fmt: skip
            drawn.belongs(index, dots, cross)
            drawn.point(axes, index, x, y, (method["label"], "mean", _1(x), _1(y)))
        axes.axhline(0, color="#888888", linewidth=0.8, zorder=0)
        axes.axvline(0, color="#888888", linewidth=0.8, zorder=0)
        axes.set_xlabel("trained task: points gained →")
        axes.set_ylabel("other tasks: points gained ↑")
        drawn.legend([method["label"] for method in methods], [index for index, _ in shown])
        return drawn.figure(
            name,
            "Learned and forgotten: a dot a seed, a cross the mean with its 95 % intervals, the "
            "grey lines the untuned model.",
            ("method", "seed", "trained task, points", "other tasks, points"),
            "Points gained on the trained task against those on other tasks",
        )


def difference_figure(methods: Sequence[Method], name: str) -> Figure | None:
    """Every method minus the first, with its interval, a panel for each group of benchmarks."""
    shown = [(index, m) for index, m in enumerate(methods) if m["difference"]]
    groups = [group for group in GROUPS if any(group in m["difference"] for _, m in shown)]
    if not groups:
        return None
    with drawing(8.2, 1.0 + 0.26 * len(shown), num_axes=len(groups)) as drawn:
        for axes, group in zip(drawn.axes, groups, strict=True):
            axes.axvline(0, color="#888888", linewidth=0.9, zorder=0)
            axes.set_xlabel(f"{GROUPS[group]}, points")
            for place, (index, method) in enumerate(shown):
                if (difference := method["difference"].get(group)) is None:
                    continue
                mean, told = 100 * difference["mean"], difference["distinguishable"]
                own = look(index)
                bar = axes.errorbar(
                    mean, place, xerr=_arms(difference), color=own.colour, marker=own.mark,
                    markersize=6, linewidth=1.6, markerfacecolor=None if told else "none",
                )  # fmt: skip
                drawn.belongs(index, bar)
                low, high = difference["interval_95"] or (None, None)
                row = (GROUPS[group], _1(mean), _1(low, 100), _1(high, 100), _yes(told))
                drawn.point(axes, index, mean, place, (method["label"], *row))
        drawn.axes[0].set_yticks(
            range(len(shown)), [m["label"].replace("$", r"\$") for _, m in shown], fontsize=8
        )
        drawn.axes[0].set_ylim(len(shown) - 0.5, -0.5)
        first = methods[0]["label"]
        return drawn.figure(
            name,
            f"Difference to {first} with 95 % intervals; filled where it is told apart.",
            ("method", "benchmarks", f"minus {first}, points", "from", "to", "told apart"),
            f"Each method's scores minus those of {first}",
        )


def sensitivity_figure(methods: Sequence[Method], name: str) -> Figure | None:
    """Validation accuracy against the learning rate, the chosen rate ringed."""
    shown = [(index, m) for index, m in enumerate(methods) if m["learning_rates"]]
    if not any(len(m["learning_rates"]) > 1 for _, m in shown):
        return None
    with drawing(7.5, 4.2, num_names=len(shown)) as drawn:
        (axes,) = drawn.axes
        for index, method in shown:
            own = look(index)
            tried = [
                (t["learning_rate"], 100 * t["validation"]["mean"])
                for t in method["learning_rates"]
            ]
            drawn.belongs(
                index,
                *axes.plot(
                    *zip(*tried, strict=True), color=own.colour, marker=own.mark, markersize=5,
                    linewidth=1.2, linestyle=own.dash,
                ),
            )  # fmt: skip
            for rate, mean in tried:
                chosen = rate == method["learning_rate"]
                drawn.point(
                    axes, index, rate, mean, (method["label"], f"{rate:g}", _1(mean), _yes(chosen))
                )
                if chosen:
                    ring = axes.scatter(
                        [rate], [mean], s=110, facecolors="none", edgecolors=own.colour,
                        linewidths=1.5, linestyles=":" if method["at_edge"] else "-",
                    )  # fmt: skip
                    drawn.belongs(index, ring)
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("validation, percent right")
        drawn.legend([method["label"] for method in methods], [index for index, _ in shown])
        return drawn.figure(
            name,
            "Learning rates: the ringed one, best on validation, is compared; its ring is dotted "
            "where it is the lowest or highest tried.",
            ("method", "learning rate", "validation, percent", "chosen"),
            "Validation accuracy of each method at each learning rate",
        )


def _arms(estimate: dict[str, Any]) -> Any:
    interval = estimate["interval_95"]
    points = None if interval is None else [100 * end for end in interval]
    return arms(100 * estimate["mean"], points)


def _1(value: float | None, scale: float = 1.0) -> float | None:
    return None if value is None else round(scale * value, 1)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
