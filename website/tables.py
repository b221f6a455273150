"""Columns of numbers in Markdown tables, set to the right."""

import re

_RULE = re.compile(r"^\|(?: *:?-+:? *\|)+$")
_ONE = r"[−+-]?\d[\d.,]*(?:e[−-]?\d+)?[*%]?"
_SEVERAL = rf"{_ONE}(?:(?: ?– ?| to | of | ± |, ){_ONE})*"
_NUMBER = re.compile(rf"[–—]?|{_SEVERAL}(?: \({_SEVERAL}\))?(?: (?:[kKMGT]i?B?|ms|s))?")
_MARKUP = re.compile(r"[*_`]|<!--.*?-->")
_OPEN_FENCE = re.compile(r"^ *```")


def with_numbers_right(text: str) -> str:
    """The document with every column right-aligned whose cells are numbers, or ranges of them, and
    whose alignment it leaves open."""
    lines = text.split("\n")
    is_code = False
    for at, line in enumerate(lines):
        if _OPEN_FENCE.match(line):
            is_code = not is_code
        if is_code or not _RULE.match(line.strip()):
            continue
        body = []
        for row in lines[at + 1 :]:
            if not row.startswith("|"):
                break
            body.append(_cells(row))
        marks = _cells(line)
        for column, mark in enumerate(marks):
            cells = [row[column] for row in body if column < len(row)]
            if ":" not in mark and any(cells) and all(map(_is_number, cells)):
                marks[column] = "---:"
        lines[at] = f"|{'|'.join(marks)}|"
    return "\n".join(lines)


def _cells(row: str) -> list[str]:
    inside = row.strip().removeprefix("|").removesuffix("|")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", inside)]


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(_MARKUP.sub("", cell).strip()) is not None
