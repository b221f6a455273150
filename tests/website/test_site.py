"""The built site: every link has a target, nothing comes from elsewhere, every option is there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("zensical", reason="pip install 'otr[docs]'")

from otr.objectives import ALL
from otr.training.config import Data, Run
from website.commands import parsers
from website.links import dead_in_site
from website.site import sources
from website.tables import with_numbers_right

_BLOCKS_TOO_WIDE = """[...document.querySelectorAll("pre > code")]
    .filter(code => code.scrollWidth > code.clientWidth + 1).map(code => code.textContent)"""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.slow
def test_every_document_is_a_page_and_every_link_of_the_pages_has_a_target(site: Path) -> None:
    for page in sources().values():
        assert (site / page).with_suffix(".html").is_file(), page
    assert dead_in_site(site) == []


@pytest.mark.slow
def test_dead_links_and_foreign_scripts_of_a_page_are_found(site: Path, tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text("<h1 id=there>there</h1>")
    (tmp_path / "page.html").write_text(
        "<a href=other.html#there>a</a><a href=other.html#gone>b</a><a href=gone.html>c</a>"
        "<a href=https://x.test/>d</a><script src=https://x.test/s.js></script><img src=p.png>"
    )
    assert dead_in_site(tmp_path) == [
        "page.html: other.html#gone: there is no such anchor",
        "page.html: gone.html: there is no such page",
        "page.html: loads https://x.test/s.js",
        "page.html: p.png: there is no such page",
    ]


@pytest.mark.slow
def test_the_reference_has_every_option_of_the_code(site: Path) -> None:
    commands = (site / "commands.html").read_text("utf-8")
    for name, parser in parsers().items():
        assert f"otr {name}" in commands
        for action in parser._actions:
            for option in action.option_strings:
                assert f"<code>{option}" in commands or option in ("-h", "--help")
    files = (site / "run-file.html").read_text("utf-8")
    for option in [*Run.model_fields, *Data.model_fields, *(kind.name for kind in ALL)]:
        assert f"<code>{option}</code>" in files
    assert "Words drawn at each token" in files
    api = (site / "api.html").read_text("utf-8")
    for name in ("OTRTrainer", "linear_loss", *(kind.__name__ for kind in ALL)):
        assert f"{name}</span>" in api or f"<code>{name}</code>" in api
    assert "the number of labels that are not ignored unless given" in " ".join(api.split())


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_pages_complain_of_nothing_fetch_nothing_and_fit_the_window(
    site: Path, browser: Any, width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    shown, complaints = context.new_page(), []
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on(
        "request",
        lambda asked: complaints.append(asked.url) if not asked.url.startswith("file:") else None,
    )
    # The page of a server for what is missing has the server's addresses.
    for page in set(site.rglob("*.html")) - {site / "404.html"}:
        shown.goto(page.as_uri())
        assert shown.evaluate("document.documentElement.scrollWidth") <= width, page
        assert shown.evaluate(_BLOCKS_TOO_WIDE) == [], page
    shown.goto((site / "how-otr-works.html").as_uri())
    figure = shown.locator("figure.live iframe")
    figure.scroll_into_view_if_needed()
    inside = shown.frame_locator("figure.live iframe")
    assert inside.locator(".tv-strip, table").first.is_visible()
    assert not inside.locator("h1").is_visible() and not inside.locator("#scheme").is_visible()
    assert "SFT" in inside.locator("body").inner_text()
    context.close()
    assert complaints == []


@pytest.mark.slow
def test_the_search_finds_a_page_without_a_server(site: Path, browser: Any) -> None:
    index = json.loads((site / "search.json").read_text("utf-8"))
    assert any("compaction" in json.dumps(item) for item in index["items"])
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    shown = context.new_page()
    shown.goto((site / "index.html").as_uri())
    shown.keyboard.press("Control+k")
    shown.get_by_role("combobox", name="Search").fill("compaction")
    first = shown.get_by_role("option").first
    first.wait_for()
    assert "Compaction" in first.inner_text()
    assert "theory.html" in (first.get_attribute("href") or "")
    context.close()


@pytest.mark.slow
def test_what_is_for_the_projects_makers_stays_off_the_pages_for_its_users(site: Path) -> None:
    # Whoever audits the security promises wants to see what holds each.
    for_makers = {"contributing.html", "changelog.html", "log.html", "security.html"}
    for page in site.rglob("*.html"):
        text = re.sub(r"<!--.*?-->", "", page.read_text("utf-8"), flags=re.DOTALL)
        if page.name not in for_makers:
            assert not re.search(
                r"\btests/|python -m (evidence report|families|reliability)", text
            ), page
    results = (site / "results.html").read_text("utf-8")
    assert "What came out" in re.findall(r"<h2[^>]*>(.*?)<", results)[0]


def test_columns_of_numbers_and_of_ranges_are_set_right_and_others_are_left_alone() -> None:
    table = """\
| head | ms | ratio | points | note | chosen |
|---|---|---|---|---|:---|
| OTR | 5,257 | **0.99** (0.94–1.10) | −5.0 (−20.4 to +10.4)* | 2 seeds | 1 |
| SFT | – | 1 | | 3 | 2 |
"""
    rule = with_numbers_right(table).splitlines()[1]
    assert rule == "|---|---:|---:|---:|---|:---|"
    fenced = f"```\n{table}```"
    assert with_numbers_right(fenced) == fenced
