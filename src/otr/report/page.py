"""One HTML file that needs nothing else: sections, their styles and scripts, and a strict policy.

Nothing is loaded and nothing runs but the scripts whose hashes the policy names; style attributes and
inline handlers are refused by it. Every text goes through Jinja's escaping.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with a heading of its own."""

    id: str
    """Its anchor."""

    title: str

    html: Markup
    """Its content, escaped already."""

    part: str = ""
    """What it belongs to, where a page has sections of several studies, one after the other."""

    styles: str = ""
    """CSS it needs, from the package's assets; the same text is included once."""

    scripts: str = ""
    """JavaScript it needs, likewise; it must work without it."""


def environment() -> Environment:
    """Jinja with escaping on, for the templates among the package's assets."""
    return Environment(
        loader=PackageLoader("otr.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> str:
    """The text of one of the package's assets."""
    return files("otr.report").joinpath("assets", name).read_text(encoding="utf-8")


def page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The whole page: `lead` above everything, then the sections, with a table of contents."""
    styles = _joined([asset("page.css"), *(section.styles for section in sections)])
    scripts = _joined([asset("page.js"), *(section.scripts for section in sections)])
    policy = (
        f"default-src 'none'; style-src {_hash(styles)}; script-src {_hash(scripts)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        environment()
        .get_template("page.html")
        .render(
            title=title,
            lead=lead,
            sections=sections,
            contents=[(part, list(of)) for part, of in groupby(sections, lambda each: each.part)],
            policy=policy,
            styles=Markup(styles),
            scripts=Markup(scripts),
        )
    )


def _joined(parts: Sequence[str]) -> str:
    return "\n".join(dict.fromkeys(part for part in parts if part))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
