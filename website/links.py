"""Links and paths that lead nowhere, in the repository's documents and in the built pages."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from website import ROOT
from website.site import LINK, REPOSITORY_PAGES

_FENCE = re.compile(r"^( {0,3})```.*?^ {0,3}```[^\n]*$", re.DOTALL | re.MULTILINE)
_CODE_SPAN = re.compile(r"`([^`\n]+)`")
_FOLDERS = ("src", "tests", "docs", "benchmarks", "evidence", "reliability", "families", "notebooks",
    "requirements", "website", "recipes")  # fmt: skip
_PATH = re.compile(rf"(?:{'|'.join(_FOLDERS)})/[\w./-]*[\w/]")


def documents() -> list[Path]:
    """Every Markdown document of the repository that people read."""
    outside = [ROOT / "README.md", *(ROOT / name for name in REPOSITORY_PAGES)]
    return [*outside, *sorted((ROOT / "docs").rglob("*.md"))]


def dead_in_document(document: Path) -> list[str]:
    """A line for each link or quoted path of a document that does not exist on disk."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    dead = []
    for match in LINK.finditer(_CODE_SPAN.sub("``", text)):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (document.parent / target).resolve() if target else document
        if not file.exists():
            dead.append(f"{_shown(document)}: {match['target']}: there is no such file")
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file):
            dead.append(f"{_shown(document)}: {match['target']}: there is no such heading")
    for match in _CODE_SPAN.finditer(text):
        if _PATH.fullmatch(match[1]) and not (ROOT / match[1]).exists():
            dead.append(f"{_shown(document)}: `{match[1]}`: there is no such file")
    return dead


@cache
def _anchors(document: Path) -> set[str]:
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"\s", "-", each) for each in words}


class _Page(HTMLParser):
    """What a page offers to link to, where its links go, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag's identity and its addresses."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev", "alternate"):
            self.loaded.append(given.get("href", ""))
        elif "src" in given:
            self.loaded.append(given["src"])


def dead_in_site(site: Path) -> list[str]:
    """A line for each link of the built pages without a target, and for each thing they would load
    from elsewhere."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        # The page of missing pages is shown at any address, so its own are absolute.
        home = site if path.name == "404.html" else path.parent
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    dead.append(f"{path.relative_to(site)}: loads {address}")
                continue
            file = (home / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                dead.append(f"{path.relative_to(site)}: {address}: there is no such page")
            elif parts.fragment and file in pages:
                if unquote(parts.fragment) not in pages[file].anchors:
                    dead.append(f"{path.relative_to(site)}: {address}: there is no such anchor")
    return dead


def _shown(document: Path) -> str:
    return document.relative_to(ROOT).as_posix() if document.is_relative_to(ROOT) else document.name
