r"""Matrices as LaTeX writes them: their environments, and their cells."""

import re

# Stands for `\\` while a text is normalised, so that the blank after it is not taken for `\ `.
ROW_END = "\x01"

_NAMES = r"(?:[pbBvV]?matrix|smallmatrix|array)"
_ENVIRONMENT = re.compile(rf"\\begin\s*\{{({_NAMES})\*?\}}.*?\\end\s*\{{\1\*?\}}", re.DOTALL)
_ROW_END = re.compile(r"\\\\\*?(?:\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\])?|\\cr(?![A-Za-z])")
_WHOLE = re.compile(
    rf"([(\[|]?)\\begin\{{({_NAMES})\*?\}}(?:\[[a-z]\])?(.*?)\\end\{{\2\*?\}}([)\]|]?)", re.DOTALL
)
_COLUMNS = re.compile(r"\{[^{}]*\}")

Matrix = tuple[str, tuple[tuple[str, ...], ...]]
"""A matrix's kind, and its rows of cells."""

_CLOSING = {"(": ")", "[": "]", "|": "|", "": ""}


def with_row_ends(text: str) -> str:
    r"""A text with a sign of its own for each `\\` in a matrix, without the distance after it."""
    if "\\begin" not in text:
        return text
    return _ENVIRONMENT.sub(lambda found: _ROW_END.sub(ROW_END, found.group()), text)


def cells(text: str) -> Matrix | None:
    """The kind and the rows of a normalised text that is one matrix: round and square brackets, or
    none, are the same; a determinant is of another kind, and so is a norm.
    """
    found = _WHOLE.fullmatch(text)
    if found is None or "\\begin" in found.group(3) or _CLOSING[found.group(1)] != found.group(4):
        return None
    bracket, name, inside, _ = found.groups()
    if name == "array":
        inside = _COLUMNS.sub("", inside, count=1) if inside.startswith("{") else inside
    kind = {"vmatrix": "determinant", "Vmatrix": "norm"}.get(name, "matrix")
    if bracket == "|":
        kind = "determinant"
    rows = [row.replace("\\hline", "") for row in inside.split("\\\\")]
    if rows and not rows[-1]:
        rows.pop()
    return kind, tuple(tuple(row.split("&")) for row in rows)
