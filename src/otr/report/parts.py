"""The parts of a page that report.html describes, and text of files made safe for them."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from otr.formats import p_text, points, rate_text, with_minus
from otr.report.drawing import Figure
from otr.report.page import environment

LONGEST_NAME = 100
_LONGEST_TEXT = 2000
_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n){3,}")
_LEAST_CUT = 0.0005


def part(name: str, *arguments: Any) -> Markup:
    """One of the macros of report.html."""
    template = environment().get_template("report.html")
    module = template.make_module(
        {
            "clean": clean,
            "percent": points,
            "signed": _signed,
            "p_text": p_text,
            "rate_text": rate_text,
            "untuned": untuned_score,
            "cut_words": cut_words,
            "untuned_cut": _untuned_cut,
            "broken": broken,
        }
    )
    return getattr(module, name)(*arguments)


def drawn(figures: Sequence[Figure | None], classes: str = "columns") -> Markup:
    """The figures in as many columns as fit; nothing if there are none."""
    html = Markup("").join(figure.html() for figure in figures if figure is not None)
    return Markup('<div class="{}">{}</div>').format(classes, html) if html else html


def clean(text: object, longest: int = _LONGEST_TEXT) -> str:
    """Text with control and direction characters as visible escapes, cut if long; lines stay, but
    several empty ones together are counted."""
    whole = _EMPTY_LINES.sub(_counted, str(text))
    shown = "".join(_visible(character) for character in whole[:longest])
    return shown if len(whole) <= longest else f"{shown} … ({len(whole):,} characters in all)"


def clean_name(label: object) -> str:
    """A method's name as the figures have it."""
    return clean(label, LONGEST_NAME).replace("\n", " ")


def broken(name: object) -> Markup:
    """A dotted name or path that may be broken after its dots, slashes and underscores."""
    pieces = re.split(r"(?<=[a-z][./_])(?=[a-z])", clean(with_minus(str(name))))
    return Markup("<wbr>").join(pieces)


def cut_words(shares: Mapping[str, float], key: str) -> str:
    """How many answers were cut off; empty for next to none, or if it is not known."""
    share = shares.get(key, 0.0)
    return f"{points(share)} % cut off" if share >= _LEAST_CUT else ""


def untuned_score(results: dict[str, Any], key: str) -> str:
    """The untuned model's score on a group or benchmark; empty if it is not known."""
    names = results["benchmarks"].get(key, [key])
    scores = [results["untuned"][name]["accuracy"] for name in names if name in results["untuned"]]
    return points(sum(scores) / len(scores)) if scores else ""


def _untuned_cut(results: dict[str, Any]) -> dict[str, float]:
    """By group and benchmark, the share of the untuned model's answers that were cut off."""
    known = {name: each["cut"] for name, each in results["untuned"].items() if "cut" in each}
    groups = {
        group: sum(known[name] for name in names) / len(names)
        for group, names in results["benchmarks"].items()
        if names and all(name in known for name in names)
    }
    return known | groups


def _signed(share: float) -> str:
    return points(share, signed=True)


def _counted(lines: re.Match[str]) -> str:
    return f"\n… {lines[0].count(chr(10)):,} line breaks …\n"


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co"):
        return character
    return character.encode("unicode_escape").decode()
