"""A figure in the making: matplotlib draws it, the page's script makes it answer.

What belongs to a method carries its number (`data-m` in the SVG), by which the script hides and shows
it; every point has its place in the drawing and its row of the CSV, which the script shows beside it.
Without scripts the figure and its numbers are there all the same.
"""

import base64
import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from otr.report.looks import Look
from otr.report.svg import SETTINGS, inline

_POINTS_PER_INCH = 72
"""Of SVG's user units, so that places in the drawing are places in the file."""

_LONGEST_NAME = 40
_NAME_INCHES = 0.17
_COVERED = 2.5
"""Points of the drawing: marks that lie closer cannot be told apart."""

NARROWEST_POINTS = 8.0
"""An axis in percentage points shows at least so many, so that a point or two do not look like much."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn figure."""

    name: str

    title: str

    svg: Markup

    header: tuple[str, ...]

    rows: tuple[tuple[Any, ...], ...]
    """Every number in it, as a table; first in each row the method."""

    places: tuple[tuple[int, float, float], ...]
    """Of each row the method's number and the point in the drawing's own units."""

    axis: str = ""
    """Which of several views of the same numbers it is."""

    def html(self) -> Markup:
        """The figure with a link to its numbers, which works without scripts."""
        data = base64.b64encode(self.csv().encode()).decode()
        places = ";".join(f"{index} {x:.1f} {y:.1f}" for index, x, y in self.places)
        return Markup(
            '<figure class="drawn" data-places="{}" data-axis="{}"><figcaption>{} '
            '<a download="{}.csv" href="data:text/csv;charset=utf-8;base64,{}">numbers (CSV)</a>'
            '</figcaption><div class="scroll">{}</div></figure>'
        ).format(places, self.axis, self.title, self.name, data, self.svg)

    def csv(self) -> str:
        """The numbers; text that a spreadsheet would take for a formula is quoted."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(self.header)
        writer.writerows([_inert(cell) for cell in row] for row in self.rows)
        return out.getvalue()


class Drawing:
    """Axes to draw on, and what is known of what was drawn."""

    def __init__(self, canvas: Canvas, axes: Axes) -> None:
        self.canvas, self.axes = canvas, axes
        self._rows: list[tuple[Any, ...]] = []
        self._points: list[tuple[int, float, float]] = []
        self._num_marked = 0

    def belongs(self, index: int, *artists: Artist | ErrorbarContainer, kind: str = "m") -> None:
        """Note that artists are a method's; they then share its fate."""
        for artist in artists:
            if isinstance(artist, ErrorbarContainer):
                self.belongs(index, *artist.get_children(), kind=kind)
            else:
                artist.set_gid(f"{kind}{index}-{self._num_marked}")
                self._num_marked += 1

    def point(self, index: int, x: float, y: float, row: tuple[Any, ...]) -> None:
        """Note a drawn point and its row of numbers."""
        self._points.append((index, x, y))
        self._rows.append(row)

    def legend(self, labels: Sequence[str], looks: Sequence[Look], drawn: Sequence[int]) -> None:
        """The methods' names below; the script makes them switches."""
        handles = []
        for index in drawn:
            own = looks[index]
            handles.append(
                Line2D(
                    [], [], color=own.colour, marker=own.mark, markersize=5, linewidth=1.3,
                    linestyle=own.dash,
                )
            )  # fmt: skip
        # Text from run files: a dollar sign starts no formula.
        names = [shown_name(labels[index], _LONGEST_NAME) for index in drawn]
        legend = self.canvas.legend(
            handles, names, frameon=False, fontsize=9, loc="outside lower center",
            ncols=_num_columns(names),
        )  # fmt: skip
        for index, handle, text in zip(drawn, legend.legend_handles, legend.texts, strict=True):
            if handle is not None:
                self.belongs(index, handle, kind="l")
            self.belongs(index, text, kind="t")

    def in_points(self, *axes: str) -> None:
        """Have the named axes, x or y, show a few percentage points at least."""
        for name in axes:
            ticks = MaxNLocator(nbins=6, steps=[1, 2, 5, 10])
            getattr(self.axes, f"{name}axis").set_major_locator(ticks)
            low, high = getattr(self.axes, f"get_{name}lim")()
            missing = max(0.0, NARROWEST_POINTS - (high - low)) / 2
            getattr(self.axes, f"set_{name}lim")(low - missing, high + missing)

    def figure(
        self,
        name: str,
        title: str,
        header: tuple[str, ...],
        description: str,
        axis: str = "",
        labels: Sequence[str] = (),
    ) -> Figure:
        """What was drawn; with the methods' `labels`, the title says which of them lies under which."""
        self.axes.grid(color="#88888833", linewidth=0.6)
        self.axes.set_axisbelow(True)
        self.axes.spines[["top", "right"]].set_visible(False)
        svg = inline(self.canvas, name, description)
        height = self.canvas.get_size_inches()[1] * _POINTS_PER_INCH
        places = []
        for index, x, y in self._points:
            right, up = self.axes.transData.transform((x, y))
            places.append((index, float(right), float(height - up)))
        covered = [
            f"{labels[under]} lies under {labels[over]}." for under, over in _covered(places)
        ] if labels else []  # fmt: skip
        return Figure(
            name=name, title=" ".join([title, *covered]), svg=svg, header=header,
            rows=tuple(self._rows), places=tuple(places), axis=axis,
        )  # fmt: skip


@contextmanager
def drawing(width: float, height: float, *, names: Sequence[str] = ()) -> Iterator[Drawing]:
    """A drawing of a size in inches, and so much higher that the axes keep theirs with the names of
    its legend below."""
    num_rows = -(-len(names) // _num_columns(names)) if names else 0
    with rc_context(SETTINGS):
        canvas = Canvas(
            figsize=(width, height + _NAME_INCHES * num_rows), layout="constrained",
            dpi=_POINTS_PER_INCH,
        )  # fmt: skip
        yield Drawing(canvas, canvas.subplots())


def shown_name(label: str, longest: int) -> str:
    """A name as matplotlib takes it, cut where it is long: a dollar sign starts no formula."""
    cut = label if len(label) <= longest else f"{label[: longest - 1]}…"
    return cut.replace("$", r"\$")


def _num_columns(names: Sequence[str]) -> int:
    longest = max(map(len, names), default=0)
    return min(len(names), 1 if longest > 24 else 2 if longest > 12 else 3) or 1


def _covered(places: Sequence[tuple[int, float, float]]) -> list[tuple[int, int]]:
    """Which methods cannot be seen, as each of their points lies under one of a later method's: pairs
    of the lower and the upper one."""
    points: dict[int, list[tuple[float, float]]] = {}
    for index, x, y in places:
        points.setdefault(index, []).append((x, y))
    found = []
    for under, own in points.items():
        for over in points:
            if over > under and len(points[over]) == len(own):
                apart = np.abs(np.array(own) - np.array(points[over])).max()
                if apart < _COVERED:
                    found.append((under, over))
                    break
    return found


def arms(mean: float, interval: Sequence[float] | None) -> Any:
    """An interval as matplotlib's error bars, in the mean's units; None where there is none."""
    if interval is None:
        return None
    low, high = interval
    return [[max(0.0, mean - low)], [max(0.0, high - mean)]]


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell
