"""The order of the pages. Pages that are not there yet are left out, others are picked up."""

from collections.abc import Iterable
from typing import Any

SECTIONS: dict[str, tuple[str, ...]] = {
    "Start": ("index.md", "quick-start.md", "how-otr-works.md", "first-steps.md", "faq.md"),
    "Guides": (
        "objectives.md",
        "data.md",
        "recipes/index.md",
        "comparing.md",
        "evaluation.md",
        "benchmarks.md",
        "statistics.md",
        "features.md",
        "integrations.md",
        "models.md",
        "scaling.md",
        "distributed.md",
    ),
    "Reference": ("commands.md", "run-file.md", "api.md", "changelog.md", "contributing.md"),
    "Trust": ("reliability.md", "failures.md", "security.md", "sandbox.md"),
    "Findings": ("results.md", "cost.md", "theory.md", "log.md"),
}
"""Sections and their pages, in order; where a page belongs that nobody listed, see `navigation`."""

_OTHERS = "Guides"

_SHORT = {"index.md": "Overview", "results.md": "Results", "models.md": "Models"}
"""Titles for the navigation, where a page's own is long."""


def navigation(pages: Iterable[str]) -> list[dict[str, Any]]:
    """The `nav` of the pages that there are.

    Pages in a folder follow its index; a page that no section lists goes to the end of the guides.
    """
    left = set(pages)
    sections: dict[str, list[Any]] = {}
    for section, listed in SECTIONS.items():
        entries = sections.setdefault(section, [])
        for page in listed:
            if page not in left:
                continue
            left.remove(page)
            folder = page.removesuffix("index.md")
            inside = sorted(other for other in left if folder and other.startswith(folder))
            left -= set(inside)
            entries.append(
                {folder.strip("/").capitalize(): [page, *inside]} if inside else _entry(page)
            )
    sections[_OTHERS] += sorted(left)
    return [{section: entries} for section, entries in sections.items() if entries]


def _entry(page: str) -> str | dict[str, str]:
    return {_SHORT[page]: page} if page in _SHORT else page
