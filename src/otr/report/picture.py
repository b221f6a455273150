"""One picture: what fine-tuning gained against what it lost, a panel a regime."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from otr.report.drawing import arms, look


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One objective in one regime: a dot a seed, and their mean. All in percentage points."""

    label: str

    learned: tuple[float, ...]
    """Accuracy gained over the untuned model, one value a seed."""

    retained: tuple[float, ...]
    """Change of accuracy on the other tasks, in the same order; below 0 is forgetting."""

    learned_interval: tuple[float, float] | None
    """95 % interval of the mean; None where there is none."""

    retained_interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One regime."""

    title: str
    caption: str
    """A line or two below the title, such as the verdicts."""
    clouds: tuple[Cloud, ...]


_NARROWEST_POINTS = 8.0


def draw_trade_off(
    panels: Sequence[Panel], folder: Path, *, name: str = "learning-and-forgetting"
) -> tuple[Path, Path]:
    """Write `name`.svg and `name`.png into a folder, and return their paths.

    Every panel has one dot a seed and a cross at the mean, its arms the 95 % intervals; an
    objective keeps its colour and mark in every panel.
    """
    assert panels
    labels = list(dict.fromkeys(cloud.label for panel in panels for cloud in panel.clouds))
    figure = Figure(figsize=(4.4 * len(panels) + 0.6, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, len(panels), index + 1) for index in range(len(panels))]
    for axis, panel in zip(axes, panels, strict=True):
        _draw_panel(axis, panel, labels)
    axes[0].set_ylabel("other tasks: points gained ↑")
    handles, names = _legend_entries(axes)
    legend = figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=len(names),
        frameon=False,
        title="dot: one seed    cross: mean and 95 % interval    grey lines: the untuned model",
    )
    legend.get_title().set_fontsize(9)
    folder.mkdir(parents=True, exist_ok=True)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    # Without the date, and with names that are not random, the same numbers give the same file.
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(svg, metadata={"Date": None})
    figure.savefig(png, dpi=144)
    return svg, png


def _draw_panel(axis: Axes, panel: Panel, labels: list[str]) -> None:
    axis.axhline(0, color="#888888", linewidth=0.8, zorder=1)
    axis.axvline(0, color="#888888", linewidth=0.8, zorder=1)
    for cloud in panel.clouds:
        own = look(labels.index(cloud.label))
        learned = sum(cloud.learned) / len(cloud.learned)
        retained = sum(cloud.retained) / len(cloud.retained)
        axis.scatter(
            cloud.learned,
            cloud.retained,
            s=26,
            marker=own.mark,
            color=own.colour,
            alpha=0.55,
            linewidths=0,
            zorder=2,
        )
        axis.errorbar(
            learned,
            retained,
            xerr=arms(learned, cloud.learned_interval),
            yerr=arms(retained, cloud.retained_interval),
            marker=own.mark,
            markersize=8,
            markeredgecolor="white",
            color=own.colour,
            linewidth=1.5,
            label=cloud.label,
            zorder=3,
        )
    num_lines = panel.caption.count("\n") + 1 if panel.caption else 0
    axis.set_title(panel.title, fontsize=11, fontweight="bold", pad=8 + 12 * num_lines)
    axis.annotate(
        panel.caption,
        xy=(0.5, 1),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8.5,
    )
    axis.set_xlabel("trained task: points gained →")
    for values in (axis.xaxis, axis.yaxis):
        values.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], min_n_ticks=3))
    axis.set_xlim(*_limits(axis.get_xlim()))
    axis.set_ylim(*_limits(axis.get_ylim()))
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _limits(drawn: tuple[float, float]) -> tuple[float, float]:
    """The drawn range with a margin, wide enough that a point or two do not look like much."""
    low, high = drawn
    missing = max(0.0, _NARROWEST_POINTS - (high - low)) / 2
    return low - missing, high + missing


def _legend_entries(axes: list[Axes]) -> tuple[list, list[str]]:
    entries = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return list(entries.values()), list(entries)
