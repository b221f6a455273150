"""The report in a browser: figures that answer, hostile text that does nothing, both schemes."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from otr.report.report import write_report

OWNED = (
    "\u202e</script><script>document.title='owned'</script><img src=//x.test/i onerror=alert(1)>"
)


@pytest.fixture
def visit(study: Path, visit_file: Any) -> Any:
    """Opens the study's report in a new page."""

    def opened(*folders: Path, **options: Any) -> Any:
        write_report(folders or (study,), study / "report.html")
        return visit_file(study / "report.html", **options)

    return opened


def rows_of(shown: Any, name: str) -> list[dict[str, str]]:
    """A figure's numbers, by what its link holds."""
    text = shown.evaluate(
        "name => fetchText(document.querySelector(`a[download='${name}.csv']`).href)".replace(
            "fetchText(", "(href => atob(href.split(',')[1]))("
        ),
        name,
    )
    return list(csv.DictReader(io.StringIO(text)))


def point_at(shown: Any, section: str, row: int) -> None:
    """Move the pointer to where the first figure of a section has drawn a row of its numbers."""
    figure = shown.locator(f"#{section} figure.drawn").first
    figure.scroll_into_view_if_needed()
    place = figure.get_attribute("data-places").split(";")[row].split()
    x, y = shown.evaluate(
        """([section, x, y]) => {
          const svg = document.querySelector(`#${section} figure.drawn svg`);
          const seen = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
          return [seen.x, seen.y];
        }""",
        [section, float(place[1]), float(place[2])],
    )
    shown.mouse.move(x, y)


def seen(shown: Any, method: int) -> dict[str, int]:
    """How many parts of a method are shown and hidden, over all figures."""
    return json.loads(
        shown.evaluate(
            """method => {
              const parts = [...document.querySelectorAll(`[data-m="${method}"]`)];
              const hidden = parts.filter(p => getComputedStyle(p).display === "none").length;
              return JSON.stringify({ shown: parts.length - hidden, hidden });
            }""",
            method,
        )
    )


