"""The token view: what stands on the page, and how it behaves in a browser."""

import copy
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.objectives import DFT, OTR, SFT, Objective
from otr.report.page import page
from otr.report.token_lines import lines
from otr.report.token_view import number, section, shown_word, write_tokens_page
from otr.training.config import Data
from otr.training.inspection import token_views

pytestmark = pytest.mark.filterwarnings("ignore")

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=https://example.org/x onerror=document.title='owned'>",
    "\u202eevil\u202c",
    "\x1b[31m",
    "\n",
    "   ",
    "a\u0301\u0301\u0301",
    '"><b style="position:fixed">',
    "{{ 7 * 7 }}",
)


@pytest.fixture(scope="module")
def slipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The first demonstration of the half-wrong regime: 9 + 3 = 1 1 instead of 1 2."""
    path = tmp_path_factory.mktemp("data") / "half-wrong.jsonl"
    write_demonstrations(REGIMES[0], 0, path)
    objectives: list[Objective] = [SFT(), DFT(), OTR(), OTR(num_rollouts="exact")]
    return token_views("demo-strong", Data.model_validate(data_section(path)), [0], objectives)


def hostile(tokens: dict[str, Any]) -> dict[str, Any]:
    """The same with its texts exchanged for ones that try to break out."""
    spoilt = copy.deepcopy(tokens)
    spoilt["model"] = HOSTILE[0]
    (example,) = spoilt["examples"]
    example["source"] = HOSTILE[1]
    for index, token in enumerate(example["tokens"]):
        token["text"] = HOSTILE[index % len(HOSTILE)]
        for place, word in enumerate(token.get("words", ())):
            word["text"] = HOSTILE[place % len(HOSTILE)]
    for objective in example["objectives"]:
        objective["label"] = HOSTILE[7]
    return spoilt


class Elements(HTMLParser):
    """Tags with their attributes, in order, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [found for _, found in self.tags if name in (found.get("class") or "").split()]


