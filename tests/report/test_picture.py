"""The picture of learning against forgetting: what is drawn, and that it stays the same."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib import image
from matplotlib.figure import Figure

from otr.report.picture import Cloud, Panel, draw_trade_off


def panels() -> list[Panel]:
    clouds = (
        Cloud(
            label="SFT",
            learned=(-4.0, -3.0, -5.0),
            retained=(-1.0, 0.0, -2.0),
            learned_interval=(-6.5, -1.5),
            retained_interval=(-3.5, 1.5),
        ),
        Cloud(
            label="OTR",
            learned=(40.0,),
            retained=(-1.0,),
            learned_interval=None,
            retained_interval=None,
        ),
    )
    return [
        Panel(title="one <regime> & more", caption="OTR ahead\nand so on", clouds=clouds),
        Panel(title="another", caption="", clouds=clouds[:1]),
    ]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were saved."""
    saved: list[Any] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments, **options) -> None:
        saved.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def test_both_files_are_written_and_readable(tmp_path: Path) -> None:
    svg, png = draw_trade_off(panels(), tmp_path / "new")
    pixels = image.imread(png)
    assert pixels.shape[1] > pixels.shape[0] > 400
    assert pixels.std() > 0.05
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_the_same_numbers_give_the_same_svg(tmp_path: Path) -> None:
    first, _ = draw_trade_off(panels(), tmp_path / "a")
    second, _ = draw_trade_off(panels(), tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_every_seed_every_mean_and_every_interval_is_drawn(
    tmp_path: Path, figures: list[Any]
) -> None:
    draw_trade_off(panels(), tmp_path)
    left, right = figures[0].axes
    dots = [collection.get_offsets().tolist() for collection in left.collections]
    assert [[-4.0, -1.0], [-3.0, 0.0], [-5.0, -2.0]] in dots
    assert [[40.0, -1.0]] in dots
    sft, otr = left.containers
    assert sft.lines[0].get_xydata().tolist() == [[-4.0, -1.0]]
    horizontal, vertical = (bars.get_segments()[0].tolist() for bars in sft.lines[2])
    assert horizontal == [[-6.5, -1.0], [-1.5, -1.0]]
    assert vertical == [[-4.0, -3.5], [-4.0, 1.5]]
    assert otr.lines[2] == ()
    assert len(right.containers) == 1


def test_an_objective_looks_the_same_in_every_panel_and_unlike_the_others(
    tmp_path: Path, figures: list[Any]
) -> None:
    draw_trade_off(panels(), tmp_path)
    looks = [
        [(bars.lines[0].get_color(), bars.lines[0].get_marker()) for bars in axis.containers]
        for axis in figures[0].axes
    ]
    assert looks[0][0] == looks[1][0]
    assert looks[0][0][0] != looks[0][1][0] and looks[0][0][1] != looks[0][1][1]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["SFT", "OTR"]


def test_a_difference_of_a_point_does_not_fill_the_panel(
    tmp_path: Path, figures: list[Any]
) -> None:
    cloud = Cloud(
        label="SFT",
        learned=(0.1, 0.2),
        retained=(0.0, 0.1),
        learned_interval=(-0.15, 0.45),
        retained_interval=(-0.25, 0.35),
    )
    draw_trade_off([Panel(title="t", caption="", clouds=(cloud,))], tmp_path)
    low, high = figures[0].axes[0].get_xlim()
    assert high - low >= 8
