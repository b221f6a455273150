"""The quick start's commands do what the page says."""

import pytest

pytest.importorskip("zensical", reason="pip install 'otr[docs]'")

from website import ROOT, running
from website.blocks import blocks
from website.running import run_page, runnable_pages

QUICK_START = ROOT / "docs" / "quick-start.md"


@pytest.mark.slow
def test_the_quick_starts_short_commands_run() -> None:
    assert QUICK_START in runnable_pages()
    marks = [block.mark for block in blocks(QUICK_START)]
    assert run_page(QUICK_START, long=False) == marks.count("run") == 5


def test_a_command_that_fails_is_reported_with_what_it_said(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run -->\n```\necho words; false\n```\n<!-- run -->\n```\ntouch never\n```\n"
    )
    with pytest.raises(SystemExit, match="page.md, line 2: exit status 1\n(?s:.*)words"):
        run_page(page)


def test_a_page_that_shows_other_output_than_is_printed_is_reported(tmp_path) -> None:
    page = tmp_path / "page.md"
    for shown in ("words", "other words"):
        page.write_text(
            f"<!-- run -->\n```\necho words\n```\n\n<!-- output -->\n```text\n{shown}\n```\n"
        )
        if shown == "words":
            assert run_page(page) == 1
    with pytest.raises(SystemExit, match="page.md, line 7: what is printed is\nwords"):
        run_page(page)


def test_a_command_that_takes_too_long_is_reported(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(running, "_LONGEST_SECONDS", 0.2)
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n```\nsleep 20\n```\n")
    with pytest.raises(SystemExit, match="page.md, line 2: not done after 0 s\nsleep 20"):
        run_page(page)
