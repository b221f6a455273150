"""Formulas in docstrings, which stand there line by line, as blocks of their own in the pages."""

import re
from typing import Any

import griffe

_EQUATION = re.compile(r"[A-Za-zπρ_][\w|/().\[\], ^-]{0,50} (=|~) ")


class Formulas(griffe.Extension):
    """Fences paragraphs of which every line begins with an equation."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object once it is loaded."""
        if obj.docstring:
            obj.docstring.value = with_formulas(obj.docstring.value)


def with_formulas(text: str) -> str:
    """The docstring with its formulas fenced."""
    blocks = text.split("\n\n")
    for number, block in enumerate(blocks):
        lines = block.split("\n")
        if all(_EQUATION.match(line) for line in lines):
            blocks[number] = "\n".join(["```text", *lines, "```"])
    return "\n\n".join(blocks)
