"""The picture of learning against forgetting: what is drawn, and that it stays the same."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib import image
from matplotlib.figure import Figure
from PIL import Image

from otr.report.picture import (
    AXES_HEIGHT,
    AXES_WIDTH,
    HASH,
    Cloud,
    Panel,
    draw_trade_off,
    numbers_hash,
    panel_of,
)  # fmt: skip


def cloud(
    label: str, learned: tuple[float, ...], kept: tuple[float, ...], **interval: Any
) -> Cloud:
    return Cloud(
        label=label,
        objective=label.lower(),
        by_seed={"in_domain": learned, "retention": kept},
        interval={"in_domain": None, "retention": None, **interval},
    )


def panels() -> list[Panel]:
    sft = cloud(
        "SFT", (-4.0, -3.0, -5.0), (-1.0, 0.0, -2.0),
        in_domain=(-6.5, -1.5), retention=(-3.5, 1.5),
    )  # fmt: skip
    otr = cloud("OTR", (40.0,), (-1.0,))
    return [
        Panel(title="one <regime> & $more", lines=("OTR ahead", "and so on"), clouds=(sft, otr)),
        Panel(title="another", lines=(), clouds=(sft,)),
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
    small = cloud("SFT", (0.1, 0.2), (0.0, 0.1), in_domain=(-0.15, 0.45), retention=(-0.25, 0.35))
    draw_trade_off([Panel(title="t", lines=(), clouds=(small,))], tmp_path)
    low, high = figures[0].axes[0].get_xlim()
    assert high - low >= 8


VERDICT = (
    "OTR and SFT are not distinguishable after correction for several benchmarks: +6.3 points "
    "(+0.7 to +12.0); needs about 320 questions"
)


@pytest.mark.parametrize("text", ["t", VERDICT, "W" * 300, " ".join([VERDICT] * 20)])
def test_axes_keep_their_size_and_text_its_room_however_long_it_is(
    tmp_path: Path, figures: list[Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = [replace(each, title=text, lines=(text, text)) for each in (*panels(), panels()[0])]
    # How fine its pixels are does not matter here.
    monkeypatch.setattr("otr.report.picture._DPI", 40)
    draw_trade_off(three, tmp_path)
    figure = figures[0]
    width, height = figure.get_size_inches()
    figure.canvas.draw()
    drawn = figure.canvas.get_renderer()
    # The README is about 880 pixels wide: on it 9 points are 10 pixels.
    assert width < 11.5
    boxes = []
    for axes in figure.axes:
        box = axes.get_position()
        assert box.width * width == pytest.approx(AXES_WIDTH)
        assert box.height * height == pytest.approx(AXES_HEIGHT)
        boxes.append(axes.get_tightbbox(drawn).transformed(figure.transFigure.inverted()))
    texts = [each.get_window_extent(drawn) for each in figure.texts]
    for one, other in combinations(texts, 2):
        assert not one.overlaps(other)
    shown = [each.transformed(figure.transFigure.inverted()) for each in texts]
    for box in (*boxes, *shown):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1
        assert not any(box.overlaps(each) for each in boxes if each is not box)
    legend = figure.legends[0].get_window_extent(drawn).transformed(figure.transFigure.inverted())
    assert not any(legend.overlaps(each) for each in boxes)


def test_out_of_domain_has_axes_of_its_own_where_a_study_has_it(
    tmp_path: Path, figures: list[Any]
) -> None:
    sft, otr = panels()[0].clouds
    further = replace(sft, by_seed=sft.by_seed | {"out_of_domain": (-9.0, -8.0, -7.0)},
                      interval=sft.interval | {"out_of_domain": None})  # fmt: skip
    draw_trade_off([Panel(title="t", lines=(), clouds=(further, otr))], tmp_path)
    kept, beyond = figures[0].axes
    assert kept.get_ylabel().startswith("other tasks") and len(kept.containers) == 2
    assert beyond.get_ylabel().startswith("out of domain") and len(beyond.containers) == 1


def test_the_png_says_which_numbers_it_shows(tmp_path: Path) -> None:
    _, png = draw_trade_off(panels(), tmp_path)
    with Image.open(png) as picture:
        assert picture.info[HASH] == numbers_hash(panels())
    first, *others = panels()
    for changed in (
        replace(first, title="b"),
        replace(first, lines=("OTR behind",)),
        replace(first, clouds=(replace(first.clouds[0], label="DFT"),)),
        replace(first, clouds=(cloud("SFT", (-4.0, -3.0, -5.01), (-1.0, 0.0, -2.0)),)),
    ):
        assert numbers_hash([changed, *others]) != numbers_hash(panels())


def study(seeds: int, difference: float, *, distinguishable: bool) -> dict[str, Any]:
    estimate = {"mean": difference, "interval_95": [difference - 0.04, difference + 0.04]}
    estimate["by_seed"] = {str(seed): difference for seed in range(seeds)}
    changes = {"in_domain": estimate, "retention": estimate, "demo/in_domain": estimate}
    told = {"in_domain": estimate | {"distinguishable": distinguishable}}
    return {
        "title": "t",
        "benchmarks": {"in_domain": ["demo/in_domain"]},
        "untuned": {"demo/in_domain": {"accuracy": 0.985}},
        "untuned_verdict": "No objective beats the untuned model (98.5): …",
        "methods": [
            {"label": "SFT", "objective": {"name": "sft"}, "change": changes, "difference": {}},
            {"label": "OTR", "objective": {"name": "otr"}, "change": changes, "difference": told},
        ],
    }


@pytest.mark.parametrize(
    ("seeds", "mean", "told", "words"),
    [
        (3, 0.067, True, ("OTR ahead of SFT: +6.7 (+2.7 to +10.7)",)),
        (3, -0.067, True, ("OTR behind SFT: \u22126.7 (\u221210.7 to \u22122.7)",)),
        (3, 0.067, False, ("OTR even with SFT: +6.7 (+2.7 to +10.7)",)),
        (1, 0.067, True, ("OTR minus SFT: +6.7 (+2.7 to +10.7)", "one run each: no verdict")),
    ],
)
def test_a_study_s_panel_has_its_verdict_in_short_and_none_from_one_run_each(
    seeds: int, mean: float, told: bool, words: tuple[str, ...]
) -> None:
    panel = panel_of(study(seeds, mean, distinguishable=told))
    assert panel.lines == ("untuned 98.5: beaten by none", *words)
    assert panel.clouds[1].by_seed["in_domain"] == pytest.approx((100 * mean,) * seeds)
    assert panel.clouds[1].by_seed.keys() == {"in_domain", "retention"}
