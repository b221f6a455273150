"""One picture: what fine-tuning gained against what it lost, a column a regime.

Sizes are in inches. Axes have theirs whatever stands above them: the picture grows with its text.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from otr.formats import points
from otr.report.drawing import NARROWEST_POINTS, arms, shown_name
from otr.report.looks import Look, looks_of
from otr.report.verdict_table import kind_of

HASH = "otr-numbers"
"""Where the PNG's metadata keep `numbers_hash` of what was drawn."""

AXES_WIDTH, AXES_HEIGHT = 2.95, 2.1
_LEFT, _GAP, _RIGHT = 0.75, 0.6, 0.15
_BELOW_AXES, _LEGEND, _ABOVE_TEXT = 0.6, 0.75, 0.1
_TITLE, _CAPTION = FontProperties(size=11, weight="bold"), FontProperties(size=9)
_LINE = 1.45
"""Of a line of text, in its font's size."""
_MOST_LINES = 12
_LONGEST_NAME = 40
_DPI = 144
_INCH = 72


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One objective in one regime: a dot a seed, and their mean. All in percentage points, minus the
    untuned model; below 0 is forgetting."""

    label: str

    objective: str
    """Its name, which decides how it looks."""

    by_seed: dict[str, tuple[float, ...]]
    """By group of benchmarks one value a seed, seeds in the same order in each."""

    interval: dict[str, tuple[float, float] | None]
    """By group the 95 % interval of the mean; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One regime."""

    title: str

    lines: tuple[str, ...]
    """Below the title, such as the verdicts; each is broken where it is long."""

    clouds: tuple[Cloud, ...]


def panel_of(results: dict[str, Any]) -> Panel:
    """A study's panel from its results.json: the verdict in short, and each method's change."""
    clouds = []
    for method in results["methods"]:
        if method["change"]:
            change = {key: each for key, each in method["change"].items() if key in ROWS | _TRAINED}
            clouds.append(
                Cloud(
                    label=method["label"],
                    objective=method["objective"]["name"],
                    by_seed={
                        key: tuple(100 * value for value in each["by_seed"].values())
                        for key, each in change.items()
                    },
                    interval={key: _points(each["interval_95"]) for key, each in change.items()},
                )
            )
    return Panel(title=results["title"], lines=tuple(_lines(results)), clouds=tuple(clouds))


_WORDS = {"ahead": "ahead of", "even": "even with", "behind": "behind", "": "minus"}
_TRAINED = {"in_domain": "trained task: points gained →"}
ROWS = {
    "retention": "other tasks: points gained ↑",
    "out_of_domain": "out of domain: points gained ↑",
}
"""Groups of benchmarks with a row of axes, where a study has them, and how their axes are named."""


def numbers_hash(panels: Sequence[Panel]) -> str:
    """What tells whether a picture shows these panels: a hash of their texts and numbers, the latter
    to a thousandth of a point."""
    plain = json.loads(json.dumps([asdict(panel) for panel in panels]), parse_float=_rounded)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def draw_trade_off(
    panels: Sequence[Panel], folder: Path, *, name: str = "learning-and-forgetting"
) -> tuple[Path, Path]:
    """Write `name`.svg and `name`.png into a folder, and return their paths.

    A column a panel, a row for what was kept of other tasks and one for what is out of domain; one
    dot a seed and a cross at the mean, its arms the 95 % intervals.
    """
    assert panels
    rows = [key for key in ROWS if any(key in c.by_seed for p in panels for c in p.clouds)]
    texts = [_broken(panel) for panel in panels]
    text_height = max(_height(text) for text in texts)
    width = _LEFT + len(panels) * AXES_WIDTH + (len(panels) - 1) * _GAP + _RIGHT
    height = text_height + _ABOVE_TEXT + len(rows) * (AXES_HEIGHT + _BELOW_AXES) + _LEGEND
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    looks = _looks(panels)
    for column, (panel, text) in enumerate(zip(panels, texts, strict=True)):
        left = _LEFT + column * (AXES_WIDTH + _GAP)
        _write(figure, text, left, height - _ABOVE_TEXT)
        for row, key in enumerate(rows):
            bottom = _LEGEND + _BELOW_AXES + (len(rows) - 1 - row) * (AXES_HEIGHT + _BELOW_AXES)
            axes = figure.add_axes(
                (left / width, bottom / height, AXES_WIDTH / width, AXES_HEIGHT / height)
            )
            _draw(axes, panel, key, looks)
            if column == 0:
                axes.set_ylabel(ROWS[key])
            if row == len(rows) - 1:
                axes.set_xlabel(_TRAINED["in_domain"])
    _legend(figure, looks)
    folder.mkdir(parents=True, exist_ok=True)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    # Without the date, and with names that are not random, the same numbers give the same file.
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(svg, metadata={"Date": None})
    figure.savefig(png, dpi=_DPI, metadata={HASH: numbers_hash(panels)})
    return svg, png


def _looks(panels: Sequence[Panel]) -> dict[str, Look]:
    clouds = {cloud.label: cloud.objective for panel in panels for cloud in panel.clouds}
    return dict(zip(clouds, looks_of(list(clouds.values()), list(clouds)), strict=True))


def _draw(axes: Axes, panel: Panel, key: str, looks: dict[str, Look]) -> None:
    axes.axhline(0, color="#888888", linewidth=0.8, zorder=1)
    axes.axvline(0, color="#888888", linewidth=0.8, zorder=1)
    for cloud in panel.clouds:
        if not {"in_domain", key} <= cloud.by_seed.keys():
            continue
        own, learned, other = looks[cloud.label], cloud.by_seed["in_domain"], cloud.by_seed[key]
        x, y = sum(learned) / len(learned), sum(other) / len(other)
        axes.scatter(
            learned, other, s=22, marker=own.mark, color=own.colour, alpha=0.5, linewidths=0,
            zorder=2,
        )  # fmt: skip
        axes.errorbar(
            x, y, xerr=arms(x, cloud.interval["in_domain"]), yerr=arms(y, cloud.interval[key]),
            marker=own.mark, markersize=7, markeredgecolor="white", color=own.colour,
            linewidth=1.5, zorder=3,
        )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], min_n_ticks=3))
    axes.set_xlim(*_limits(axes.get_xlim()))
    axes.set_ylim(*_limits(axes.get_ylim()))
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _limits(drawn: tuple[float, float]) -> tuple[float, float]:
    """The drawn range with a margin, wide enough that a point or two do not look like much."""
    low, high = drawn
    missing = max(0.0, NARROWEST_POINTS - (high - low)) / 2
    return low - missing, high + missing


def _legend(figure: Figure, looks: dict[str, Look]) -> None:
    handles = [
        Line2D([], [], color=own.colour, marker=own.mark, markersize=7, linewidth=1.5)
        for own in looks.values()
    ]
    legend = figure.legend(
        handles,
        [shown_name(label, _LONGEST_NAME) for label in looks],
        loc="lower center",
        ncols=max(1, min(len(looks), 6)),
        frameon=False,
        title="dot: a seed    cross: mean and 95 % interval    grey lines: the untuned model",
    )
    legend.get_title().set_fontsize(9)


def _lines(results: dict[str, Any]) -> list[str]:
    """A study's verdict in short: the untuned model's score, then each method against the first."""
    names = results["benchmarks"]["in_domain"]
    known = [results["untuned"][name]["accuracy"] for name in names if name in results["untuned"]]
    first, *others = results["methods"]
    found = []
    if known:
        words = results.get("untuned_verdict") or ""
        beaten = ": beaten by none" if words.startswith("No objective") else ""
        found.append(f"untuned {points(sum(known) / len(known))}{beaten}")
    for method in others:
        difference = method["difference"].get("in_domain")
        if difference is not None:
            word = _WORDS[kind_of(difference)]
            low, high = (points(end, signed=True) for end in difference["interval_95"])
            mean = points(difference["mean"], signed=True)
            found.append(f"{method['label']} {word} {first['label']}: {mean} ({low} to {high})")
    if any(
        len(each["difference"]["in_domain"]["by_seed"]) == 1
        for each in others
        if each["difference"]
    ):
        found.append("one run each: no verdict")
    return found


def _broken(panel: Panel) -> list[tuple[str, FontProperties]]:
    """A panel's lines of text, none wider than its axes."""
    found = [(line, _TITLE) for line in _wrapped(panel.title, _TITLE)]
    found += [(line, _CAPTION) for text in panel.lines for line in _wrapped(text, _CAPTION)]
    if len(found) > _MOST_LINES:
        found = [*found[: _MOST_LINES - 1], ("…", _CAPTION)]
    return found