def cells(html: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Of each token of the strips its text, and the class and mark of each objective's cell."""
    return [
        (
            unescape(re.sub("<[^>]*>", "", body.split("</span><i")[0])),
            re.findall(r'<i class="([^"]*)">([^<]*)</i>', body),
        )
        for body in re.findall(r'<a class="tv-token.*?>(.*?)</a>', html, re.DOTALL)
    ]


def test_a_token_stands_in_the_same_place_for_every_objective_shaded_by_its_weight(
    slipped: dict[str, Any],
) -> None:
    (example,) = slipped["examples"]
    learned = [token for token in example["tokens"] if token["supervised"]]
    found = cells(section(slipped).html)
    assert len(found) == len(learned) == 19
    for token, (text, shades) in zip(learned, found, strict=True):
        assert text == token["text"].replace(" ", "·")
        assert len(shades) == 4
        assert shades[0] == ("tv-w10", "")
        for entry, (shade, _) in zip(token["objectives"], shades, strict=True):
            weight = entry["weight"]
            if weight == 0 or weight >= 0.05:
                assert shade.split()[0] == f"tv-w{round(10 * weight)}"
            else:
                assert shade.split()[0] == "tv-faint"


def test_the_slipped_digit_is_shown_first_with_what_the_model_draws_instead(
    slipped: dict[str, Any],
) -> None:
    html = section(slipped).html
    (sft, dft, sampled, exact) = cells(html)[11][1]
    assert sft == ("tv-w10", "") and dft == ("tv-faint", "")
    assert sampled == ("tv-w0 tv-d3", "×") and exact[0] == "tv-faint tv-d3"
    assert sum(mark == "×" for _, shades in cells(html) for _, mark in shades) == 1
    panel = html.split('class="tv-panel"')[1].split("<details")[0]
    assert "token 19 of 26" in panel and "<dd>0 of 256 (0 %)</dd>" in panel
    assert "None of OTR&#39;s 256 rollouts hit this token, so it gets no weight" in panel
    assert "“2” 252 times. SFT teaches it like any other." in panel
    # What the model would say itself is pushed down by SFT with all its might.
    assert '<td class="tv-down tv-strong">▼ 0.996</td>' in panel


def test_the_prompt_is_marked_as_masked_and_has_no_cells(slipped: dict[str, Any]) -> None:
    html = section(slipped).html
    (masked,) = re.findall(r'<p class="tv-masked">(.*?)</p>', html, re.DOTALL)
    assert "masked: no loss" in masked and "<i" not in masked
    text = re.sub("<[^>]*>", "", masked).removeprefix("masked: no loss").strip()
    assert text == "add·9·7·and·3·1·:"


def test_without_scripts_every_token_of_the_strips_has_its_numbers_below(
    slipped: dict[str, Any],
) -> None:
    html = section(slipped).html
    elements = Elements(html)
    ids = [found["id"] for tag, found in elements.tags if tag == "article"]
    links = [found["href"] for found in elements.of_class("tv-token")]
    assert len(set(ids)) == 19 and links == [f"#{id}" for id in ids]
    cards = html.split("<article ")[1:]
    learned = [token for token in slipped["examples"][0]["tokens"] if token["supervised"]]
    for card, token in zip(cards, learned, strict=True):
        sampled = token["objectives"][2]
        assert f"<dd>{sampled['hits']} of 256" in card
        assert f"<dd>{number(token['p'])}</dd>" in card
        for entry in token["objectives"]:
            assert f"<td>{number(entry['weight'])}</td>" in card
            assert f"<td>{number(entry['loss'])}</td>" in card
        assert card.count('class="tv-label"') == 1


def test_losses_are_shown_as_sums_over_tokens(slipped: dict[str, Any]) -> None:
    html = section(slipped).html
    for objective in slipped["examples"][0]["objectives"]:
        loss, total = number(objective["loss"], 5), number(objective["sum_of_losses"], 4)
        row = f"{objective['label']}</th><td>{loss}</td><td>{total}</td><td>19</td><td>{loss}</td>"
        assert row in html
    assert "A loss below 0 is no mistake" in html


def test_text_of_model_data_and_files_is_only_text(slipped: dict[str, Any]) -> None:
    whole = page("x", [section(slipped)])
    spoilt = page("x", [section(hostile(slipped))])
    elements = Elements(spoilt)
    kinds = {tag for tag, _ in elements.tags}
    assert not kinds - {tag for tag, _ in Elements(whole).tags}
    assert [tag for tag, _ in elements.tags].count("script") == 1
    for tag, attributes in elements.tags:
        assert "style" not in attributes and not any(name[:2] == "on" for name in attributes), tag
    for character in ("\u202e", "\x1b"):
        assert character not in spoilt
    assert "\\u202eevil\\u202c" in elements.text and "\\x1b[31m" in elements.text
    assert "{{·7·*·7·}}" in elements.text


def test_words_show_their_blanks_and_are_cut_where_long() -> None:
    assert shown_word(" a").striptags() == "·a"
    assert shown_word("   ").count("·") == 3
    assert shown_word("x" * 300).striptags() == "x" * 199 + "…"
    assert shown_word("\n\u200b").striptags() == "\\n\\u200b"
    assert shown_word("<b>") == "<bdi>&lt;b&gt;</bdi>"


def test_numbers_are_short_and_never_lose_a_small_probability() -> None:
    assert [number(x) for x in (0, 1, -0.1, 0.99949, 3.2e-7, -4e-5, None, 1e-17)] == [
        "0", "1.000", "−0.100", "0.999", "3e−7", "−4e−5", "–", "0"
    ]  # fmt: skip


def test_objectives_without_draws_and_several_examples_have_a_view_too(
    slipped: dict[str, Any],
) -> None:
    tokens = copy.deepcopy(slipped)
    for token in tokens["examples"][0]["tokens"]:
        token["objectives"] = token.get("objectives", [])[:2]
    tokens["examples"][0]["objectives"] = tokens["examples"][0]["objectives"][:2]
    tokens["examples"] *= 2
    html = section(tokens, id="views").html
    assert "hits" not in html and '<th scope="col">q' not in html
    assert html.count("SFT teaches every token alike") == 1 and "OTR" not in html
    ids = [found["id"] for _, found in Elements(html).tags if "id" in found]
    assert len(ids) == len(set(ids)) == 38 and all(str(id).startswith("views-") for id in ids)


def test_the_terminal_shows_weights_hits_and_where_no_draw_hits(slipped: dict[str, Any]) -> None:
    text = lines(slipped)
    assert text[0] == "row 0 (half-wrong.jsonl, line 1) under demo-strong: 19 of 26 tokens learned"
    assert "      | add 9 7 and 3 1 :" in text
    assert "learn |  7 + 1 = 8 ; 9 + 3 = 1 1 ; ans 1 1 8 .<|endoftext|>" in text
    missed = next(line for line in text if line.startswith("[ 1]") and line.split()[3] == "0")
    assert missed.split()[:6] == ["[", "1]", "0.0014", "0", "1.000", "0.001"]
    assert not any("\033" in line for line in text)
    assert any("\033[48;5;52" in line for line in lines(slipped, colour=True))
    shown = "".join(lines(hostile(slipped)))
    assert shown.isprintable() and "\\x1b" in shown


# In a browser.


@pytest.fixture
def visit(visit_file: Any, tmp_path: Path) -> Any:
    """Opens tokens in a new page."""

    def opened(tokens: dict[str, Any], **options: Any) -> Any:
        write_tokens_page(tokens, tmp_path / "tokens.html")
        return visit_file(tmp_path / "tokens.html", **options)

    return opened


def test_pointing_at_a_token_shows_it_and_a_click_keeps_it(
    slipped: dict[str, Any], visit: Any
) -> None:
    shown = visit(slipped, viewport={"width": 1280, "height": 900})
    panel, tokens = shown.locator(".tv-panel"), shown.locator(".tv-token")
    assert "token 19 of 26" in panel.inner_text()
    tokens.nth(2).hover()
    assert "token 10 of 26" in panel.inner_text()
    tokens.nth(4).click()
    tokens.nth(6).hover()
    assert "token 12 of 26" in panel.inner_text()
    shown.keyboard.press("Escape")
    tokens.nth(7).hover()
    assert "token 15 of 26" in panel.inner_text()
    assert shown.locator(".tv-token.tv-on").count() == 1
    assert "#" not in shown.url


def test_the_keyboard_reaches_every_token_by_one_stop_and_the_arrows(
    slipped: dict[str, Any], visit: Any
) -> None:
    shown = visit(slipped)
    panel = shown.locator(".tv-panel")
    focused = "document.activeElement.className"
    for _ in range(10):
        shown.keyboard.press("Tab")
        if "tv-token" in shown.evaluate(focused):
            break
    assert "tv-token" in shown.evaluate(focused) and "token 19 of 26" in panel.inner_text()
    shown.keyboard.press("ArrowRight")
    assert "token 20 of 26" in panel.inner_text()
    shown.keyboard.press("Home")
    assert "token 8 of 26" in panel.inner_text()
    shown.keyboard.press("ArrowLeft")
    assert "token 8 of 26" in panel.inner_text()
    shown.keyboard.press("End")
    assert "token 26 of 26" in panel.inner_text()
    shown.keyboard.press("Tab")
    assert "tv-token" not in shown.evaluate(focused)
    label = shown.locator(".tv-token.tv-on").get_attribute("aria-label")
    assert (
        label.startswith("<|endoftext|>: probability") and "OTR weight 1.000, 256 of 256" in label
    )


def test_hostile_text_is_inert_in_a_browser(slipped: dict[str, Any], visit: Any) -> None:
    shown = visit(hostile(slipped))
    for index in range(19):
        shown.locator(".tv-token").nth(index).focus()
    assert "owned" not in shown.title().replace("document.title='owned'", "")
    assert shown.locator("img").count() == 0 and shown.locator("script").count() == 1
    assert shown.evaluate("document.querySelectorAll('[style]').length") == 0


def test_without_scripts_a_token_leads_to_its_numbers(slipped: dict[str, Any], visit: Any) -> None:
    shown = visit(slipped, java_script_enabled=False)
    assert "token 19 of 26" in shown.locator(".tv-panel").inner_text()
    card = shown.locator("article").nth(3)
    assert not card.is_visible()
    shown.locator("details.tv-cards > summary").click()
    assert card.is_visible()
    shown.locator(".tv-token").nth(3).click()
    assert shown.url.endswith("#" + card.get_attribute("id"))


@pytest.mark.parametrize("width", [1280, 768, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_strips_line_up_and_nothing_is_wider_than_the_window(
    slipped: dict[str, Any], visit: Any, width: int, scheme: str
) -> None:
    shown = visit(slipped, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    found = json.loads(
        shown.evaluate(
            """JSON.stringify({
              tokens: [...document.querySelectorAll(".tv-token")].map(
                t => [...t.querySelectorAll("i")].map(i => i.getBoundingClientRect())),
              names: [...document.querySelectorAll(".tv-names")].map(
                t => [...t.querySelectorAll("i")].map(i => i.getBoundingClientRect()))})"""
        )
    )
    tops = {tuple(round(name["top"]) for name in names) for names in found["names"]}
    for boxes in found["tokens"]:
        assert len({(round(box["left"]), round(box["width"])) for box in boxes}) == 1
        # Cells begin 2 pixels below the line that their objective's name stands on.
        assert tuple(round(box["top"]) - 2 for box in boxes) in tops
        assert all(box["right"] <= width for box in boxes)
