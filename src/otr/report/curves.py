"""Training curves: columns of metrics.jsonl against steps and against seconds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from otr.report.drawing import Figure, drawing
from otr.report.looks import Look

Rows = list[dict[str, Any]]
"""The training rows of one run's metrics."""

AXES = {"step": "step", "seconds": "seconds of training"}
_COLUMNS = {
    "loss": "Loss: each objective's own, which do not compare.",
    "nll": "NLL, nats a token.",
    "entropy": "Entropy, nats a token.",
    "hit_rate": "Hit rate: the chance that a draw at temperature 1 hits the label.",
    "grad_norm": "Gradient norm: of each objective's own loss.",
}
"""Columns and what they are. Not `reward`: under one policy it is the hit rate, and under each
objective's own it does not compare."""

_HIT_RATES_COMPARE = "rollout_hit_rate"
"""Logged since hit_rate is of one policy for all objectives."""

_MOST_POINTS = 200
_MOST_POINTS_OF_MANY = 60
_MANY = 8


def curve_figures(curves: dict[str, list[Rows]], looks: Sequence[Look], name: str) -> list[Figure]:
    """Means over a method's runs, and the band from the lowest to the highest run.

    Runs that were trained when each objective logged hits of its own policy have no hit rate here.
    """
    return [
        figure
        for column in _COLUMNS
        for axis in AXES
        if (figure := _curve_figure(curves, looks, column, axis, f"{name}-{column}-{axis}"))
        is not None
    ]


def _curve_figure(
    curves: dict[str, list[Rows]], looks: Sequence[Look], column: str, axis: str, name: str
) -> Figure | None:
    most = _MOST_POINTS if len(curves) <= _MANY else _MOST_POINTS_OF_MANY
    found = {
        index: curve
        for index, runs in enumerate(curves.values())
        if (curve := _mean_curve(runs, column, axis, most)) is not None
    }
    if not found:
        return None
    labels = list(curves)
    with drawing(4.4, 2.6, names=[labels[index] for index in found]) as drawn:
        axes = drawn.axes
        for index, (x, mean, low, high) in found.items():
            own = looks[index]
            drawn.belongs(
                index,
                *axes.plot(x, mean, color=own.colour, linewidth=1.3, linestyle=own.dash),
            )
            if len(curves[labels[index]]) > 1:
                band = axes.fill_between(x, low, high, color=own.colour, alpha=0.15, linewidth=0)
                drawn.belongs(index, band)
            for point in zip(x, mean, low, high, strict=True):
                row = (labels[index], *(float(f"{value:.5g}") for value in point))
                drawn.point(index, point[0], point[1], row)
        axes.set_xlabel(AXES[axis])
        axes.set_ylabel(column.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=axis == "step"))
        drawn.legend(labels, looks, list(found))
        return drawn.figure(
            name,
            _COLUMNS[column],
            ("method", axis, f"mean {column}", "lowest run", "highest run"),
            f"{column} during training, against {axis}",
            axis=axis,
            labels=labels,
        )


def _mean_curve(runs: list[Rows], column: str, axis: str, most: int) -> Any:
    """x, mean, lowest and highest over the runs at the steps that all have, thinned."""
    by_step = [
        {
            row["step"]: (row[axis], row[column])
            for row in rows
            if _is_number(row.get(column))
            and _is_number(row.get(axis))
            and (column != "hit_rate" or _HIT_RATES_COMPARE in row)
        }
        for rows in runs
    ]
    shared = sorted(set.intersection(*map(set, by_step))) if by_step else []
    if not shared:
        return None
    kept = np.unique(np.linspace(0, len(shared) - 1, min(len(shared), most)).astype(int))
    values = np.array([[steps[shared[at]] for at in kept] for steps in by_step], dtype=float)
    column_SN = values[:, :, 1]
    return values[:, :, 0].mean(0), column_SN.mean(0), column_SN.min(0), column_SN.max(0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