def _wrapped(text: str, font: FontProperties) -> list[str]:
    """Lines that are no wider than the axes, at most as many as are shown; a word that is wider is
    broken."""
    lines, line, room = [], "", AXES_WIDTH
    for word in text.split():
        for piece in _pieces(word, font):
            width = _width(f" {piece}", font)
            if line and width > room:
                lines.append(line)
                line, room = "", AXES_WIDTH
            line, room = f"{line} {piece}".strip(), room - width
        if len(lines) > _MOST_LINES:
            break
    return [*lines, line] if line else lines


def _pieces(word: str, font: FontProperties) -> list[str]:
    """A word, broken where it is wider than the axes."""
    pieces, room = [""], AXES_WIDTH
    for character in word:
        width = _width(character, font)
        if width > room:
            pieces.append("")
            room = AXES_WIDTH - _width(" ", font)
        pieces[-1] += character
        room -= width
    return pieces


def _width(text: str, font: FontProperties) -> float:
    """Inches, of the characters one by one: with kerning a line is at most as wide."""
    return sum(_character_width(character, font) for character in text)


@cache
def _character_width(character: str, font: FontProperties) -> float:
    return _RENDERER.get_text_width_height_descent(character, font, ismath=False)[0] / _INCH


_RENDERER = RendererAgg(1, 1, _INCH)


def _height(text: Sequence[tuple[str, FontProperties]]) -> float:
    return sum(_line_height(font) for _, font in text) + 0.1


def _line_height(font: FontProperties) -> float:
    return _LINE * font.get_size_in_points() / _INCH


def _write(
    figure: Figure, text: Sequence[tuple[str, FontProperties]], left: float, top: float
) -> None:
    width, height = figure.get_size_inches()
    for line, font in text:
        # Text from study files: a dollar sign starts no formula.
        figure.text(
            left / width, top / height, line, fontproperties=font, va="top", parse_math=False
        )
        top -= _line_height(font)


def _points(interval: list[float] | None) -> tuple[float, float] | None:
    return None if interval is None else (100 * interval[0], 100 * interval[1])


def _rounded(text: str) -> float:
    return round(float(text), 3) + 0.0
