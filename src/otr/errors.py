"""Exceptions whose text is for the user."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any


class UserError(ValueError):
    """A mistake in a config, a data file, a model folder or an option.

    The message names the file, line, field or setting, says what was found, and gives the way
    out, in a few lines. The command line prints it without a traceback and exits with status 2.
    """


class ProcessLost(RuntimeError):
    """A run of several processes ended because one of them is gone or cannot be reached.

    The message says when, what was seen and how to go on. The command line prints it without a
    traceback and exits with status 1.
    """


def first_line(error: BaseException, longest: int = 300) -> str:
    """What another library's error says first, which may go on for pages; its kind if nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:longest]


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest of `known`, capitals and small letters alike, or an
    empty string."""
    by_small = {name.lower(): name for name in known}
    nearest = get_close_matches(word.lower(), list(by_small), n=1, cutoff=0.6)
    return f"; did you mean {by_small[nearest[0]]!r}?" if nearest else ""


def file_suggestion(path: Path) -> str:
    """`suggestion` among the files that stand where `path` should."""
    try:
        return suggestion(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return ""


_WORDS = {
    "float": "must be a number",
    "int": "must be a whole number",
    "bool": "must be true or false",
    "string": "must be text",
    "dict": "must be a section, with keys of its own",
    "model": "must be a section, with keys of its own",
    "list": "must be a list",
}
"""By the first part of pydantic's name of a problem: `float_parsing`, `int_from_float`, …"""


def problem_words(problem: Mapping[str, Any]) -> str:
    """What is wrong with a value, of one of pydantic's `ValidationError.errors()`."""
    kind, _, rest = problem["type"].partition("_")
    if kind in _WORDS and rest in ("type", "parsing", "from_float"):
        return _WORDS[kind]
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return message[0].lower() + message[1:]