@pytest.mark.parametrize(
    ("section", "name"),
    [("trade-off", "trade-off-retention"), ("scores", "differences-in_domain"), ("rates", "rates")],
)
def test_pointing_at_what_is_drawn_shows_its_numbers(visit: Any, section: str, name: str) -> None:
    shown = visit(viewport={"width": 1280, "height": 900})
    rows = rows_of(shown, name)
    tip = shown.locator(f"#{section} .tip").first
    assert not tip.is_visible()
    for number in {0, len(rows) // 2, len(rows) - 1}:
        point_at(shown, section, number)
        words = tip.inner_text().replace("\u2212", "-").splitlines()
        drawn_there = [
            [row["method"], *(f"{key}: {row[key]}" for key in list(row)[1:] if row[key])]
            for row in rows
        ]
        # Points of equal numbers lie on each other.
        assert words in drawn_there
        assert words[0] == rows[number]["method"]
    shown.mouse.move(2, 2)
    assert not tip.is_visible()


def test_a_name_hides_its_method_everywhere_and_shows_it_again(visit: Any) -> None:
    shown = visit(viewport={"width": 1280, "height": 900})
    names = shown.locator("#trade-off [data-t]")
    assert [text.strip() for text in names.all_text_contents()] == ["SFT", "DFT", "OTR"]
    before = [seen(shown, method) for method in range(3)]
    assert all(each["hidden"] == 0 and each["shown"] > 8 for each in before)

    names.nth(1).click()
    assert [seen(shown, method)["shown"] for method in range(3)] == [
        before[0]["shown"], 0, before[2]["shown"],
    ]  # fmt: skip
    pressed = [
        name.get_attribute("aria-pressed") for name in shown.locator("#rates [data-t]").all()
    ]
    assert pressed == ["true", "false", "true"]
    rows = rows_of(shown, "trade-off-retention")
    point_at(shown, "trade-off", [row["method"] for row in rows].index("DFT"))
    tip = shown.locator("#trade-off .tip")
    assert not tip.is_visible() or not tip.inner_text().startswith("DFT")

    names.nth(1).focus()
    shown.keyboard.press("Enter")
    assert seen(shown, 1) == before[1]
    names.nth(2).dblclick()
    assert [seen(shown, method)["shown"] > 0 for method in range(3)] == [False, False, True]
    names.nth(2).dblclick()
    assert [seen(shown, method) for method in range(3)] == before


def test_curves_are_against_steps_or_seconds(visit: Any) -> None:
    shown = visit()
    steps = shown.locator("#curves figure[data-axis=step]")
    seconds = shown.locator("#curves figure[data-axis=seconds]")
    assert steps.count() == seconds.count() == 2
    assert steps.first.is_visible() and not seconds.first.is_visible()
    shown.get_by_role("radio", name="seconds").check()
    assert seconds.first.is_visible() and not steps.first.is_visible()


def test_the_keyboard_walks_along_a_figures_points(visit: Any) -> None:
    shown = visit()
    rows = rows_of(shown, "rates")
    svg, tip = shown.locator("#rates svg").first, shown.locator("#rates .tip").first
    svg.focus()
    shown.keyboard.press("ArrowRight")
    assert tip.inner_text().splitlines()[:2] == [
        "SFT",
        f"learning rate: {rows[0]['learning rate']}",
    ]
    shown.keyboard.press("ArrowRight")
    assert f"learning rate: {rows[1]['learning rate']}" in tip.inner_text()
    shown.keyboard.press("ArrowDown")
    assert tip.inner_text().startswith("DFT")
    shown.keyboard.press("ArrowUp")
    assert tip.inner_text().startswith("SFT")
    shown.keyboard.press("Escape")
    assert not tip.is_visible()


def test_two_studies_on_a_page_have_switches_of_their_own(visit: Any, study: Path) -> None:
    shown = visit(study, study)
    shown.locator("#g0-trade-off [data-t]").first.click()
    hidden = (
        "section => getComputedStyle(document.querySelector(`#${section} [data-m='0']`)).display"
    )
    assert shown.evaluate(hidden, "g0-rates") == "none"
    assert shown.evaluate(hidden, "g1-rates") != "none"


def test_numbers_are_downloaded_as_csv(visit: Any, tmp_path: Path) -> None:
    shown = visit(accept_downloads=True)
    with shown.expect_download() as caught:
        shown.locator("#trade-off a[download]").click()
    assert caught.value.suggested_filename == "trade-off-retention.csv"
    caught.value.save_as(tmp_path / "trade-off-retention.csv")
    text = (tmp_path / "trade-off-retention.csv").read_text()
    (header, *rows) = csv.reader(io.StringIO(text))
    assert header[:2] == ["method", "seed"] and len(rows) == 3 * (7 + 1)
    points = [float(cell) for row in rows for cell in row[2:]]
    assert min(points) < 0 < max(points)


def test_hostile_words_do_nothing(visit: Any, study: Path) -> None:
    results = json.loads((study / "results.json").read_text())
    results["title"] = results["model"] = OWNED
    for key in ("verdicts", "warnings", "side_verdicts"):
        results[key] = [OWNED]
    results["methods"][1]["label"] = OWNED
    (study / "results.json").write_text(json.dumps(results))
    (study / "sft-0" / "audit.json").write_text(
        json.dumps(
            dict.fromkeys(("num_examples", "num_supervised", "num_tokens"), 1)
            | {"problems": [OWNED], "notes": []}
        )
    )
    shown = visit()
    shown.locator("details").first.evaluate("each => each.open = true")
    rows = [row["method"] for row in rows_of(shown, "trade-off-retention")]
    point_at(shown, "trade-off", next(i for i, name in enumerate(rows) if "script" in name))
    assert "<script>" in shown.locator("#trade-off .tip").inner_text()
    for switch in shown.locator("#trade-off [data-t]").all():
        switch.click()
    assert "owned" not in shown.title().replace("document.title='owned'", "")
    assert shown.locator("img").count() == 0 and shown.locator("script").count() == 1
    assert "\u202e" not in shown.locator("body").inner_text()
    longest = max(map(len, shown.locator("pre").all_inner_texts()))
    assert longest < 1000


def test_without_scripts_everything_is_there(visit: Any) -> None:
    shown = visit(java_script_enabled=False)
    figures = shown.locator("figure.drawn")
    assert figures.count() == 1 + 2 + 1 + 2 * 2
    for figure in figures.all():
        assert figure.is_visible() and figure.locator("a[download]").is_visible()
    assert not shown.locator("#scheme").is_visible()
    assert shown.locator("#verdict td").first.is_visible()


def test_on_paper_there_is_no_furniture(visit: Any) -> None:
    shown = visit()
    shown.emulate_media(media="print")
    for gone in ("nav", "#scheme", ".choice"):
        assert not shown.locator(gone).first.is_visible()
    for section in shown.locator("section").all():
        assert section.is_visible()
    assert len(shown.pdf()) > 10_000


def cut_off(shown: Any, width: int) -> list[str]:
    """What reaches beyond the window's sides, or into the unseen part of something that scrolls."""
    return json.loads(
        shown.evaluate(
            """width => JSON.stringify(
              [...document.querySelectorAll("main td, main th, main svg, main li, main p, main dd")]
                .filter(each => each.checkVisibility() && !each.closest(".tv"))
                .filter(each => getComputedStyle(each.closest("thead") ?? each).position !== "absolute")
                .filter(each => {
                  const box = each.getBoundingClientRect();
                  const frame = each.closest(".scroll")?.getBoundingClientRect();
                  return box.right > Math.min(width, frame?.right ?? width) + 1 || box.left < -1;
                })
                .map(each => each.textContent.slice(0, 40)))""",
            width,
        )
    )


def test_on_a_phone_every_score_is_in_sight_and_nothing_is_cut(visit: Any) -> None:
    shown = visit(viewport={"width": 420, "height": 800})
    assert cut_off(shown, 420) == []
    cell = shown.locator("table.verdict td", has_text="ahead").first
    label = cell.evaluate("each => getComputedStyle(each, '::before').content")
    assert label == '"trained task"' and cell.bounding_box()["width"] > 300
    # A figure is drawn narrow, so that its text is not made smaller than a footnote.
    text = shown.locator("#trade-off svg text").first
    assert text.evaluate("each => each.getBoundingClientRect().height") >= 9


def test_on_paper_nothing_is_cut_and_headings_stay_with_what_follows(visit: Any) -> None:
    # A4 within its margins, in pixels.
    shown = visit(viewport={"width": 700, "height": 1000})
    shown.emulate_media(media="print")
    assert cut_off(shown, 700) == []
    for name in ("h1", "h2", "h3", "figcaption", "summary"):
        rule = shown.locator(name).last.evaluate("each => getComputedStyle(each).breakAfter")
        assert name == "h1" or rule == "avoid"
    overflow = "each => getComputedStyle(each).overflowX"
    for each in shown.locator(".scroll").all():
        assert each.evaluate(overflow) == "visible"


def test_the_button_s_word_is_never_broken(visit: Any) -> None:
    shown = visit(viewport={"width": 300, "height": 800})
    for _ in range(2):
        assert shown.locator("#scheme").bounding_box()["height"] < 40
        shown.locator("#scheme").click()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_nothing_is_wider_than_the_window(
    visit: Any, width: int, scheme: str
) -> None:
    shown = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = json.loads(
        shown.evaluate(
            """() => {
              const light = colour => {
                const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
                  .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
                return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2];
              };
              const page = light(getComputedStyle(document.body).backgroundColor);
              const against = each => (Math.max(each, page) + .05) / (Math.min(each, page) + .05);
              const of = (selector, property) => [...document.querySelectorAll(selector)].map(
                each => against(light(getComputedStyle(each)[property])));
              return JSON.stringify({
                words: of("p, li, td, th, a, .quiet, .good, .bad", "color"),
                axes: of("#trade-off svg text", "fill"),
                lines: of("#rates [data-m] path", "stroke"),
              });
            }"""
        )
    )
    assert min(contrasts["words"] + contrasts["axes"]) >= 4.5
    assert min(contrasts["lines"]) >= 2.9
    assert len(contrasts["lines"]) >= 6


def test_the_scheme_can_be_changed_by_hand(visit: Any) -> None:
    shown = visit(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    before = shown.evaluate(background)
    shown.locator("#scheme").click()
    assert shown.evaluate(background) != before
    shown.locator("#scheme").click()
    assert shown.evaluate(background) == before
