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
from typing import Any, Literal

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from otr.report.svg import COLOURS, SETTINGS, inline

_MARKS = ("o", "s", "D", "^", "v", "P", "X", "*")
_DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
_POINTS_PER_INCH = 72
"""Of SVG's user units, so that places in the drawing are places in the file."""

_LONGEST_NAME = 60
_NAME_INCHES = 0.17


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


@dataclass(frozen=True)
class Look:
    """How a method is drawn, the same in every figure."""

    colour: str
    mark: str
    dash: Literal["-", "--", ":", "-."]


def look(index: int) -> Look:
    """The look of a study's method of that number; a dozen and more stay apart."""
    return Look(
        COLOURS[index % len(COLOURS)],
        _MARKS[index % len(_MARKS)],
        _DASHES[index // len(COLOURS) % len(_DASHES)],
    )


class Drawing:
    """Axes to draw on, and what is known of what was drawn."""

    def __init__(self, canvas: Canvas, axes: Sequence[Axes]) -> None:
        self.canvas, self.axes = canvas, axes
        self._rows: list[tuple[Any, ...]] = []
        self._points: list[tuple[int, Axes, float, float]] = []
        self._num_marked = 0

    def belongs(self, index: int, *artists: Artist | ErrorbarContainer, kind: str = "m") -> None:
        """Note that artists are a method's; they then share its fate."""
        for artist in artists:
            if isinstance(artist, ErrorbarContainer):
                self.belongs(index, *artist.get_children(), kind=kind)
            else:
                artist.set_gid(f"{kind}{index}-{self._num_marked}")
                self._num_marked += 1

    def point(self, axes: Axes, index: int, x: float, y: float, row: tuple[Any, ...]) -> None:
        """Note a drawn point and its row of numbers."""
        self._points.append((index, axes, x, y))
        self._rows.append(row)

    def legend(self, labels: Sequence[str], drawn: Sequence[int]) -> None:
        """The methods' names, at the side where they are many; the script makes them switches."""
        handles = []
        for index in drawn:
            own = look(index)
            handles.append(
                Line2D(
                    [], [], color=own.colour, marker=own.mark, markersize=5, linewidth=1.3,
                    linestyle=own.dash,
                )
            )  # fmt: skip
        # Text from run files: a dollar sign starts no formula.
        names = [labels[index].replace("$", r"\$")[:_LONGEST_NAME] for index in drawn]
        many = len(drawn) > 6
        legend = self.canvas.legend(
            handles, names, frameon=False, fontsize=8,
            loc="outside right upper" if many else "outside lower center",
            ncols=1 if many else min(3, max(1, len(drawn))),
        )  # fmt: skip
        for index, handle, text in zip(drawn, legend.legend_handles, legend.texts, strict=True):
            if handle is not None:
                self.belongs(index, handle, kind="l")
            self.belongs(index, text, kind="t")

    def figure(
        self, name: str, title: str, header: tuple[str, ...], description: str, axis: str = ""
    ) -> Figure:
        """What was drawn."""
        for axes in self.axes:
            axes.grid(color="#88888833", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        svg = inline(self.canvas, name, description)
        height = self.canvas.get_size_inches()[1] * _POINTS_PER_INCH
        places = []
        for index, axes, x, y in self._points:
            right, up = axes.transData.transform((x, y))
            places.append((index, float(right), float(height - up)))
        return Figure(
            name=name, title=title, svg=svg, header=header, rows=tuple(self._rows),
            places=tuple(places), axis=axis,
        )  # fmt: skip


@contextmanager
def drawing(
    width: float, height: float, *, num_axes: int = 1, num_names: int = 0
) -> Iterator[Drawing]:
    """A drawing of a size in inches, high enough for the names in its legend; its axes side by side
    with one vertical scale."""
    height = max(height, 0.4 + _NAME_INCHES * num_names)
    with rc_context(SETTINGS):
        canvas = Canvas(figsize=(width, height), layout="constrained", dpi=_POINTS_PER_INCH)
        axes = canvas.subplots(1, num_axes, sharey=True, squeeze=False)
        yield Drawing(canvas, list(axes[0]))


def arms(mean: float, interval: Sequence[float] | None) -> Any:
    """An interval as matplotlib's error bars, in the mean's units; None where there is none."""
    if interval is None:
        return None
    low, high = interval
    return [[max(0.0, mean - low)], [max(0.0, high - mean)]]


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell
