"""What is shown: text of data and models made safe, lines that fit the terminal, and progress with
and without one."""

import os
import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO
from unicodedata import combining, east_asian_width

_COLOURED = re.compile(r"(\x1b\[[0-9;]*m)(.*)(\x1b\[0m)", re.DOTALL)
_MARGIN = re.compile(r".{5} \| ")
"""Before the text of an example: what follows it is the data's, and each of its blanks counts."""


def visible(text: str) -> str:
    r"""Text in which control, format and other unprintable characters are escapes like \x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def columns(stream: TextIO | None = None) -> int | None:
    """The width of the terminal that is printed to (on stdout), or what COLUMNS says; None where lines
    may be as long as they are, as in a file."""
    stream = stream or sys.stdout
    assert stream is not None
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    # A terminal that has not been told its width says 0.
    return (os.get_terminal_size(stream.fileno()).columns or None) if stream.isatty() else None


def num_cells(text: str) -> int:
    """The columns that a text takes on a terminal: two for a Chinese character, none for an accent
    of its own."""
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def wrapped(lines: Sequence[str], indent: int = 2, *, stream: TextIO | None = None) -> list[str]:
    """Lines broken between words where the terminal ends, and within a word that is longer.

    What follows a label of `indent` columns goes on below its first word; other lines go on two
    columns further to the right than they begin. An example's text goes on behind its margin.
    """
    width = columns(stream)
    if width is None:
        return list(lines)
    return [part for line in lines for part in _broken(line, indent, width)]


def tell(*lines: str) -> None:
    """Print lines for the user on stderr, where results do not go."""
    print("\n".join(wrapped(lines, stream=sys.stderr)), file=sys.stderr)


def _broken(line: str, indent: int, width: int) -> list[str]:
    if coloured := _COLOURED.fullmatch(line):
        begin, inside, end = coloured.groups()
        return [f"{begin}{part}{end}" for part in _broken(inside, indent, width)]
    if num_cells(line) <= width:
        return [line]
    if margin := _MARGIN.match(line):
        first = rest = margin[0]
        text = line[len(first) :]
    else:
        begins = len(line) - len(line.lstrip())
        has_label = line[:indent].endswith("  ") and begins <= indent < len(line)
        rest = " " * min(indent if has_label else begins + 2, width // 2)
        first, text = line[:begins], line[begins:]
    parts = []
    while text:
        room = max(1, width - num_cells(first))
        here, text = _split(text, room, is_data=margin is not None)
        parts.append(first + here)
        first = rest
    return parts


def _split(text: str, room: int, *, is_data: bool) -> tuple[str, str]:
    """What fits into so many columns, up to a blank if there is one, and the rest."""
    at, cells = 0, 0
    while at < len(text) and (cells := cells + num_cells(text[at])) <= room:
        at += 1
    if at == len(text):
        return text, ""
    at = max(at, 1)
    blank = text.rfind(" ", 1, at + 1)
    if is_data:
        at = blank + 1 if 0 < blank < at else at
        return text[:at], text[at:]
    if blank > 0 and text[:blank].strip():
        at = blank
    return text[:at].rstrip(), text[at:].lstrip()


def table_lines(rows: Sequence[Sequence[str]], *, margin: str = "", gap: int = 3) -> list[str]:
    """Rows as lines, each column as wide as its widest cell, the first to the left and the others to
    the right. Columns that do not fit the terminal follow below, with the first column again."""
    widths = [max(num_cells(row[i]) for row in rows) for i in range(len(rows[0]))]
    width = columns()
    blocks: list[list[int]] = [[]]
    taken = 0
    for column in range(1, len(widths)):
        taken += gap + widths[column]
        if width is not None and blocks[-1] and len(margin) + widths[0] + taken > width:
            blocks.append([])
            taken = gap + widths[column]
        blocks[-1].append(column)
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        for row in rows:
            cells = [row[0] + " " * (widths[0] - num_cells(row[0]))]
            cells += [" " * (widths[i] - num_cells(row[i])) + row[i] for i in block]
            lines.append(margin + (" " * gap).join(cells).rstrip())
    return lines


def shortened_start(text: str, most: int) -> str:
    """The end of a text in at most so many characters, from the beginning of a word on, after an
    ellipsis if something is left out."""
    if len(text) <= most:
        return text
    # One character more, to see whether the first word is whole.
    end = text[1 - most :]
    word = re.search(r"(?<=\s)\S", end)
    return f"… {end[word.start() :]}" if word else f"…{end}"


def shortened_end(text: str, most: int) -> str:
    """The beginning of a text in at most so many characters, up to the end of a word, with an
    ellipsis if something is left out."""
    if len(text) <= most:
        return text
    start = text[: most - 1]
    words = re.match(r"(.*\S)\s", start, re.DOTALL)
    return f"{words[1]} …" if words else f"{start}…"


class _Lines:
    """A file for a progress bar where there is no terminal: each of its states is a line."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        # The bar's last state is drawn once more when it is closed.
        if text and text != self._last:
            sys.stderr.write(f"{text}\n")
            self._last = text

    def flush(self) -> None:
        sys.stderr.flush()


def bar_options(unit: str, bar_format: str | None = None) -> dict[str, Any]:
    """How tqdm shows progress on stderr: a bar on a terminal, in tqdm's usual format by default;
    elsewhere, such as in a log file, a line at most every 15 seconds, with what is done, the time
    left and the figures."""
    if sys.stderr.isatty():
        options = {"unit": unit, "dynamic_ncols": True, "mininterval": 0.2}
        return options if bar_format is None else options | {"bar_format": bar_format}
    return {
        "unit": unit,
        "file": _Lines(),
        "mininterval": 15.0,
        "bar_format": "{n_fmt}/{total_fmt} {unit}s, {elapsed} so far, {remaining} left{postfix}",
    }
