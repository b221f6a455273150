"""Programs in what a chat model writes: in fenced blocks, or between lines of prose."""

import ast
import re
import textwrap

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})([^\n`]*)\n")
_FUTURE = re.compile(r"^from __future__ import (?:\([^)]*\)|[^\n(]+)\n?", re.MULTILINE)
# Behind more fences than this, a block that does not parse ends at its first.
_MOST_FENCES = 8
_MOST_LINES = 2000
_STATEMENTS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
               ast.Assign, ast.AnnAssign)  # fmt: skip
_PROSE = re.compile(
    r"(?!(?:async|class|def)\b)[\W\d]*[A-Za-z][\w'\u2019-]*[,:.!]?(?:\s+[^\s=]+)*\s*"
)


def parses(text: str) -> bool:
    """Whether a text is a Python program."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def blocks(text: str) -> list[str]:
    """The fenced blocks of a text, without the fences' indentation.

    A block ends at a fence as long as its own; at a later one if only then it is a program, as with
    a fence in a docstring; without one at the end of the text.
    """
    lines = text.splitlines(keepends=True)
    found = []
    place = 0
    while place < len(lines):
        fence = _FENCE.fullmatch(lines[place])
        place += 1
        if fence is None:
            continue
        block, place = _block(lines, place, fence.group(2), len(fence.group(1).expandtabs(4)))
        found.append(block)
    return found


def _block(lines: list[str], start: int, fence: str, indentation: int) -> tuple[str, int]:
    """The block that starts at a line, and the line after its end."""
    closing = re.compile(rf"[ \t]*{re.escape(fence)}")
    ends = []
    for place in range(start, len(lines)):
        if closing.match(lines[place]):
            ends.append(place)
            if len(ends) == _MOST_FENCES:
                break
    for end in ends:
        block = _unindented(lines[start:end], indentation)
        if parses(textwrap.dedent(block)):
            return block, end + 1
    end = ends[0] if ends else len(lines)
    return _unindented(lines[start:end], indentation), end + 1


def _unindented(lines: list[str], indentation: int) -> str:
    """The lines without the fence's indentation, or with less where a line has less."""
    depths = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
    depth = min([indentation, *depths])
    return "".join(line[depth:] if line.strip() else "\n" for line in lines)


def as_body(prompt: str, block: str) -> str | None:
    """A block as the body of the function that a prompt begins, or None if it cannot be that."""
    indented = textwrap.indent(textwrap.dedent(block), "    ")
    for body in (block, indented, "    " + block.lstrip()):
        if body.strip() and body.lstrip("\n")[:1].isspace() and parses(prompt + body):
            return body
    return None


def without_prose(text: str) -> str:
    """A program without the lines of prose before and after it; a text that is a program, or that
    has anything else that is none, as it is."""
    lines = text.splitlines(keepends=True)
    if parses(text) or len(lines) > _MOST_LINES:
        return text
    kept: list[str] = []
    for part in _parts(lines):
        try:
            nodes = ast.parse(part).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            nodes = []
        if nodes and all(isinstance(node, _STATEMENTS) for node in nodes):
            kept.append(part)
        elif not all(_PROSE.fullmatch(line) for line in part.splitlines() if line.strip()):
            return text
    return "".join(kept)


def _parts(lines: list[str]) -> list[str]:
    """Lines grouped into what begins at the left edge, decorators with what they decorate."""
    parts: list[str] = []
    for line in lines:
        goes_on = line[:1].isspace() or line[:1] in (")", "]", "}")
        if parts and (goes_on or parts[-1].startswith("@") and "def " not in parts[-1]):
            parts[-1] += line
        else:
            parts.append(line)
    return parts


def joined(prompt: str, program: str) -> str:
    """A prompt's code and a program after it, imports from `__future__` first, where they must be."""
    futures = "".join(found.group().rstrip() + "\n" for found in _FUTURE.finditer(program))
    return f"{futures}{prompt}\n{_FUTURE.sub('', program) if futures else program}"
