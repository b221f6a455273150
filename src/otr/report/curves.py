"""Training curves: columns of metrics.jsonl against steps and against seconds."""

from typing import Any

import numpy as np

from otr.report.drawing import Figure, drawing, look

Rows = list[dict[str, Any]]
"""The training rows of one run's metrics."""

AXES = {"step": "step", "seconds": "seconds of training"}
_COLUMNS = ("loss", "nll", "entropy", "hit_rate", "reward", "grad_norm")
_MOST_POINTS = 200
_MOST_POINTS_OF_MANY = 60
_MANY = 8


def curve_figures(curves: dict[str, list[Rows]], name: str) -> list[Figure]:
    """Means over a method's runs, and the band from the lowest to the highest run."""
    return [
        figure
        for column in _COLUMNS
        for axis in AXES
        if (figure := _curve_figure(curves, column, axis, f"{name}-{column}-{axis}")) is not None
    ]


def _curve_figure(
    curves: dict[str, list[Rows]], column: str, axis: str, name: str
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
    with drawing(7.5, 3.4, num_names=len(found)) as drawn:
        (axes,) = drawn.axes
        for index, (x, mean, low, high) in found.items():
            own = look(index)
            drawn.belongs(
                index,
                *axes.plot(x, mean, color=own.colour, linewidth=1.3, linestyle=own.dash),
            )
            if len(curves[labels[index]]) > 1:
                band = axes.fill_between(x, low, high, color=own.colour, alpha=0.15, linewidth=0)
                drawn.belongs(index, band)
            for point in zip(x, mean, low, high, strict=True):
                row = (labels[index], *(float(f"{value:.5g}") for value in point))
                drawn.point(axes, index, point[0], point[1], row)
        axes.set_xlabel(AXES[axis])
        axes.set_ylabel(column)
        drawn.legend(labels, list(found))
        return drawn.figure(
            name,
            f"{column} against {axis}",
            ("method", axis, f"mean {column}", "lowest run", "highest run"),
            f"{column} during training, against {axis}",
            axis=axis,
        )


def _mean_curve(runs: list[Rows], column: str, axis: str, most: int) -> Any:
    """x, mean, lowest and highest over the runs at the steps that all have, thinned."""
    by_step = [
        {
            row["step"]: (row[axis], row[column])
            for row in rows
            if _is_number(row.get(column)) and _is_number(row.get(axis))
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
